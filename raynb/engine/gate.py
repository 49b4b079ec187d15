"""The lock that guards the machine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from raynb.base.interrupts import Critical
from raynb.base.spec import TaskSpec


class Gate(Critical):
    """The engine's lock. Whoever is inside finds that the machine knows of all that was submitted before."""

    __slots__ = ("_intake", "_take_in")

    def __init__(self, intake: deque[TaskSpec], take_in: Callable[[], None]) -> None:
        super().__init__()
        self._intake = intake
        self._take_in = take_in

    def __enter__(self) -> None:
        super().__enter__()
        if self._intake:
            try:
                self._take_in()
            except BaseException:
                self.__exit__()
                raise

    def is_mine(self) -> bool:
        """Returns whether the calling thread has it."""
        return self.owner == threading.get_ident()
