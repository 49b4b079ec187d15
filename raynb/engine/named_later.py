"""Calls that were sent without their number, and the number that their worker uses instead."""

from __future__ import annotations

import threading
from collections import OrderedDict

#: Calls that have ended and are still known: a thread that one of them left behind may say something.
MAX_OVER = 10_000


class NamedLater:
    """The driver's table of calls that their worker knows by another number only.

    A call without arguments sends its worker nothing. The worker makes a negative number of the id that the
    cluster gave the task, and so does the driver, after it submitted the call.

    Thread contract: any thread. Who submits holds `lock` from before the call goes out until it is `add`\\ ed, so that
    `find` never comes too early.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a destructor may submit, too, while a call goes out
        self._open: dict[int, tuple[int, int]] = {}
        self._over: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._over)

    def add(self, number: int, task: int, scope: int) -> None:
        """Enters a call under the number that its worker uses."""
        self._open[number] = (task, scope)

    def find(self, number: int) -> tuple[int, int]:
        """Returns (task, scope) of a call; zeros if it ended too long ago to be known."""
        found = self._open.get(number) or self._over.get(number)
        if found is None:
            with self.lock:  # it is being submitted in this moment
                found = self._open.get(number)
        return found or (0, 0)

    def number_of(self, task: int) -> int:
        """Returns our number of a task that its worker may know by another one."""
        return task if task >= 0 else self.find(task)[0]

    def over(self, number: int) -> None:
        """Forgets a call that has ended."""
        found = self._open.pop(number, None)
        if found is not None:
            self._over[number] = found
            while len(self._over) > MAX_OVER:
                self._over.popitem(last=False)


__all__ = ["NamedLater"]
