"""The time, and waits, that nothing of the user's code changes or falls into."""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import time as time
else:
    # Python's `time` once more, with functions of its own: freezegun, or a test that patches `time`, replaces those of
    # the other one in every module that has them, and would stop threads of raynb's and let its timeouts be forgotten.
    time = importlib.util.module_from_spec(importlib.util.find_spec("time"))
    time.__spec__.loader.exec_module(time)


class Bell:
    """Wakes the one thread that waits for it, now or the next time, also from a signal handler or a destructor that
    interrupts who wakes it.

    Each step is one call of C: a `threading.Event` has a lock, which a signal handler that sets it again may find
    taken by the very thread that it interrupts, and an exception that falls into its wait may come out as a
    RuntimeError.

    Thread contract: `set` from anywhere; one thread waits.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wakes it."""
        try:
            self._lock.release()
        except RuntimeError:  # it was woken already
            pass

    def wait(self, seconds: float | None) -> bool:
        """Returns whether it was woken within that time (None: as long as it takes)."""
        return self._lock.acquire(True, -1 if seconds is None else seconds)

    def clear(self) -> None:
        """Forgets that it was woken."""
        self._lock.acquire(False)
