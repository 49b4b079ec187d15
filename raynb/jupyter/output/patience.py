"""Waits for another thread that shows output, as long as that one gets on."""

from __future__ import annotations

from collections.abc import Callable

from raynb.base.process.waits import Bell

PATIENCE_SECONDS = 5.0  # a thread waits so long for one that gets nowhere, once;
IMPATIENCE_SECONDS = 0.05  # after that, so long each time, until that one has shown everything
SLICE_SECONDS = 0.05


class Patience:
    """Counts what is shown, so that nobody waits for a stream that wants a lock of his.

    Thread contract: `step` and `all_is_shown` by the thread that shows; `wait` by any.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._lost = False

    def step(self) -> None:
        """Records that a piece of output is shown, folded or held back."""
        self._steps += 1

    def progress(self) -> object:
        """Returns a value that changes with each `step`."""
        return self._steps

    def all_is_shown(self) -> None:
        """Records that nothing waits to be shown."""
        self._lost = False

    def seconds(self) -> float:
        """Returns how long somebody waits for a thread that gets nowhere."""
        return IMPATIENCE_SECONDS if self._lost else PATIENCE_SECONDS

    def wait(self, wait: Callable[[float], bool]) -> bool:
        """Calls ``wait(seconds)`` until it returns True; returns False where the thread that shows gets nowhere."""
        steps = self._steps
        while not wait(self.seconds()):
            if self._steps == steps:
                self._lost = True
                return False
            steps = self._steps
        return True


def in_slices(bell: Bell, seconds: float, is_over: Callable[[], bool]) -> bool:
    """Waits for a bell, or until it ``is_over``; returns False after so many seconds. In slices, because an exception
    that another thread raises in this one takes hold only between two of them. Slices count, not the clock: while the
    whole process stands still, nobody could have got on."""
    left = seconds
    while not bell.wait(SLICE_SECONDS):
        left -= SLICE_SECONDS
        if is_over():
            return True
        if left <= 0:
            return False
    return True
