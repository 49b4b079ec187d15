"""The disk tier: objects in files, one file each.

A file is written under a temporary name and renamed when it is whole; its header, written last,
holds its length and a keyed checksum, which every read compares. So nobody ever reads wrong bytes: a
file that was cut, overwritten, exchanged or removed is an `ObjectLostError`. A process compares a file
again only if it has changed since (the system's time of change, which nobody can set, says so).

Files are opened relative to a descriptor of the directory, which is checked when it is opened.

All files of a runtime are in one directory (0700) made by the driver, which holds a lock on it for
as long as it lives. The next start removes the directories that nobody locks.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import itertools
import os
import secrets
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from raynb.base.buffers import Gathered
from raynb.base.interrupts import Critical
from raynb.base.process.waits import time
from raynb.base.spec import Location
from raynb.exceptions import ObjectLostError, OutOfDiskError
from raynb.store import checksum
from raynb.store import directory as directories
from raynb.store.layout import place, views_of
from raynb.store.memory import Mapping

HEADER_BYTES = 64  # bytes in front of the object; keeps its segments aligned
_MAGIC = b"raynb\x00\x03\n"
_FORMAT = struct.Struct("=8sQI32s")  # magic, size, segments, checksum
_OLD_SECONDS = 0.05  # a change less than this before a look may be followed by another one of the same time
_CHUNK_BYTES = 16 << 20  # bytes written in one call
_MAX_VECTORS = 512  # pieces written in one call; IOV_MAX is 1024 on every system we know


def version_of(facts: os.stat_result) -> tuple[int, ...]:
    """Returns a value that differs after each change of a file: nobody can set the time of change."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class Files:
    """The calls of the operating system that can fail; tests put faulty ones in their place."""

    def free_room(self, path: str) -> int:
        """Returns the bytes that an unprivileged user may still write beside ``path``."""
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize

    def write(self, fd: int, vectors: Sequence[memoryview | bytes]) -> int:
        """Writes buffers at the descriptor's position; returns the bytes written."""
        return os.writev(fd, vectors)

    def read(self, fd: int, view: memoryview, offset: int) -> int:
        """Reads into ``view`` from an offset; returns the bytes read."""
        return os.preadv(fd, [view], offset)


@dataclass(slots=True)
class DiskStats:
    """Counts of what this process read and wrote on disk. Sizes are bytes."""

    files: int = 0
    bytes: int = 0  # in those files
    written: int = 0  # since the start
    read: int = 0
    failures: int = 0


@dataclass(slots=True, frozen=True)
class Home:
    """A runtime's directory, as its workers get it."""

    path: str
    device: int
    inode: int
    key: bytes = field(repr=False)  # of the checksums


