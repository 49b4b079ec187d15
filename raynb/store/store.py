"""`Store`: the object store as one process sees it.

It writes to its own arena (or to a file), reads from any arena it was given the descriptor of, and
knows which of its views are alive. What is kept, spilled or dropped is decided elsewhere (`core/`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from raynb.base.interrupts import Critical
from raynb.base.spec import Location
from raynb.exceptions import OutOfDiskError, RuntimeGoneError
from raynb.store import backing as backings
from raynb.store.arena import Arena, NoRoom, Window
from raynb.store.disk import HEADER, DiskStats, GuestDiskTier
from raynb.store.layout import COPY_LIMIT, Loaded, place, split, views_of
from raynb.store.ledger import Ledger
from raynb.store.memory import Mapping, pin

__all__ = ["NoRoom", "Store", "StoreStats", "UnknownArena"]

#: Address space of an arena over the store's limit. It costs nothing, and makes it unlikely that
#: scattered small objects leave no range for a large one.
_SPACE = 2
_BIG = 1 << 20


class UnknownArena(LookupError):
    """A location is in an arena whose descriptor this process wasn't given."""


@dataclass(slots=True)
class StoreStats:
    """One process's part of the store. Sizes are bytes."""

    slot: int = 0
    used: int = 0  # allocated in the own arena
    resident: int = 0  # its pages: used ones and warm, unused ones
    objects: int = 0  # ranges allocated in it
    fragmentation: float = 0.0  # 0: its free space is one range
    views: int = 0  # reads of any arena or file whose views are alive here
    pinned: int = 0  # bytes of the objects that these views are in
    arenas: int = 0  # of other processes, attached
    disk: DiskStats = field(default_factory=DiskStats)


