"""Counts what this worker holds of the driver's objects (refs and views), and returns it in one message."""

from __future__ import annotations

from collections import deque
from typing import Any

from raynb.base.interrupts import Critical
from raynb.base.ref import taken_from


class BorrowedRefs:
    """Counts by object id: messages that named it (received), and holds (refs, views) here.

    When the holds fall to zero, everything received is given back in one `Release`; a message
    still on its way keeps the object alive at the driver, so no race is left.

    Thread contract: `log` takes appends from anywhere, destructors included; the rest locks. The collector pauses
    meanwhile: what it ran would wait for this lock for ever, or count refs that went before those that came.
    """

    __slots__ = ("_lock", "held", "log", "released")

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}  # id → [received, holds]
        self.log: deque[Any] = deque()  # id, or a ref: one hold less; ~id: one more
        self.released: list[tuple[int, int]] = []
        self._lock = Critical()

    def after_fork_in_child(self) -> None:
        """Clears the counts: refs that a forked child drops do not count."""
        self._lock = Critical()

    def lent(self, ids: tuple[int, ...]) -> None:
        """Counts objects that a message named; they are held until `returned`."""
        with self._lock:
            held = self.held
            for identity in ids:
                entry = held.get(identity)
                if entry is None:
                    held[identity] = [1, 1]
                else:
                    entry[0] += 1
                    entry[1] += 1

    def own(self, identity: int) -> None:
        """Counts a ref to an object made here; the driver has counted it already."""
        self.held[identity] = [1, 1]  # one step: nobody else knows of it yet

    def returned(self, ids: tuple[int, ...]) -> None:
        """Releases what `lent` held for the length of a task or a get."""
        self.log.extend(ids)

    def drain_log(self) -> tuple[tuple[int, int], ...]:
        """Applies the log; returns what is held no more, as (id, received)."""
        log = self.log
        if not log:
            return ()
        gone: list[tuple[int, int]] = []
        with self._lock:
            held = self.held
            for change in taken_from(log):
                if change < 0:
                    entry = held.get(~change)
                    if entry is None:
                        held[~change] = [0, 1]
                    else:
                        entry[1] += 1
                    continue
                entry = held.get(change)
                if entry is None:
                    continue
                entry[1] -= 1
                if entry[1] <= 0:
                    del held[change]
                    if entry[0]:
                        gone.append((change, entry[0]))
        return tuple(gone)
