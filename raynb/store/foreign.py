"""The arenas of other processes, the living and the dead."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raynb.base.interrupts import Critical
from raynb.base.spec import Location
from raynb.store import backing as backings
from raynb.store.arena import Window
from raynb.store.memory import Mapping
from raynb.store.pages.ledger import Ledger


class UnknownArena(LookupError):
    """Raised for a location in an arena whose descriptor this process was not given."""


@dataclass(slots=True)
class _Dead:
    """The objects that a dead process left in its arena."""

    row: int  # its slot in the ledger
    objects: dict[int, int]  # offset → bytes
    left: int  # their sum
    resident: int  # bytes of pages not given back yet
    emptied: Callable[[], None] | None
    busy: int = 1  # who is giving pages back just now


class ForeignArenas:
    """The arenas that other processes write to, as this one has mapped them.

    An arena outlives its process: a process that holds the descriptor can read on. When a process is dead,
    the driver *adopts* its arena: only then does anybody but the owner free ranges in it.

    Thread contract: as `Store`'s, whose lock it shares.
    """

    def __init__(self, slot: int, ledger: Ledger, lock: Critical) -> None:
        self._slot = slot
        self._ledger = ledger
        self.lock = lock
        self._windows: dict[int, Window] = {}
        self._adopted: dict[int, _Dead] = {}  # by arena

    def __len__(self) -> int:
        return len(self._windows)

    def __contains__(self, arena: int) -> bool:
        return arena in self._windows

    def attach(self, arena: int, fd: int) -> None:
        """Makes an arena readable by its descriptor, which is taken over; a second one is closed."""
        with self.lock:
            if arena == self._slot or arena in self._windows:
                os.close(fd)
            else:
                self._windows[arena] = Window(fd)

    def detach(self, arena: int) -> None:
        """Closes an arena; its views stay valid."""
        with self.lock:
            window = self._windows.pop(arena, None)
            self._adopted.pop(arena, None)
            if window is not None:
                window.close()

    def fd_of(self, arena: int) -> int:
        """Returns the descriptor of an arena. Raises `UnknownArena`."""
        window = self._windows.get(arena)
        if window is None:
            raise self._unknown(arena)
        return window.fd

    def mapping(self, arena: int, end: int) -> Mapping:
        """Returns a mapping of the arena that reaches to ``end`` at least."""
        window = self._windows.get(arena)
        if window is not None:
            mapped = window.mapped
            if mapped is not None and mapped.size >= end:
                return mapped
        with self.lock:  # against `detach`: mapping needs the descriptor
            window = self._windows.get(arena)
            if window is None:
                raise self._unknown(arena)
            return window.mapping(end)

    def adopt(
        self, arena: int, locations: Sequence[Location], row: int, emptied: Callable[[], None] | None
    ) -> Callable[[], None]:
        """See `Store.adopt`."""
        kept = sorted((at[2], at[3]) for at in locations if at[0] == "shm" and at[1] == arena)
        with self.lock:
            window = self._windows.get(arena)
            if window is None and kept:
                raise self._unknown(arena)
            gaps = []
            end = 0
            for offset, size in [*kept, (0 if window is None else window.size, 0)]:
                if offset > end:
                    gaps.append((end, offset - end))
                end = offset + size
            left = sum(size for _, size in kept)
            garbage = max(0, self._ledger.resident_of(row) - left)
            self._adopted[arena] = _Dead(row, dict(kept), left, left + garbage, emptied)
            self._ledger.set(row, left, left + garbage)
        return functools.partial(self._give_back, arena, gaps, garbage)

    def _give_back(self, arena: int, gaps: list[tuple[int, int]], garbage: int) -> None:
        """Gives back what was in no reported object."""
        for offset, n in gaps:
            self._punch(arena, offset, n)
        with self.lock:
            dead = self._adopted.get(arena)
            if dead is not None:
                dead.resident -= garbage
                dead.busy -= 1
                self._account(arena, dead)

    def free(self, arena: int, offset: int, size: int) -> None:
        """Frees a range in an adopted arena; its pages go back to the system."""
        with self.lock:
            dead = self._adopted.get(arena)
            if dead is None:
                if arena in self._windows:
                    raise UnknownArena(f"only process {arena} itself frees in its arena while it lives")
                raise self._unknown(arena)
            if dead.objects.pop(offset, -1) != size:
                raise ValueError(f"{size} bytes at {offset} of arena {arena} are no object: freed twice?")
            dead.left -= size
            dead.busy += 1
            self._ledger.set(dead.row, dead.left, dead.resident)
        self._punch(arena, offset, size)  # 0.1 s a GB, in which others can go on
        with self.lock:
            dead.resident -= size
            dead.busy -= 1
            self._account(arena, dead)

    def _punch(self, arena: int, offset: int, n: int) -> None:
        with self.lock:  # a descriptor of our own: the window's may be closed meanwhile
            window = self._windows.get(arena)
            if window is None:
                return
            try:
                fd = os.dup(window.fd)
            except OSError:
                backings.punch(window.fd, offset, n)
                return
        try:
            backings.punch(fd, offset, n)
        finally:
            os.close(fd)

    def let_go(self) -> None:
        """Closes every descriptor; views stay valid."""
        windows, self._windows = self._windows, {}
        for window in windows.values():
            window.close()

    def _account(self, arena: int, dead: _Dead) -> None:
        self._ledger.set(dead.row, dead.left, dead.resident)
        if not dead.left and not dead.busy and self._adopted.get(arena) is dead:
            del self._adopted[arena]  # nothing will ever be written there again
            window = self._windows.pop(arena, None)
            if window is not None:
                window.close()
            if dead.emptied is not None:
                dead.emptied()

    def _unknown(self, arena: int) -> UnknownArena:
        return UnknownArena(f"arena {arena} is not attached in process {self._slot}")
