"""The folder that kept results are in: made safely, refused where others could tamper with it.

Reading a kept result runs its pickle, so whoever can write here can run code as this user. The folder and all
that is in it are this user's alone (0700, 0600); a folder of another user, or one that others may enter,
is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator

from raynb.store.disk import Home

_KEY_BYTES = 32


class FolderError(Exception):
    """The folder can't be used; the text says why and what to do."""


def make(path: str) -> None:
    """Makes a folder for this user alone, or checks the one that is there.

    Raises:
        FolderError: it can't be made, or others could read or change what is in it.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        facts = os.lstat(path)
    except OSError as error:
        raise FolderError(
            f"{path} cannot be made ({error.strerror}); name another with `%config Raynb.keep_directory = '…'`."
        ) from error
    if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
        raise FolderError(f"{path} is no folder of its own; kept results are not read through links.")
    if facts.st_uid != os.geteuid():
        raise FolderError(
            f"{path} belongs to another user (uid {facts.st_uid}); reading it could run that user's code."
        )
    if facts.st_mode & 0o077:
        raise FolderError(f"{path} can be entered by other users; `chmod 700 {path}` mends that.")


def home_of(path: str) -> Home:
    """Returns the folder of the values' files, with the secret of their checksums.

    A ``.gitignore`` leaves all of it out: the secret and a person's values are in no repository.

    Raises:
        FolderError: as `make`.
    """
    values = os.path.join(path, "values")
    make(path)
    with contextlib.suppress(FileExistsError), open(os.path.join(path, ".gitignore"), "x", encoding="ascii") as ignored:
        ignored.write("*\n")
    make(values)
    facts = os.stat(values)
    return Home(values, facts.st_dev, facts.st_ino, _secret(os.path.join(path, "secret")))


def _secret(path: str) -> bytes:
    for _ in range(100):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            _make_secret(path)
            continue
        except OSError as error:
            raise FolderError(f"{path} cannot be read ({error.strerror}).") from error
        with open(fd, "rb") as file:
            facts = os.fstat(fd)
            found = file.read()
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise FolderError(f"{path} is another user's, or others may read it; remove {os.path.dirname(path)}.")
        if len(found) == _KEY_BYTES:
            return found
        raise FolderError(f"{path} is damaged; remove the folder {os.path.dirname(path)}.")
    raise FolderError(f"{path} appears and disappears.")


def _make_secret(path: str) -> None:
    """Of two kernels that do so at once, one wins and both read what it wrote."""
    part = f"{path}.{secrets.token_hex(8)}"
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    except OSError as error:
        raise FolderError(f"{path} cannot be written ({error.strerror}).") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Runs the ``with`` body while no other process, and no other thread, is inside one of the same folder."""
    fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Lease:
    """Shows other kernels that this one lives: a locked file, whose lock the system drops with the process.

    Thread contract: any thread; `close` once.
    """

    def __init__(self, path: str) -> None:
        self.folder = os.path.join(path, "kernels")
        make(self.folder)
        self.name, self._fd = "", -1
        while not self._locked():  # another kernel looked between the file's creation and its lock
            self.close()
            self.name = secrets.token_hex(8)
            self._fd = os.open(os.path.join(self.folder, self.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def _locked(self) -> bool:
        """Returns whether the file is locked and still there."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink > 0

    def living(self) -> set[str]:
        """Returns the names of the kernels that use the folder now; forgets the others."""
        found = {self.name}
        for name in os.listdir(self.folder):
            if name == self.name:
                continue
            path = os.path.join(self.folder, name)
            try:
                fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(OSError):
                    os.unlink(path)
            except OSError:
                found.add(name)
            finally:
                os.close(fd)
        return found

    def close(self) -> None:
        """Removes the lease's file and closes its descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.folder, self.name))
            os.close(fd)
