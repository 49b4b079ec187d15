"""The registry in which the runtimes of one user on one machine find each other: a folder with a file for each.

::

    KEY.lock    locked for as long as the runtime lives; the system drops the lock however it dies
    KEY.json    what it last said of itself (`KernelRow`), replaced as a whole
    KEY.stop    somebody asks it to stop; the text is who

The folder is this user's alone (0700). One that others may enter, or that belongs to somebody else, is not used.
A runtime that finds another one's lock free removes its files. Process ids would not do: they are used again, and
differ between containers that share a disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator

from raynb.base.process.waits import time
from raynb.base.rows import KernelRow

#: Names the folder; for tests, and for homes without a temporary directory of their own.
VARIABLE = "RAYNB_RUNTIME_DIR"

_LOCK, _ROW, _STOP, _PART = ".lock", ".json", ".stop", ".part"
_PART_AGE_SECONDS = 60.0  # seconds after which a half-made file is a dead process's
_TURN_SECONDS = 2.0  # how long a start waits for other starts


def place() -> str:
    """Returns the folder's path, whether or not it is there."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isdir(runtime) and os.access(runtime, os.W_OK):
        return os.path.join(runtime, "raynb")
    return os.path.join(tempfile.gettempdir(), f"raynb-runtimes-{os.getuid()}")


def program() -> tuple[str, str]:
    """Returns the notebook's or script's path, and Jupyter's id of the kernel."""
    names = (os.path.splitext(os.path.basename(one))[0] for one in sys.argv)
    kernel = next((name[7:] for name in names if name.startswith("kernel-")), "")
    notebook = os.environ.get("JPY_SESSION_NAME", "") if kernel else ""
    script = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    return notebook or ("" if kernel else script) or f"process {os.getpid()}", kernel


class Registry:
    """The folder, as one runtime uses it, or somebody who only looks.

    Thread contract: `publish` and `leave` from one thread at a time; the rest from any.

    Args:
        path: the folder; None: `place`.

    Raises:
        OSError: it cannot be made, or others could read or change what is in it.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path or place()
        self.key = ""
        self._fd = -1
        with contextlib.suppress(FileExistsError):
            os.makedirs(self.path, 0o700)
        facts = os.lstat(self.path)
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise PermissionError(
                f"{self.path} is not a folder of this user alone: the runtimes of this user do not find each other. "
                f"Remove it, or name another in {VARIABLE}"
            )

    # -- one's own entry -----------------------------------------------------------------------
    def join(self, key: str) -> None:
        """Enters a runtime; it lives until `leave`, or until this process ends."""
        part = self._file(key, _PART)
        self._fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before it has its name: nobody finds it unlocked
        os.rename(part, self._file(key, _LOCK))
        self.key = key

    def publish(self, row: KernelRow) -> None:
        """Writes the own runtime's entry."""
        part = self._file(self.key, _ROW + _PART)
        with open(part, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(row), file)
        os.replace(part, self._file(self.key, _ROW))

    def asked_to_stop(self) -> str:
        """Returns, once, who has asked the own runtime to stop; "": nobody."""
        path = self._file(self.key, _STOP)
        try:
            with open(path, encoding="utf-8") as file:
                who = file.read()
            os.unlink(path)
        except FileNotFoundError:
            return ""
        return who or "somebody"

    def leave(self) -> None:
        """Removes the own entry; does nothing the second time."""
        if self._fd >= 0:
            self._remove(self.key)
            self.forget()

    def forget(self) -> None:
        """Closes the descriptor only (a forked child; the lock stays the parent's)."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # -- the others ----------------------------------------------------------------------------
    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Excludes other starts, so that two at once do not both take what is left; waits only so long."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + _TURN_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.005)
            yield
        finally:
            os.close(fd)

    def rows(self) -> list[KernelRow]:
        """Returns the entries of the living runtimes, oldest first, the own one too; removes those of dead ones."""
        found = []
        for name in os.listdir(self.path):
            key, dot, kind = name.partition(".")
            if dot + kind == _PART:
                self._sweep_part(name)
            elif dot + kind == _LOCK and self._lives(key):
                row = self._read(key)
                if row is not None:
                    found.append(row)
        return sorted(found, key=lambda row: (row.started, row.key))

    def ask_to_stop(self, key: str, who: str) -> None:
        """Asks a runtime to stop; it does so within about a second, unless its process hangs."""
        part = self._file(key, f"{_STOP}.{os.getpid()}{_PART}")
        with open(part, "w", encoding="utf-8") as file:
            file.write(who)
        os.replace(part, self._file(key, _STOP))

    def _file(self, key: str, kind: str) -> str:
        return os.path.join(self.path, key + kind)

    def _lives(self, key: str) -> bool:
        if key == self.key and self._fd >= 0:
            return True
        try:
            fd = os.open(self._file(key, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # it has just left
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        self._remove(key)
        return False

    def _read(self, key: str) -> KernelRow | None:
        try:
            with open(self._file(key, _ROW), encoding="utf-8") as file:
                said = json.load(file)
            return KernelRow(**said)
        except (OSError, ValueError, TypeError):  # not yet, no longer, or of another version of raynb
            return None

    def _remove(self, key: str) -> None:
        for kind in (_ROW, _STOP, _LOCK):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file(key, kind))

    def _sweep_part(self, name: str) -> None:
        path = os.path.join(self.path, name)
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _PART_AGE_SECONDS:
                os.unlink(path)
