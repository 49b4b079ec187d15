"""`Store`: the object store as one process sees it.

It writes to its own arena (or to a file), reads from any arena it was given the descriptor of, and
knows which of its views are alive. What is kept, spilled or dropped is decided elsewhere (`core/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from raynb.base.interrupts import Critical
from raynb.base.spec import Location
from raynb.exceptions import OutOfDiskError
from raynb.store import backing as backings
from raynb.store.allocator import Range
from raynb.store.arena import Arena, NoRoom
from raynb.store.disk import HEADER_BYTES, DiskStats, DiskTier, GuestDiskTier
from raynb.store.foreign import ForeignArenas, UnknownArena
from raynb.store.layout import COPY_MAX_BYTES, Loaded, parts, place, split, views_of
from raynb.store.memory import Mapping
from raynb.store.own import OwnArena
from raynb.store.pages.ledger import Ledger
from raynb.store.pins import Pins

__all__ = ["NoRoom", "Store", "StoreStats", "UnknownArena"]


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
    """The object store, as one process sees it.

    Thread contract: every method may be called from any thread; `detach`, `close` and
    `after_fork_in_child` not while another thread reads the same arena. A location belongs to the
    caller: nobody may use it after `free`. ``on_release`` runs in whatever thread drops the last
    view, perhaps in the garbage collector, so it must be cheap and take no locks.

    Args:
        slot: number of the process and of its arena, never used again.
        limit: bytes that all processes together may allocate.
        ledger: the shared account book.
        disk: the disk tier, or None: objects can't spill.
        backing: where arenas live; None: the best that works here.
        row: the process's slot in the ledger; None: the same number.
    """

    def __init__(
        self,
        slot: int,
        limit: int,
        ledger: Ledger,
        disk: GuestDiskTier | None,
        backing: backings.Backing | None = None,
        row: int | None = None,
    ) -> None:
        self.slot = slot
        self.limit = limit
        self.disk = disk
        self._ledger = ledger
        self._lock = Critical()
        self._own = OwnArena(slot, limit, ledger, self._lock, backing, slot if row is None else row)
        self._foreign = ForeignArenas(slot, ledger, self._lock)
        self._pins = Pins()

    # -- writing -------------------------------------------------------------------------------
    def write(self, data: object, buffers: Sequence[object] = ()) -> Location:
        """Copies an object into this process's arena, once.

        Args:
            data: the pickle stream (any contiguous buffer).
            buffers: its out-of-band buffers; a `Gathered` is one of them.

        Returns:
            ``("shm", arena, offset, size, segments)``.

        Raises:
            NoRoom: the store's limit is reached, or the system has no memory.
            BufferError: a buffer isn't contiguous.
        """
        views = views_of(data, buffers)
        segments = tuple(map(len, views))
        starts, size = place(segments)

        def fill(arena: Arena, offset: int, cold: Sequence[Range]) -> None:
            arena.fill(cold, parts(views, starts, offset))

        return ("shm", self.slot, self._own.place(size, fill), size, segments)

    def write_file(self, data: object, buffers: Sequence[object] = ()) -> Location:
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
        block = self._pins.view(self._mapping(location), offset, size, None, self._pins.serial())
        starts, _ = place(segments)
        views = [block[at : at + n] for at, n in zip(starts, segments, strict=True)]
        return tier.write(views[0], views[1:])

    def restore(self, location: Location) -> Location:
        """Copies an object from disk into this process's arena; returns where. The file stays until
        `free`.

        Raises:
            NoRoom: as `write`.
            ObjectLostError: the file is gone or was changed.
        """
        tier = self._tier()
        _, _, size, segments = location

        def fill(arena: Arena, offset: int, cold: Sequence[Range]) -> None:
            arena.prepare(cold)
            tier.read_into(location, arena.view(offset, size))

        return ("shm", self.slot, self._own.place(size, fill), size, segments)

    # -- reading -------------------------------------------------------------------------------
    def read(self, location: Location, on_release: Callable[[], None] | None = None) -> Loaded:
        """Returns an object's stream and out-of-band buffers, read-only and without a copy.

        A stream up to 64 KB comes as ``bytes``. If nothing else is left to pin (no buffers),
        ``on_release`` is called before this returns; else once, when the last view, slice or array
        made from what is returned dies in this process. When this raises, it is never called.

        Raises:
            UnknownArena: the arena was not attached.
            ObjectLostError: the file is gone or was changed.
        """
        segments = location[-1]
        if location[0] == "shm":
            mapping, offset, size = self._mapping(location), location[2], location[3]
        else:
            mapping, offset, size = self._tier().map(location), HEADER_BYTES, location[2]
        serial = self._pins.serial()
        try:
            pinned = len(segments) > 1 or segments[0] > COPY_MAX_BYTES
            loaded = split(
                self._pins.view(mapping, offset, size, on_release if pinned else None, serial), segments
            )
            if not pinned and on_release is not None:
                on_release()
            return loaded
        except BaseException:  # a Ctrl-C, say
            self._pins.cancel(serial)
            raise

    def _mapping(self, location: Location) -> Mapping:
        _, arena, offset, size, _ = location
        if arena == self.slot:
            return self._own.written().mapping
        return self._foreign.mapping(arena, offset + size)

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
        if number != self.slot:
            self._foreign.free(number, offset, size)
            return
        with self._lock:
            self._own.free(offset, size)

    def trim(self, keep: int = 0) -> int:
        """Gives this process's unused pages back to the system, except for ``keep`` bytes.

        Returns:
            How many bytes went back.
        """
        return self._own.trim(keep)

    def cool_down(self, now: float, idle: float = 10.0) -> bool:
        """Gives unused pages back, a slice a call, once nothing was written or freed for a while.

        The memory monitor calls it now and then, so that an idle notebook doesn't keep memory. A call
        that has nothing to do costs less than a microsecond.

        Args:
            now: seconds of a monotonic clock.
            idle: seconds without a change after which pages go.

        Returns:
            Whether there will be something to do later. False: not before the next write or free.
        """
        return self._own.cool_down(now, idle)

    # -- other processes' arenas ---------------------------------------------------------------
    @property
    def fd(self) -> int | None:
        """The descriptor of this process's arena, to be passed on; None before the first write."""
        arena = self._own.peek()
        return None if arena is None else arena.fd

    def fd_of(self, arena: int) -> int:
        """Returns the descriptor of an arena, to be passed on. Raises `UnknownArena`."""
        if arena == self.slot:
            return self._own.written().fd
        return self._foreign.fd_of(arena)

    def attach(self, arena: int, fd: int) -> None:
        """Makes another process's arena readable. Takes the descriptor over; a second one for the
        same arena is closed."""
        self._foreign.attach(arena, fd)

    def knows(self, arena: int) -> bool:
        """Returns whether locations in that arena can be read here."""
        return arena == self.slot or arena in self._foreign

    def detach(self, arena: int) -> None:
        """Lets go of another process's arena. Views of it stay valid; one not attached is fine."""
        self._foreign.detach(arena)

    def adopt(
        self,
        arena: int,
        locations: Sequence[Location],
        row: int | None = None,
        emptied: Callable[[], None] | None = None,
    ) -> Callable[[], None]:
        """Takes over what a dead process left (the driver does this, once its last message is read).

        Objects at ``locations`` stay readable, and `free` frees them; with the last one the arena is
        detached. Whatever else the process had allocated or half written is free at once, and the
        ledger says so.

        Args:
            row: the dead process's slot in the ledger; None: the same number as its arena.
            emptied: called once, from any thread and under a lock, so it must only append to something: the
                last object is gone and ``row`` may be used again.

        Returns:
            What takes longer and is to be called once, outside of every lock: it gives the pages back
            to the system and removes files that were half written or never reported.

        Raises:
            UnknownArena: there are objects in an arena whose descriptor never arrived.
        """
        give_back = self._foreign.adopt(arena, locations, arena if row is None else row, emptied)
        disk = self.disk

        def finish() -> None:
            give_back()
            if isinstance(disk, DiskTier):
                disk.remove_strays(arena, locations)

        return finish

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
            stats = StoreStats(self.slot, arenas=len(self._foreign))
            arena = self._own.peek()
            if arena is not None:
                allocator = arena.allocator
                stats.used = allocator.used
                stats.resident = allocator.resident
                stats.objects = allocator.ranges()
                stats.fragmentation = allocator.fragmentation()
        stats.views = len(self._pins)
        stats.pinned = self._pins.bytes()
        if self.disk is not None:
            stats.disk = self.disk.stats()
        return stats

    def close(self) -> None:
        """Lets go of every arena and closes the disk tier. Views that are alive stay valid, and their
        ``on_release`` is no longer called. The ledger is its creator's to close."""
        with self._lock:
            self._pins.disarm()
            self._own.close()
            self._foreign.let_go()
        if self.disk is not None:
            self.disk.close()

    def after_fork_in_child(self) -> None:
        """Makes a forked child let go without touching what is the parent's."""
        # Another thread may have held the old lock at the moment of the fork.
        self._lock = self._own.lock = self._foreign.lock = Critical()
        self._pins.disarm()
        self._own.close()
        self._foreign.let_go()
        if self.disk is not None:
            self.disk.after_fork_in_child()

    def _tier(self) -> GuestDiskTier:
        self._own.refuse_closed()
        if self.disk is None:
            raise OutOfDiskError("This runtime has no disk tier, so objects can't spill.")
        return self.disk