class GuestDiskTier:
    """The disk tier of a worker: files in the driver's directory, which stays when this closes.

    Thread contract: every method may be called from any thread.

    Args:
        home: the directory, from `DiskTier.home`.
        writer: the process's slot; its files' names begin with it.
    """

    def __init__(self, home: Home, writer: int, files: Files | None = None) -> None:
        self.home = home
        self.path = home.path
        self.writer = writer
        self._files = files or Files()
        self._numbers = itertools.count()
        self._stats = DiskStats()
        self._lock = Critical()  # of the statistics and what is below
        self._verified: dict[str, tuple[int, ...]] = {}  # path → what the system said of the file then
        self._fd = -1  # of the directory

    def write(self, data: object, buffers: Sequence[object]) -> Location:
        """Writes an object; returns ``("file", path, size, segments)``.

        Raises:
            OutOfDiskError: no room, or the disk failed; nothing half written is left.
        """
        views = views_of(data, buffers)
        segments = tuple(map(len, views))
        _, size = place(segments)
        self._check_room(size + HEADER_BYTES)
        name = f"{self.writer}-{next(self._numbers)}"
        part = name + ".part"
        try:
            folder = self._folder()
            self._write_file(folder, name, views, size)
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=self._fd)
            if isinstance(error, OSError):
                with self._lock:
                    self._stats.failures += 1
                raise self._error(error, size) from error
            raise
        with self._lock:
            self._stats.files += 1
            self._stats.bytes += size
            self._stats.written += size
        return ("file", os.path.join(self.path, name), size, segments)

    def map(self, location: Location) -> Mapping:
        """Maps a whole file, read-only; the object starts at `HEADER_BYTES`. It works on after `remove`.

        The mapping shares the file's pages, so an object larger than memory can be read. The other
        side of that: only this user can change the file, but who cuts it in place while it is mapped
        kills its readers (SIGBUS), as with every mapped file.

        Raises:
            ObjectLostError: the file is gone, or isn't what was written.
            OSError: it can't be opened or mapped now (too many descriptors).
        """
        _, path, size, _ = location
        fd = self._open(path)
        try:
            looked = time.time()
            facts = os.fstat(fd)
            version = version_of(facts)
            written = self._read_header(fd, location)
            mapping = Mapping(fd, HEADER_BYTES + size, writable=False)
        finally:
            os.close(fd)
        if self._verified.get(path) != version:
            view = mapping.writable_view()  # of read-only memory: only looked at
            self._compare(path, written, checksum.of(view[HEADER_BYTES:], self._sum(path, size)))
            with self._lock:
                if looked - facts.st_ctime > _OLD_SECONDS and facts.st_ctime_ns % 10**9:  # not in whole seconds
                    self._verified[path] = version
                self._stats.read += size
        return mapping

    def trust(self, path: str, version: tuple[int, ...]) -> None:
        """Takes a file as compared already, as long as the system says the same of it (`version_of`)."""
        with self._lock:
            self._verified[path] = version

    def read_into(self, location: Location, target: memoryview) -> None:
        """Reads an object straight into shared memory (``target`` has its size) and checks it.

        Raises: as `map`.
        """
        _, path, size, _ = location
        fd = self._open(path)
        try:
            written = self._read_header(fd, location)
            done = 0
            found = checksum.RunningChecksum(self._sum(path, size))
            while done < size:
                n = self._files.read(fd, target[done : done + checksum.CHUNK_BYTES], HEADER_BYTES + done)
                if n <= 0:
                    raise self._lost(path, f"it ends after {done} of {size} bytes")
                found.update(target[done : done + n])  # while the processor's cache has it
                done += n
        except OSError as error:
            raise self._lost(path, f"the disk failed: {error}") from error
        finally:
            os.close(fd)
        self._compare(path, written, found.digest())
        with self._lock:
            self._stats.read += size

    def remove(self, location: Location) -> None:
        """Removes an object's file. One that is gone already is fine.

        Raises:
            ValueError: the path isn't in this runtime's directory.
        """
        _, path, size, _ = location
        if os.path.dirname(path) != self.path:
            raise ValueError(f"{path} is not a spilled object of this runtime (those are in {self.path})")
        with contextlib.suppress(OSError):  # it is gone, or the whole folder is
            os.unlink(os.path.basename(path), dir_fd=self._folder())
        with self._lock:
            self._verified.pop(path, None)
            if os.path.basename(path).startswith(f"{self.writer}-"):
                self._stats.files -= 1
                self._stats.bytes -= size

    def stats(self) -> DiskStats:
        """Returns what this process wrote and read, and how much of its own is still there."""
        with self._lock:
            s = self._stats
            return DiskStats(s.files, s.bytes, s.written, s.read, s.failures)

    def close(self) -> None:
        """Does nothing to the files: the driver removes them."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def after_fork_in_child(self) -> None:
        """Makes a forked child let go; the files stay the parent's."""
        self._lock = Critical()

    # -- the directory -------------------------------------------------------------------------
    def _folder(self) -> int:
        """Returns a descriptor of the directory, which is the one that the driver made.

        Raises:
            OSError: it is gone, or another one is in its place.
        """
        if self._fd < 0:
            with self._lock:
                if self._fd < 0:
                    self._fd = self._open_folder()
        return self._fd

    def _open_folder(self) -> int:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        facts = os.fstat(fd)
        ours = facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
        if not ours or (facts.st_dev, facts.st_ino) != (self.home.device, self.home.inode):
            os.close(fd)
            raise PermissionError(errno.EPERM, "another directory is in its place, or others may enter it", self.path)
        return fd

    def _sum(self, path: str, size: int) -> hmac.HMAC:
        return checksum.start(self.home.key, os.path.basename(path), size)

    # -- writing -------------------------------------------------------------------------------
    def _check_room(self, needed: int) -> None:
        try:
            free = self._files.free_room(self.path)
        except OSError as error:
            raise self._error(error, needed) from error
        if free < needed:
            raise OutOfDiskError(
                f"No room on the disk to spill an object: {needed} bytes needed, {free} free at {self.path}. "
                "Free room there, give raynb.init(object_spilling_directory=...) another disk, or drop refs."
            )

    def _error(self, error: OSError, size: int) -> OutOfDiskError:
        try:
            free = str(self._files.free_room(self.path))
        except OSError:
            free = "unknown"
        return OutOfDiskError(
            f"Cannot write an object of {size} bytes to {self.path} ({free} bytes free): {error}. "
            "Objects that were accepted before are not affected."
        )

    def _write_file(self, folder: int, name: str, views: Sequence[memoryview | Gathered], size: int) -> None:
        pieces = checksum.pieces(views)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(name + ".part", flags, 0o600, dir_fd=folder)
        try:
            with checksum.Beside(pieces, self._sum(name, size)) as beside:
                self._write_all(fd, [bytes(HEADER_BYTES), *pieces])
                total = beside.result()
            end = os.fstat(fd).st_size
            if end != HEADER_BYTES + size:
                raise OSError(errno.EIO, f"the file has {end} bytes after {HEADER_BYTES + size} were written")
            os.pwrite(fd, _FORMAT.pack(_MAGIC, size, len(views), total), 0)
        finally:
            os.close(fd)

    def _write_all(self, fd: int, pieces: list[bytes | memoryview]) -> None:
        first = 0
        while first < len(pieces):
            # As many pieces a call as the system takes, but no more bytes than Ctrl-C may wait for.
            batch, length = [pieces[first]], len(pieces[first])
            for piece in pieces[first + 1 : first + _MAX_VECTORS]:
                length += len(piece)
                if length > _CHUNK_BYTES:
                    break
                batch.append(piece)
            n = self._files.write(fd, batch)
            if n <= 0:
                raise OSError(errno.EIO, "the disk takes no more bytes")
            while first < len(pieces) and n >= len(pieces[first]):
                n -= len(pieces[first])
                first += 1
            if n:
                pieces[first] = memoryview(pieces[first])[n:]

    # -- reading -------------------------------------------------------------------------------
    def _open(self, path: str) -> int:
        name = os.path.basename(path)
        if os.path.join(self.path, name) != path:
            raise self._lost(path, f"it is not in this runtime's folder {self.path}")
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder())
        except FileNotFoundError:
            raise self._lost(path, "it was removed") from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise  # the file may be as it was
            raise self._lost(path, f"it can't be opened ({error.strerror})") from None
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() or not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o077:
            os.close(fd)
            raise self._lost(path, "it is another user's, or others may read or write it")
        return fd

    def _read_header(self, fd: int, location: Location) -> bytes:
        _, path, size, segments = location
        length = os.fstat(fd).st_size
        if length != HEADER_BYTES + size:
            raise self._lost(path, f"it has {length} bytes instead of {HEADER_BYTES + size}")
        magic, said, count, total = _FORMAT.unpack(os.pread(fd, _FORMAT.size, 0))
        if magic != _MAGIC or said != size or count != len(segments):
            raise self._lost(path, "its header isn't what was written")
        return bytes(total)

    def _compare(self, path: str, written: bytes, found: bytes) -> None:
        if not hmac.compare_digest(found, written):
            raise self._lost(path, "its bytes have changed (the checksum is wrong)")

    def _lost(self, path: str, why: str) -> ObjectLostError:
        return ObjectLostError("", why=f"The object's spill file {path} can't be used: {why}.")


