"""What the policies share while one event is applied: its time, the commands that follow from it, the timers.

`Machine.handle` sets the time and takes the commands; each policy reads the time, adds commands and sets timers.
"""

from __future__ import annotations

import heapq

from raynb.core.vocabulary import commands as c


class Step:
    """The time of the event that is applied (monotonic seconds), the commands so far, and the timers that are set."""

    __slots__ = ("_timer_count", "now", "out", "timers")

    def __init__(self) -> None:
        self.now = 0.0
        self.out: list[c.Command] = []
        self.timers: list[tuple[float, int, str, int]] = []
        self._timer_count = 0

    def timer(self, at: float, what: str, identity: int) -> None:
        """Sets a timer: at ``at`` seconds, `Ticked` fires ``what`` for the id."""
        self._timer_count += 1
        heapq.heappush(self.timers, (at, self._timer_count, what, identity))

    def due(self) -> tuple[str, int] | None:
        """Removes the next timer whose time has come; returns what it fires and for which id, None if there is none."""
        if self.timers and self.timers[0][0] <= self.now:
            _, _, what, identity = heapq.heappop(self.timers)
            return what, identity
        return None
