"""``timeout=`` of tasks and calls, inside a worker of Ray's."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from raynb.exceptions import TaskTimeoutError


class TimedOut(TaskTimeoutError):
    """Raised when a task's time is up: raynb's own error, not one of the user's code."""


_UNLIMITED = contextlib.nullcontext()


def limited(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """Raises `TaskTimeoutError` in the block after so many seconds; outside the main thread, at the block's end."""
    if not seconds:
        return _UNLIMITED
    return _alarmed(seconds) if threading.current_thread() is threading.main_thread() else _judged(seconds)


@contextlib.contextmanager
def _judged(seconds: float) -> Iterator[None]:
    """Interrupts nothing: no signal reaches another thread than the main one."""
    end = time.monotonic() + seconds
    yield
    if time.monotonic() > end:
        raise TimedOut(_words(seconds))


def punctual(items: Iterator[object], seconds: float | None) -> Iterator[object]:
    """Yields the items of a generator that runs in `limited`. Outside the main thread nothing interrupts it: the first
    item of it that comes too late is the error."""
    end = time.monotonic() + (seconds or math.inf)
    judges = bool(seconds) and threading.current_thread() is not threading.main_thread()
    for item in items:
        if judges and time.monotonic() > end:
            raise TimedOut(_words(seconds or 0))
        yield item


@contextlib.contextmanager
def _alarmed(seconds: float) -> Iterator[None]:

    def ring(signum: int, frame: object) -> None:
        raise TimedOut(_words(seconds))

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


class _Limit:
    """Ends what an asyncio task awaits inside it, at a moment of the loop's clock.

    In the very task: `asyncio.wait_for` runs it in one of its own before Python 3.12, which `asyncio.timeout` and
    context variables of a generator do not survive; and a `TimeoutError` of the user's code looks like its own.
    """

    def __init__(self, end: float, seconds: float) -> None:
        self._end = end
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "Ray runs the calls of an async actor as tasks"
        self._task: asyncio.Task[object] = task
        self._cancels = _cancels(task)
        self._timer = asyncio.get_running_loop().call_at(self._end, self._ring)

    def _ring(self) -> None:
        self._over = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, traceback: object) -> None:
        self._timer.cancel()
        if not self._over:
            return
        if sys.version_info >= (3, 11):
            self._task.uncancel()
        if isinstance(raised, asyncio.CancelledError) and _cancels(self._task) <= self._cancels:
            raise TimedOut(_words(self._seconds)) from None


def _cancels(task: asyncio.Task[object]) -> int:
    """Returns how many cancellations of a task are under way; Python 3.10 does not count them."""
    if sys.version_info >= (3, 11):
        return task.cancelling()
    return 0


def _words(seconds: float) -> str:
    return f"the task did not finish within its timeout of {seconds} s"


async def in_time(result: Any, seconds: float | None) -> Any:
    """Returns what an awaitable yields, within so many seconds."""
    if not seconds:
        return await result
    with _Limit(asyncio.get_running_loop().time() + seconds, seconds):
        return await result


async def items_in_time(
    items: AsyncIterator[object] | Iterator[object], seconds: float | None
) -> AsyncIterator[object]:
    """Yields the items of an iterator or of an async one, all within so many seconds.

    What does not await is not interrupted: the first item of it that comes too late is the error.
    """
    now = asyncio.get_running_loop().time
    end = now() + (seconds or math.inf)
    while True:
        try:
            if not isinstance(items, AsyncIterator):
                item = next(items)
            elif seconds:
                with _Limit(end, seconds):
                    item = await anext(items)
            else:
                item = await anext(items)
        except (StopIteration, StopAsyncIteration):
            return
        if seconds and now() > end:
            raise TimedOut(_words(seconds))
        yield item
