"""The memory behind an arena: anonymous memory, or where that doesn't exist, an unlinked file.

Both are descriptors of a sparse file that has no name, so nothing is left behind however the
process ends, another user can't open it, and the size of /dev/shm doesn't matter. They differ in
what happens when there is no room, and in how pages are given back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
import tempfile
from typing import Protocol

from raynb.store.memory import PAGE

_MFD_CLOEXEC = 0x1
_MFD_ALLOW_SEALING = 0x2
_MFD_NOEXEC_SEAL = 0x8  # Linux 6.3; without it the kernel log gets a warning, or it is refused
#: By a seccomp filter or an old kernel.
_REFUSED = (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL)
_F_PUNCHHOLE = 99  # macOS
_PUNCH_HOLE_KEEP_SIZE = 0x3  # Linux: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class Backing(Protocol):
    """One way to have nameless shared memory. Thread contract: no state; call from any thread."""

    def create(self, size: int) -> int:
        """Returns a descriptor of ``size`` zero bytes, none of which takes room yet."""

    def reserve(self, fd: int, offset: int, n: int) -> None:
        """Makes sure that touching these cold pages can't fail. Raises `OSError` if it would."""


class MemfdBacking:
    """Linux: anonymous memory. The page cache is its only home, so there is nothing to reserve."""

    def create(self, size: int) -> int:
        """Returns a descriptor of anonymous memory, sealed against shrinking."""
        try:
            fd = os.memfd_create("raynb", _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = os.memfd_create("raynb", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            # A process that shrank it would kill every reader with SIGBUS.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def reserve(self, fd: int, offset: int, n: int) -> None:
        """Does nothing: there is nothing to reserve."""


class FileBacking:
    """Elsewhere (macOS), or where memfd is refused: a temporary file, unlinked at once.

    A sparse file on a full disk kills who touches it (SIGBUS), so blocks are reserved first.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory

    def create(self, size: int) -> int:
        """Returns a descriptor of an unlinked temporary file of ``size`` bytes."""
        directory = tempfile.mkdtemp(prefix="raynb-arena-", dir=self._directory)  # 0700
        try:
            path = os.path.join(directory, "arena")
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.unlink(path)
                os.ftruncate(fd, size)
            except BaseException:
                os.close(fd)
                raise
        finally:
            os.rmdir(directory)
        return fd

    def reserve(self, fd: int, offset: int, n: int) -> None:
        """Allocates the file's blocks. Raises `OSError` if the disk is full."""
        allocate = getattr(os, "posix_fallocate", None)
        if allocate is not None:
            allocate(fd, offset, n)
            return
        room = os.fstatvfs(fd)  # macOS: only a look, so a race with other writers remains
        if room.f_bavail * room.f_frsize < n:
            raise OSError(errno.ENOSPC, f"no room for {n} bytes on the disk of the temporary directory")


def choose() -> Backing:
    """Returns the best backing that works in this process.

    Raises:
        OSError: a limit of this process is reached, at which files would fail, too.
    """
    if hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS"):
        backing = MemfdBacking()
        try:
            os.close(backing.create(PAGE))
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        else:
            return backing
    return FileBacking()


def _punch_linux(fd: int, offset: int, n: int) -> bool:
    return bool(_fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, offset, n) == 0)


def _punch_macos(fd: int, offset: int, n: int) -> bool:
    # APFS wants whole blocks; what is cut off at the ends is less than two pages.
    start, end = (offset + PAGE - 1) & -PAGE, (offset + n) & -PAGE
    if end > start:
        try:
            fcntl.fcntl(fd, _F_PUNCHHOLE, struct.pack("=IIqq", 0, 0, start, end - start))
        except OSError:
            return False
    return True


if sys.platform == "linux":
    _fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    punch = _punch_linux
else:
    punch = _punch_macos

punch.__doc__ = """Gives the pages of a range back to the system; it reads as zeros afterwards.

Works on both backings and without a mapping, so also for the arena of a process that died.
Returns False when the file system can't; the bytes then stay until the descriptor is closed.
"""
