"""Waking a thread, also from a signal handler or a destructor that interrupts who wakes it."""

from __future__ import annotations

import threading


class Bell:
    """Wakes the one thread that waits for it, now or the next time.

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
