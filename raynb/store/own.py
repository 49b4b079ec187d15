"""This process's own arena within the store's limit: made when first needed, accounted exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raynb.base.interrupts import Critical
from raynb.exceptions import RuntimeGoneError
from raynb.store import backing as backings
from raynb.store.allocator import Range
from raynb.store.arena import Arena, NoRoom
from raynb.store.foreign import UnknownArena
from raynb.store.memory import PAGE
from raynb.store.pages.ledger import Ledger

#: Address space of an arena over the store's limit. It costs nothing, and makes it unlikely that
#: scattered small objects leave no range for a large one.
_SPACE_FACTOR = 2
_BIG_BYTES = 1 << 20
#: Bytes given back at once when idle: it takes about 10 ms, in which nobody can allocate.
_SLICE_BYTES = 64 << 20

Fill = Callable[[Arena, int, Sequence[Range]], None]


class OwnArena:
    """The arena that this process writes to.

    Thread contract: as `Store`'s, whose lock it shares.
    """

    def __init__(
        self,
        slot: int,
        limit: int,
        ledger: Ledger,
        lock: Critical,
        backing: backings.Backing | None,
        row: int,
    ) -> None:
        self.lock = lock
        self._slot = slot
        self._row = row
        self._limit = limit
        self._ledger = ledger
        self._backing = backing
        self._arena: Arena | None = None
        self._closed = False
        self._changes = 0  # how often something was allocated or freed
        self._seen = (0, 0.0)  # that count, and since when it has been the same

    def peek(self) -> Arena | None:
        """Returns the arena if anything was ever written to it."""
        return self._arena

    def written(self) -> Arena:
        """Returns the arena, which must be there, because a location is in it."""
        arena = self._arena
        if arena is None:
            self.refuse_closed()
            raise UnknownArena(f"process {self._slot} has not written anything yet")
        return arena

    def place(self, size: int, fill: Fill) -> int:
        """Allocates a range and has ``fill(arena, offset, cold parts)`` write it; returns the offset.

        Whatever goes wrong in between, a Ctrl-C too, the range is given back. Raises `NoRoom`, and
        what ``fill`` raises.
        """
        taken: list[tuple[int, list[Range]]] = []
        try:
            with self.lock:  # holds Ctrl-C back until the range is noted in `taken`
                arena = self._made(size)
                taken.append(self._take(arena, size))
            offset, cold = taken[0]
            fill(arena, offset, cold)
            return offset
        except BaseException:
            if taken:
                with self.lock:
                    if not self._closed:
                        arena.undo(taken[0][0], size, taken[0][1])
                        self._report(arena)
            raise

    def free(self, offset: int, size: int) -> None:
        """Gives a range back; its pages stay warm. The caller holds the lock."""
        arena = self.written()
        arena.give(offset, size)
        if size >= _BIG_BYTES:
            self._cool(arena)
        else:
            self._report(arena)

    def trim(self, keep: int) -> int:
        """Gives unused pages back to the system, except for ``keep`` bytes; returns how many bytes."""
        with self.lock:
            arena = self._arena
            if arena is None:
                return 0
            given = arena.trim(keep)
            self._report(arena)
            return given

    def cool_down(self, now: float, idle: float) -> bool:
        """See `Store.cool_down`."""
        arena = self._arena
        if arena is None or arena.allocator.resident - arena.allocator.used < PAGE:
            return False
        if self._seen[0] != self._changes:
            self._seen = (self._changes, now)
            return True
        if now - self._seen[1] < idle:
            return True
        with self.lock:
            if self._closed:
                return False
            spare = arena.allocator.resident - arena.allocator.used
            given = arena.trim(max(spare - _SLICE_BYTES, 0))
            self._ledger.set(self._row, arena.allocator.used, arena.allocator.resident)
        # What is left when nothing could be given are the other halves of pages in use.
        return bool(given) and spare - given >= PAGE

    def close(self) -> None:
        """Lets go of the arena; views stay valid, and nothing more can be written."""
        self._closed = True
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.close()

    def refuse_closed(self) -> None:
        """Raises `RuntimeGoneError` after `close`."""
        if self._closed:
            raise RuntimeGoneError("This object store is closed; call raynb.init() again.")

    def _made(self, size: int) -> Arena:
        arena = self._arena
        if arena is None:
            self.refuse_closed()
            try:
                arena = self._arena = Arena(_SPACE_FACTOR * self._limit, self._backing or backings.choose())
            except OSError as error:
                raise NoRoom(size, str(error), error) from None
        return arena

    def _take(self, arena: Arena, size: int) -> tuple[int, list[Range]]:
        if size > self._limit:
            raise NoRoom(size, f"the object store's limit is {self._limit} bytes")
        found = arena.take(size)
        self._report(arena)
        # Reserve first, look then: two processes that do so at once may both step back, but they
        # never both go ahead.
        total = self._ledger.total()
        if total > self._limit:
            arena.undo(found[0], size, found[1])
            self._report(arena)
            raise NoRoom(size, f"{total - size} of {self._limit} bytes are taken")
        if found[1]:
            self._cool(arena)
        return found

    def _cool(self, arena: Arena) -> None:
        # Pages of all processes, used and warm, stay within the store's limit: whoever would pass it
        # gives up warm pages of its own first.
        self._report(arena)
        excess = self._ledger.resident() - self._limit
        if excess > 0:
            arena.trim(max(arena.allocator.resident - arena.allocator.used - excess, 0))
            self._report(arena)

    def _report(self, arena: Arena) -> None:
        self._changes += 1
        self._ledger.set(self._row, arena.allocator.used, arena.allocator.resident)
