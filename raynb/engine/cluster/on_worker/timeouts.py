"""``timeout=`` of tasks and calls, inside a worker of Ray's."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from raynb.exceptions import TaskTimeoutError


class TimedOut(TaskTimeoutError):
    """Raised when a task's time is up: raynb's own error, not one of the user's code."""


_UNLIMITED = contextlib.nullcontext()


def limited(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """Raises `TaskTimeoutError` in the block after so many seconds (only in a main thread)."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        return _UNLIMITED
    return _alarmed(seconds)


@contextlib.contextmanager
def _alarmed(seconds: float) -> Iterator[None]:

    def ring(signum: int, frame: object) -> None:
        raise TimedOut(f"the task did not finish within its timeout of {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def within(seconds: float, function: Callable[..., object], *given: object) -> object:
    """Calls a function with what is ``given``; `TaskTimeoutError` is raised in it after so many seconds."""
    with limited(seconds):
        return function(*given)


async def in_time(result: Any, seconds: float | None) -> Any:
    """Returns what an awaitable yields, within so many seconds."""
    if not seconds:
        return await result
    try:
        return await asyncio.wait_for(result, seconds)
    except asyncio.TimeoutError:
        raise TimedOut(f"the task did not finish within its timeout of {seconds} s") from None
