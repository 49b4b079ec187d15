"""One process's shared memory: `Arena` where it is written, `Window` where others read it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from raynb.base.buffers import Gathered
from raynb.base.process.limits import remedy
from raynb.store import backing as backings
from raynb.store.allocator import Allocator, Range
from raynb.store.layout import Part
from raynb.store.memory import PAGE, Borrowed, Mapping, move, round_up

_BIG_BYTES = 1 << 20  # from here on: populate cold pages first, and copy without the GIL
# A Ctrl-C waits for one of these at most. Copies of less than about 100 MB go through the cache,
# which halves their speed: the C library bypasses it from some share of the cache's size on.
_COPY_BYTES = 256 << 20
_POPULATE_BYTES = 32 << 20
_SMALLEST_BYTES = 64 << 20
_FIRST_WINDOW_BYTES = 1 << 30


class NoRoom(Exception):
    """Raised when ``size`` bytes are not free now; the caller spills, waits, or gives up."""

    def __init__(self, size: int, why: str = "the object store is full", refused: OSError | None = None) -> None:
        super().__init__(size, why)
        self.size = size
        self.why = why
        #: What the system refused, as a sentence; empty: the store itself is full.
        self.refused = "" if refused is None else f" Shared memory cannot be had: {remedy(refused)}"

    def __str__(self) -> str:
        return f"no room for {self.size} bytes: {self.why}"


class Arena:
    """The memory that this process allocates in and writes to. Sparse: only touched pages exist.

    Thread contract: everything under the store's lock, except `fill` and `prepare`: the range that
    they write belongs to the caller, and they don't use the descriptor, which may be closed meanwhile.
    """

    __slots__ = ("_backing", "_populates", "_view", "allocator", "fd", "mapping")

    def __init__(self, size: int, backing: backings.Backing) -> None:
        """Creates it with ``size`` bytes of address space, or less where so much can't be mapped.

        Raises:
            OSError: not even a small one can be made (limits on descriptors or address space).
        """
        self._backing = backing
        self._populates = True
        size = max(round_up(size, PAGE), _SMALLEST_BYTES)
        while True:
            fd = -1
            try:
                fd = backing.create(size)
                self.mapping = Mapping(fd, size, writable=True)
                break
            except OSError:
                if fd >= 0:
                    os.close(fd)
                if size <= _SMALLEST_BYTES:
                    raise
                size = max(round_up(size // 2, PAGE), _SMALLEST_BYTES)
        self.fd = fd
        self.allocator = Allocator(size)
        self._view = self.mapping.writable_view()

    def take(self, n: int) -> tuple[int, list[Range]]:
        """Allocates; returns the offset and the cold parts, for `fill`.

        Raises:
            NoRoom: no free range is large enough, or the disk is full (where arenas are files).
        """
        found = self.allocator.alloc(n)
        if found is None:
            raise NoRoom(n, f"no free range of that size in an arena of {self.allocator.size} bytes")
        offset, cold = found
        try:
            for start, length in cold:
                self._backing.reserve(self.fd, start, length)
        except OSError as error:
            self.allocator.free(offset, n, cold)
            raise NoRoom(n, str(error), error) from None
        return found

    def fill(self, cold: Sequence[Range], parts: Sequence[Part]) -> None:
        """Copies each part to its offset. ``cold`` is what `take` said.

        Raises:
            NoRoom: the system has no memory for the cold pages.
        """
        mapping, view = self.mapping, self._view
        self.prepare(cold)
        for offset, source in parts:
            n = len(source)
            if isinstance(source, Gathered):
                assert source.copy is not None
                source.copy(view[offset : offset + n])
                continue
            if n < _BIG_BYTES:
                view[offset : offset + n] = source
                continue
            with Borrowed(source) as address:
                for done in range(0, n, _COPY_BYTES):
                    move(mapping.address + offset + done, address + done, min(_COPY_BYTES, n - done))

    def prepare(self, cold: Sequence[Range]) -> None:
        """Makes cold pages exist, so that writing to them is fast and can't fail. Raises `NoRoom`."""
        mapping = self.mapping
        for offset, n in cold:
            if n < _BIG_BYTES or not self._populates:
                continue
            try:
                for done in range(0, n, _POPULATE_BYTES):
                    if not mapping.populate(offset + done, min(_POPULATE_BYTES, n - done)):
                        self._populates = False
                        break
            except OSError as error:
                raise NoRoom(n, str(error), error) from None

    def view(self, offset: int, n: int) -> memoryview:
        """Returns a writable view of a range, for reading a file straight into it."""
        return self._view[offset : offset + n]

    def give(self, offset: int, n: int) -> None:
        """Frees a range; its pages stay warm for the next object."""
        self.allocator.free(offset, n)

    def undo(self, offset: int, n: int, cold: Sequence[Range]) -> None:
        """Frees a range whose `fill` failed. Its own cold pages go back to the system."""
        inside = []
        for start, length in cold:  # pages that it shares with others may be in use by now
            a = max(start, round_up(offset, PAGE))
            b = min(start + length, (offset + n) & -PAGE)
            if b > a:
                inside.append((a, b - a))
                backings.punch(self.fd, a, b - a)
        self.allocator.free(offset, n, inside)

    def trim(self, keep: int) -> int:
        """Gives warm, unused pages back to the system until ``keep`` bytes remain; returns how many."""
        given = self.allocator.trim(keep)
        for offset, n in given:
            backings.punch(self.fd, offset, n)
        return sum(n for _, n in given)

    def close(self) -> None:
        """Closes the descriptor. The mapping goes with the last reference: the arena's owner's, that
        of a thread that is just writing, or a view's."""
        fd, self.fd = self.fd, -1
        os.close(fd)


class Window:
    """Another process's arena, read through its descriptor. Works on when that process is dead.

    It maps as much as was asked for so far, doubled, not the whole sparse arena: on a machine with
    many workers and much memory that would use up the address space.

    Thread contract: `mapped` from any thread; `mapping` and `close` under the store's lock.
    """

    __slots__ = ("fd", "mapped", "size")

    def __init__(self, fd: int) -> None:
        """Takes over the descriptor."""
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self.mapped: Mapping | None = None

    def mapping(self, end: int) -> Mapping:
        """Returns a mapping that reaches to ``end`` at least.

        Raises:
            ValueError: the arena isn't that large.
            OSError: it can't be mapped.
        """
        mapping = self.mapped
        if mapping is None or mapping.size < end:
            if end > self.size:
                raise ValueError(f"a location ends at {end}, beyond its arena of {self.size} bytes")
            size = min(max(1 << (end - 1).bit_length(), _FIRST_WINDOW_BYTES), self.size)
            mapping = self.mapped = Mapping(self.fd, size, writable=False)
        return mapping

    def close(self) -> None:
        """Closes the descriptor and lets go of the mapping, which lives as long as its views."""
        fd, self.fd = self.fd, -1
        os.close(fd)
        self.mapped = None
