"""The directory that a runtime's spill files are in: made safely, removed for certain.

Its owner holds a `flock` on it. The system drops that lock however the owner dies, so whoever can
have the lock may remove the directory; process ids would not do, they are used again and differ
between containers that share a disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile

from raynb.base.process.waits import time
from raynb.exceptions import OutOfDiskError

PREFIX = "raynb-spill-"
_UNLOCKED = ".raynb-new-"  # for the moment between making a directory and locking it
_UNLOCKED_AGE_SECONDS = 60.0  # seconds after which such a one is a dead process's
_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")


class SpillDirectory:
    """A fresh, private, locked directory. Thread contract: `close` once, from any thread.

    Attributes:
        path: its absolute path.
        identity: its device and inode.
    """

    def __init__(self, parent: str | None) -> None:
        """Makes it in ``parent`` (None: a good place) after sweeping what dead processes left there.

        Raises:
            OutOfDiskError: it can't be made, or others could tamper with it there.
        """
        place = parent or "the temporary folder"
        try:
            place = parent or default_parent()
            _make(place)
            _refuse_foreign(place)
            place = os.path.realpath(place)
            _refuse_ways_in(place)
            sweep(place)
            fresh = tempfile.mkdtemp(prefix=_UNLOCKED, dir=place)
            os.chmod(fresh, 0o700)  # whatever the umask
            self._fd = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with contextlib.suppress(OSError):  # a file system without locks: never swept
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.path = os.path.join(place, f"{PREFIX}{os.getpid()}-{fresh.rpartition('-')[2]}")
                os.rename(fresh, self.path)
                facts = os.fstat(self._fd)
                self.identity = facts.st_dev, facts.st_ino
            except BaseException:
                os.close(self._fd)
                os.rmdir(fresh)
                raise
        except OSError as error:
            raise OutOfDiskError(
                f"Cannot make a directory for spilled objects in {place}: {error}. "
                "Name one that you can write to in raynb.init(object_spilling_directory=...), or in the environment "
                "variable TMPDIR."
            ) from error

    def close(self) -> None:
        """Removes it with everything in it; after `forget` or a first `close`, nothing happens."""
        if self._fd >= 0:
            remove(self.path)
            self.forget()

    def forget(self) -> None:
        """Closes the descriptor only (a forked child; the lock stays the parent's)."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def remove(path: str) -> None:
    """Removes a spill directory. Processes that write to it may be alive: it is tried again."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return


def sweep(parent: str) -> list[str]:
    """Removes the spill directories in ``parent`` whose owners are dead; returns their paths.

    Only real directories of this user are touched.
    """
    removed = []
    with os.scandir(parent) as entries:
        candidates = [e.path for e in entries if e.name.startswith((PREFIX, _UNLOCKED))]
    for path in candidates:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # a symlink, another user's, or already gone
            continue
        try:
            facts = os.fstat(fd)
            young = time.time() - facts.st_mtime < _UNLOCKED_AGE_SECONDS
            if facts.st_uid != os.getuid() or (_UNLOCKED in path and young):
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
            removed.append(path)
        except OSError:  # locked: its owner lives
            continue
        finally:
            os.close(fd)
    return removed


def default_parent() -> str:
    """Returns the temporary directory, or /var/tmp where the first is memory itself."""
    first = tempfile.gettempdir()
    if file_system_of(first) in _MEMORY_FILE_SYSTEMS:
        second = "/var/tmp"
        if os.access(second, os.W_OK) and file_system_of(second) not in _MEMORY_FILE_SYSTEMS:
            return second
    return first


def file_system_of(path: str, mounts: str = "/proc/self/mounts") -> str:
    """Returns the type of the file system that ``path`` is on; empty where the system won't say."""
    best, kind = "", ""
    path = os.path.realpath(path)
    with contextlib.suppress(OSError), open(mounts, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            point = fields[1].replace("\\040", " ")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, fields[2]
    return kind


def _make(path: str) -> None:
    """Makes a directory, and those above it, for this user alone whatever the umask is."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path) or "."
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each, 0o700)


def trusted_users() -> tuple[int, ...]:
    """Returns the user ids whose directories are safe: one's own, root, and in a container that maps only some
    users, the id that stands for those outside."""
    users = [os.getuid(), 0]
    try:
        with open("/proc/self/uid_map") as lines:
            whole = any(line.split()[2] == "4294967295" for line in lines)
        if not whole:
            with open("/proc/sys/kernel/overflowuid") as file:
                users.append(int(file.read()))
    except (OSError, ValueError, IndexError):
        pass
    return tuple(users)


def _refuse_ways_in(place: str) -> None:
    """Raises if another user could replace the directory from one above it."""
    users = trusted_users()
    path = place
    while True:
        facts = os.lstat(path)
        if facts.st_uid not in users:
            raise PermissionError(f"{path} belongs to another user (uid {facts.st_uid}), who could exchange it")
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not facts.st_mode & stat.S_ISVTX:
            who = "every user" if facts.st_mode & stat.S_IWOTH else f"its group (gid {facts.st_gid})"
            raise PermissionError(
                f"{path} can be written by {who} and has no sticky bit, so that others could exchange what is in it "
                f"(`chmod go-w {path}` mends that)"
            )
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def _refuse_foreign(path: str) -> None:
    me = trusted_users()
    if stat.S_ISLNK(os.lstat(path).st_mode) and os.lstat(path).st_uid not in me:
        raise PermissionError(f"{path} is a symbolic link that another user made")
