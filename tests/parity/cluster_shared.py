"""What the programs that check a Ray cluster are written with, whatever cluster they run on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Name → check, in the order in which they are written.
CHECKS: dict[str, Callable[[], None]] = {}
#: Seconds; only a busy machine takes long: Ray starts a process for each actor and many tasks.
WAIT = 120.0


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def until(condition: Callable[[], Any], what: str) -> Any:
    """Returns what the condition returns once it is true."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT:g} s for {what}")


def raised(call: Callable[[], Any]) -> Exception:
    """Returns what the call raises; it must raise."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")