class Store:
    """What a process holds of the object store.

    Thread contract: every method may be called from any thread; `detach`, `close` and
    `after_fork_in_child` not while another thread reads the same arena. A location belongs to the
    caller: nobody may use it after `free`. ``on_release`` runs in whatever thread drops the last
    view, perhaps in the garbage collector, so it must be cheap and take no locks.

    Args:
        slot: index of the process in the ledger; also the number of its arena.
        limit: bytes that all processes together may allocate.
        ledger: the shared account book.
        disk: the disk tier, or None: objects can't spill.
        backing: where arenas live; None: the best that works here.
    """

    def __init__(
        self,
        slot: int,
        limit: int,
        ledger: Ledger,
        disk: GuestDiskTier | None,
        backing: backings.Backing | None = None,
    ) -> None:
        self.slot = slot
        self.limit = limit
        self.disk = disk
        self._ledger = ledger
        self._backing = backing
        self._lock = Critical()
        self._arena: Arena | None = None
        self._windows: dict[int, Window] = {}
        self._adopted: dict[int, int] = {}  # arena of a dead process → bytes of its objects left
        self._pins: dict[int, tuple[int, int]] = {}  # serial → (arena or -1, bytes)
        self._serials = itertools.count()
        self._closed = False

    # -- writing -------------------------------------------------------------------------------
    def write(self, data: Any, buffers: Sequence[Any] = ()) -> Location:
        """Copies an object into this process's arena, once.

        Args:
            data: the pickle stream (any contiguous buffer).
            buffers: its out-of-band buffers.

        Returns:
            ``("shm", arena, offset, size, segments)``.

        Raises:
            NoRoom: the store's limit is reached, or the system has no memory.
            BufferError: a buffer isn't contiguous.
        """
        views = views_of(data, buffers)
        segments = tuple(map(len, views))
        starts, size = place(segments)

        def fill(arena: Arena, offset: int, cold: Sequence[tuple[int, int]]) -> None:
            arena.fill(cold, [(offset + at, view) for at, view in zip(starts, views, strict=True)])

        return self._place(size, segments, fill)

    def write_file(self, data: Any, buffers: Sequence[Any] = ()) -> Location:
        """Writes an object to disk; returns ``("file", path, size, segments)``.

        Raises:
            OutOfDiskError: there is no disk tier, no room, or the disk failed.
        """
        return self._tier().write(data, buffers)

    def spill(self, location: Location) -> Location:
        """Copies an object from any attached arena to disk; returns where. The original stays until
        `free`. Raises: as `write_file`, and `UnknownArena`."""
        tier = self._tier()
        _, _, offset, size, segments = location
        block = self._pin(self._mapping(location), offset, size, -1, None)
        starts, _ = place(segments)
        parts = [block[at : at + n] for at, n in zip(starts, segments, strict=True)]
        return tier.write(parts[0], parts[1:])

    def restore(self, location: Location) -> Location:
        """Copies an object from disk into this process's arena; returns where. The file stays until
        `free`.

        Raises:
            NoRoom: as `write`.
            ObjectLostError: the file is gone or was changed.
        """
        tier = self._tier()
        _, _, size, segments = location

        def fill(arena: Arena, offset: int, cold: Sequence[tuple[int, int]]) -> None:
            arena.prepare(cold)
            tier.read_into(location, arena.view(offset, size))

        return self._place(size, segments, fill)

    def _place(
        self,
        size: int,
        segments: tuple[int, ...],
        fill: Callable[[Arena, int, Sequence[tuple[int, int]]], None],
    ) -> Location:
        taken: list[tuple[int, list[tuple[int, int]]]] = []
        try:
            with self._lock:  # a Ctrl-C is raised at its end, when the range is noted in `taken`
                arena = self._own()
                taken.append(self._take(arena, size))
            offset, cold = taken[0]
            fill(arena, offset, cold)
            return ("shm", self.slot, offset, size, segments)
        except BaseException:
            if taken:
                with self._lock:
                    arena.give(taken[0][0], size)
                    if not self._closed:
                        self._report(arena)
            raise

    def _take(self, arena: Arena, size: int) -> tuple[int, list[tuple[int, int]]]:
        if size > self.limit:
            raise NoRoom(size, f"the object store's limit is {self.limit} bytes")
        found = arena.take(size)
        self._report(arena)
        # Reserve first, look then: two processes that do so at once may both step back, but they
        # never both go ahead.
        total = self._ledger.total()
        if total > self.limit:
            arena.give(found[0], size)
            self._report(arena)
            raise NoRoom(size, f"{total - size} of {self.limit} bytes are taken")
        if found[1]:
            self._cool(arena)
        return found

    # -- reading -------------------------------------------------------------------------------
    def read(self, location: Location, on_release: Callable[[], None] | None = None) -> Loaded:
        """Returns an object's stream and out-of-band buffers, read-only and without a copy.

        A stream up to 64 KB comes as ``bytes``. If nothing else is left to pin (no buffers),
        ``on_release`` is called before this returns; else once, when the last view, slice or array
        made from what is returned dies in this process.

        Raises:
            UnknownArena: the arena was not attached.
            ObjectLostError: the file is gone or was changed.
        """
        segments = location[-1]
        if location[0] == "shm":
            mapping, offset, size = self._mapping(location), location[2], location[3]
            where = location[1]
        else:
            mapping, offset, size = self._tier().map(location), HEADER, location[2]
            where = -1
        if len(segments) == 1 and segments[0] <= COPY_LIMIT:
            loaded = split(self._pin(mapping, offset, size, where, None), segments)
            if on_release is not None:
                on_release()
            return loaded
        return split(self._pin(mapping, offset, size, where, on_release), segments)

    def copy_out(self, location: Location) -> tuple[bytes, list[bytes]]:
        """Returns private copies of the stream and the buffers; pins nothing. Raises: as `read`."""
        data, buffers = self.read(location)
        return bytes(data), [bytes(buffer) for buffer in buffers]

    def _pin(
        self, mapping: Mapping, offset: int, size: int, where: int, on_release: Callable[[], None] | None
    ) -> memoryview:
        serial = next(self._serials)
        self._pins[serial] = (where, size)
        return pin(mapping, offset, size, self._pins, serial, on_release)

    def _mapping(self, location: Location) -> Mapping:
        _, number, offset, size, _ = location
        if number == self.slot:
            return self._written().mapping
        window = self._windows.get(number)
        if window is not None:
            mapping = window.mapped
            if mapping is not None and mapping.size >= offset + size:
                return mapping
        with self._lock:
            window = self._windows.get(number)
            if window is None:
                raise UnknownArena(f"arena {number} is not attached in process {self.slot}")
            return window.mapping(offset + size)

    # -- freeing -------------------------------------------------------------------------------
    def free(self, location: Location) -> None:
        """Gives an object's room back. Its own arena keeps the pages warm for the next object; in a
        dead process's arena they go back to the system; a file is removed.

        The caller knows that no view of it is alive anywhere (a file's views may be).

        Raises:
            ValueError: it isn't allocated (freed twice).
            UnknownArena: the arena is neither this process's nor adopted.
        """
        if location[0] == "file":
            self._tier().remove(location)
            return
        _, number, offset, size, _ = location
        with self._lock:
            if number != self.slot:
                self._free_adopted(number, offset, size)
                return
            arena = self._written()
            arena.give(offset, size)
            if size >= _BIG:
                self._cool(arena)
            else:
                self._report(arena)

    def trim(self, keep: int = 0) -> int:
        """Gives this process's unused pages back to the system, except for ``keep`` bytes.

        Returns:
            How many bytes went back.
        """
        with self._lock:
            arena = self._arena
            if arena is None:
                return 0
            given = arena.trim(keep)
            self._report(arena)
            return given

    def _cool(self, arena: Arena) -> None:
        # Pages of all processes, used and warm, stay within the store's limit: whoever would pass it
        # gives up warm pages of its own first.
        self._report(arena)
        excess = self._ledger.resident() - self.limit
        if excess > 0:
            arena.trim(max(arena.allocator.resident - arena.allocator.used - excess, 0))
            self._report(arena)

    def _report(self, arena: Arena) -> None:
        self._ledger.set(self.slot, arena.allocator.used, arena.allocator.resident)

    # -- other processes' arenas ---------------------------------------------------------------
    @property
    def fd(self) -> int | None:
        """The descriptor of this process's arena, to be passed on; None before the first write."""
        arena = self._arena
        return None if arena is None else arena.fd

    def fd_of(self, arena: int) -> int:
        """Returns the descriptor of an attached arena (or the own), to be passed on.

        Raises:
            UnknownArena: this process doesn't have it.
        """
        fd = self.fd if arena == self.slot else None
        window = self._windows.get(arena)
        if window is not None:
            fd = window.fd
        if fd is None:
            raise UnknownArena(f"arena {arena} is not attached in process {self.slot}")
        return fd

    def attach(self, arena: int, fd: int) -> None:
        """Makes another process's arena readable. Takes the descriptor over; a second one for the
        same arena is closed."""
        with self._lock:
            if arena == self.slot or arena in self._windows:
                os.close(fd)
                return
            self._windows[arena] = Window(fd)

    def knows(self, arena: int) -> bool:
        """Returns whether locations in that arena can be read here."""
        return arena == self.slot or arena in self._windows

    def detach(self, arena: int) -> None:
        """Lets go of another process's arena. Views of it stay valid; one not attached is fine."""
        with self._lock:
            window = self._windows.pop(arena, None)
            self._adopted.pop(arena, None)
            if window is not None:
                window.close()

    def adopt(self, arena: int, locations: Sequence[Location]) -> None:
        """Takes over what a dead process left (the driver does this, once its last message is read).

        Objects at ``locations`` stay readable, and `free` frees them. Whatever else it had
        allocated or half written, in memory or on disk, goes back at once, and the ledger says so.
        """
        kept = sorted((at[2], at[3]) for at in locations if at[0] == "shm" and at[1] == arena)
        remove_strays = getattr(self.disk, "remove_strays", None)
        if remove_strays is not None:
            remove_strays(arena, locations)
        with self._lock:
            window = self._windows.get(arena)
            if window is None:
                if kept:
                    raise UnknownArena(f"arena {arena} died before its descriptor arrived")
                self._ledger.set(arena, 0)
                return
            end = 0
            for offset, size in [*kept, (window.size, 0)]:
                if offset > end:
                    backings.punch(window.fd, end, offset - end)
                end = offset + size
            self._adopted[arena] = sum(size for _, size in kept)
            self._settle(arena)

    def _free_adopted(self, number: int, offset: int, size: int) -> None:
        if number not in self._adopted:
            raise UnknownArena(f"only arena {number}'s own process may free in it while it lives")
        backings.punch(self._windows[number].fd, offset, size)
        self._adopted[number] -= size
        self._settle(number)

    def _settle(self, number: int) -> None:
        left = self._adopted[number]
        self._ledger.set(number, left, left)
        if not left:
            del self._adopted[number]
            self._windows.pop(number).close()

    # -- the whole -----------------------------------------------------------------------------
    def live_views(self) -> int:
        """Returns how many reads have views alive in this process."""
        return len(self._pins)

    def total(self) -> int:
        """Returns the bytes that all processes have allocated."""
        return self._ledger.total()

    def stats(self) -> StoreStats:
        """Returns this process's figures."""
        with self._lock:
            stats = StoreStats(self.slot, arenas=len(self._windows))
            if self._arena is not None:
                allocator = self._arena.allocator
                stats.used = allocator.used
                stats.resident = allocator.resident
                stats.objects = allocator.ranges()
                stats.fragmentation = allocator.fragmentation()
        pins = list(self._pins.values())
        stats.views = len(pins)
        stats.pinned = sum(size for _, size in pins)
        if self.disk is not None:
            stats.disk = self.disk.stats()
        return stats

    def close(self) -> None:
        """Lets go of every arena and closes the disk tier. Views that are alive stay valid, and their
        ``on_release`` is no longer called. The ledger is its creator's to close."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._pins.clear()
            self._let_go()
        if self.disk is not None:
            self.disk.close()

    def after_fork_in_child(self) -> None:
        """Makes a forked child let go without touching what is the parent's."""
        self._lock = Critical()  # another thread may have held it
        self._closed = True
        self._pins.clear()
        self._let_go()
        if self.disk is not None:
            self.disk.after_fork_in_child()

    def _let_go(self) -> None:
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.close()
        windows, self._windows = self._windows, {}
        for window in windows.values():
            window.close()

    def _own(self) -> Arena:
        """Returns this process's arena; makes it first if need be."""
        arena = self._arena
        if arena is None:
            self._refuse_closed()
            arena = self._arena = Arena(_SPACE * self.limit, self._backing or backings.choose())
        return arena

    def _written(self) -> Arena:
        """Returns this process's arena, which must be there, because a location is in it."""
        arena = self._arena
        if arena is None:
            self._refuse_closed()
            raise UnknownArena(f"process {self.slot} has not written anything yet")
        return arena

    def _tier(self) -> GuestDiskTier:
        self._refuse_closed()
        if self.disk is None:
            raise OutOfDiskError("This runtime has no disk tier, so objects can't spill.")
        return self.disk

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeGoneError("This object store is closed; call raynb.init() again.")


