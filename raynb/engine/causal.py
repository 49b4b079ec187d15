"""The order in which reports of many workers are applied: a cause comes before what it caused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

#: What must have been taken first: a reporter's name, and how many of its events.
Mark = tuple[str, int]
#: The kind of an event that says so: ("after", name, count).
AFTER = "after"


class CausalOrder:
    """Puts the events of several reporters in an order that respects what each had seen of the others.

    Each reporter numbers its own events. A reporter that
    is called by another one, or reads its result, adds an `AFTER` event; its later events wait until the other's are
    there. It names only events that exist, so nothing waits in a circle; lost ones are waited for ``patience`` seconds.

    Thread contract: one thread adds; `has` from any thread.

    Args:
        take: called with (reporter, events, what was given to `add` with them) of each piece, in order.
        patience: seconds.
    """

    def __init__(self, take: Callable[[str, list[Any], Any], None], patience: float) -> None:
        self._take = take
        self._patience = patience
        self._taken: dict[str, int] = {}
        self._come: dict[str, int] = {}
        self._waiting: dict[str, deque[list[Any]]] = {}  # reporter → [first, events, about, came] of each batch
        self._behind: dict[str, set[str]] = {}  # reporter → those whose next piece waits for it

    def has(self, mark: Mark | None) -> bool:
        """Returns whether the events that a mark names were applied."""
        return mark is None or self._taken.get(mark[0], 0) >= mark[1]

    def add(self, reporter: str, first: int, events: list[Any], about: object, now: float) -> None:
        """Takes a batch, or as much of it as may be taken already.

        Args:
            reporter: who says it.
            first: how many events it had said before.
            events: tuples that begin with their kind.
            about: handed on to ``take``.
            now: the time, in seconds.
        """
        if first < self._come.get(reporter, 0):
            return  # said again, by a reporter that had no answer
        self._come[reporter] = first + len(events)
        self._waiting.setdefault(reporter, deque()).append([first, events, about, now])
        self._go_on([reporter], now)

    def look(self, now: float) -> None:
        """Applies events that have waited too long for others."""
        overdue = [name for name, batches in self._waiting.items() if batches[0][3] + self._patience <= now]
        self._go_on(overdue, now)

    def give_up(self) -> None:
        """Applies all waiting events: what they wait for was lost."""
        self._go_on(list(self._waiting), float("inf"))

    def _go_on(self, names: list[str], now: float) -> None:
        left = deque(names)
        while left:
            name = left.popleft()
            if self._advance(name, now):
                left.extend(self._behind.pop(name, ()))

    def _advance(self, name: str, now: float) -> bool:
        """Applies the events of one reporter that may be applied; returns whether there were any."""
        batches, moved = self._waiting.get(name), False
        while batches:
            first, events, about, came = batches[0]
            late = came + self._patience <= now
            end = len(events) if late else self._until(name, events)
            if end:
                batches[0][0], batches[0][1] = first + end, events[end:]
                self._take(name, [one for one in events[:end] if one[0] != AFTER], about)
                self._taken[name] = first + end
                moved = True
            if end < len(events):
                return moved
            batches.popleft()
        self._waiting.pop(name, None)
        return moved

    def _until(self, name: str, events: list[Any]) -> int:
        """Returns how many of the events may be applied now."""
        for place, event in enumerate(events):
            if event[0] == AFTER and event[1] != name and not self.has((event[1], event[2])):
                self._behind.setdefault(event[1], set()).add(name)
                return place
        return len(events)


__all__ = ["AFTER", "CausalOrder", "Mark"]
