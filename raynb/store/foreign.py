"""The arenas of other processes, the living and the dead."""

from __future__ import annotations

import os
from collections.abc import Sequence

from raynb.base.interrupts import Critical
from raynb.base.spec import Location
from raynb.store import backing as backings
from raynb.store.arena import Window
from raynb.store.ledger import Ledger
from raynb.store.memory import Mapping


class UnknownArena(LookupError):
    """A location is in an arena whose descriptor this process wasn't given."""


class ForeignArenas:
    """What a process holds of the arenas that others write to.

    An arena outlives its process: whoever holds the descriptor can read on. When a process is dead,
    the driver *adopts* its arena: only then does anybody but the owner free ranges in it.

    Thread contract: as `Store`'s, whose lock it shares.
    """

    def __init__(self, slot: int, ledger: Ledger, lock: Critical) -> None:
        self._slot = slot
        self._ledger = ledger
        self.lock = lock
        self._windows: dict[int, Window] = {}
        self._adopted: dict[int, int] = {}  # arena of a dead process → bytes of its objects left

    def __len__(self) -> int:
        return len(self._windows)

    def __contains__(self, arena: int) -> bool:
        return arena in self._windows

    def attach(self, arena: int, fd: int) -> None:
        with self.lock:
            if arena == self._slot or arena in self._windows:
                os.close(fd)
            else:
                self._windows[arena] = Window(fd)

    def detach(self, arena: int) -> None:
        with self.lock:
            window = self._windows.pop(arena, None)
            self._adopted.pop(arena, None)
            if window is not None:
                window.close()

    def fd_of(self, arena: int) -> int:
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

    def adopt(self, arena: int, locations: Sequence[Location]) -> None:
        kept = sorted((at[2], at[3]) for at in locations if at[0] == "shm" and at[1] == arena)
        with self.lock:
            window = self._windows.get(arena)
            if window is None:
                if kept:
                    raise self._unknown(arena)
                self._ledger.set(arena, 0)
                return
            end = 0
            for offset, size in [*kept, (window.size, 0)]:
                if offset > end:
                    backings.punch(window.fd, end, offset - end)
                end = offset + size
            self._adopted[arena] = sum(size for _, size in kept)
            self._settle(arena)

    def free(self, arena: int, offset: int, size: int) -> None:
        """Frees a range in an adopted arena; the caller holds the lock."""
        if arena not in self._adopted:
            if arena in self._windows:
                raise UnknownArena(f"only process {arena} itself frees in its arena while it lives")
            raise self._unknown(arena)
        backings.punch(self._windows[arena].fd, offset, size)
        self._adopted[arena] -= size
        self._settle(arena)

    def let_go(self) -> None:
        """Closes every descriptor; views stay valid."""
        windows, self._windows = self._windows, {}
        for window in windows.values():
            window.close()

    def _settle(self, arena: int) -> None:
        left = self._adopted[arena]
        self._ledger.set(arena, left, left)
        if not left:  # nothing will ever be written there again
            del self._adopted[arena]
            self._windows.pop(arena).close()

    def _unknown(self, arena: int) -> UnknownArena:
        return UnknownArena(f"arena {arena} is not attached in process {self._slot}")