class DiskTier(GuestDiskTier):
    """The disk tier of the driver: makes the directory, and removes it with everything in it.

    Args:
        directory: where to make it; None: the temporary directory, or /var/tmp when that is memory.

    Raises:
        OutOfDiskError: no directory can be made there, or it could be tampered with by others.
    """

    def __init__(self, directory: str | None = None, writer: int = 0, files: Files | None = None) -> None:
        self._home = directories.SpillDirectory(directory)
        home = Home(self._home.path, *self._home.identity, secrets.token_bytes(32))
        super().__init__(home, writer, files)

    def remove_strays(self, writer: int, keep: Sequence[Location]) -> int:
        """Removes what a dead worker left: files half written, or written and never reported.

        Returns:
            How many files were removed.
        """
        known = {location[1] for location in keep if location[0] == "file"}
        removed = 0
        try:
            folder = self._folder()
            names = os.listdir(folder)
        except OSError:  # somebody has removed it
            return 0
        for name in names:
            if name.startswith(f"{writer}-") and os.path.join(self.path, name) not in known:
                with contextlib.suppress(FileNotFoundError):  # freed meanwhile
                    os.unlink(name, dir_fd=folder)
                removed += 1
        return removed

    def close(self) -> None:
        """Removes the directory and every file. Views of mapped files stay valid."""
        super().close()
        self._home.close()

    def after_fork_in_child(self) -> None:
        """Closes the descriptors in a forked child; the directory stays the parent's."""
        super().after_fork_in_child()
        super().close()
        self._home.forget()
