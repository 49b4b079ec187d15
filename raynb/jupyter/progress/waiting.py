"""Waits for a condition that has no event, and lets Ctrl-C interrupt it."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], bool], deadline: float, first: float = 0.002, longest: float = 0.05
) -> bool:
    """Waits until the condition holds or `time.monotonic` reaches the deadline.

    Returns:
        whether the condition holds.
    """
    pause = first
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)
    return True
