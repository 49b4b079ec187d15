"""Futures of tasks: where the main thread waits for some, it waits for tasks, as in `get`.

Listeners of waits (`raynb.base.engine.on_wait`: bars, prompts of breakpoints) are called for these waits, too.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING, RUNNING
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar, cast

from raynb.base import engine as slot
from raynb.base.interrupts import RESUME_SECONDS
from raynb.base.process.waits import time

if TYPE_CHECKING:
    from concurrent.futures._base import _Waiter

T = TypeVar("T")

#: `with` it is all C: an exception that fell into `threading.Condition.__enter__` would leave it locked for good, and
#: with it the thread that brings the result.
_Condition: type[threading.Condition] = type("_Condition", (threading.Condition,), {
    "__enter__": property(attrgetter("_lock.__enter__")), "__exit__": property(attrgetter("_lock.__exit__")),
})  # fmt: skip
_OVER = (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)


def _unheard(wait: object) -> Callable[[], None]:
    """Stands for `raynb.base.engine.on_wait` where nobody listens: the wait is begun anew often all the same."""
    return _nothing


def _nothing() -> None:
    """The end of a wait that nobody listens to."""


class FutureWait:
    """A wait for futures, as `raynb.base.engine.on_wait` is called with it.

    Args:
        condition: is notified when the wait may be over.
        is_over: returns whether it is; called while the condition is held.
        left: how many objects are missing; 0: not known.
        keys: their ids, as far as they are known.
    """

    def __init__(
        self, condition: threading.Condition, is_over: Callable[[], bool], left: int, keys: tuple[int, ...]
    ) -> None:
        self._condition = condition
        self._is_over = is_over
        self.left = left
        self.keys = keys
        self._aside: Callable[[], object] | None = None

    def interrupt(self, aside: Callable[[], object]) -> None:
        """Has the thread that waits call ``aside``, and then go on to wait; that time does not count."""
        with self._condition:
            self._aside = aside
            self._condition.notify_all()

    def wait(self, timeout: float | None) -> float | None:
        """Waits until it is over or ``timeout`` seconds have passed; returns what is left of them."""
        begins = slot.on_wait or _unheard
        deadline = None if timeout is None else time.monotonic() + timeout
        over = begins(self)
        try:
            while True:
                aside = self._sleep(deadline)
                if aside is None:
                    return None if deadline is None else max(0.0, deadline - time.monotonic())
                began = time.monotonic()
                over()
                aside()
                over = begins(self)  # after it, so that it may interrupt again
                if deadline is not None:
                    deadline += time.monotonic() - began
        finally:
            over()


    def _sleep(self, deadline: float | None) -> Callable[[], object] | None:
        """Returns what is to be done first, or None when it is over or the time is up."""
        try:
            with self._condition:
                while self._aside is None and not self._is_over():
                    left = RESUME_SECONDS if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        break
                    self._condition.wait(min(left, RESUME_SECONDS))
                aside, self._aside = self._aside, None
                return aside
        except RuntimeError as error:
            fell_in = error.__context__  # where the condition had given its lock back, which so could not be released
            if fell_in is None or "un-acquired" not in str(error):
                raise
            raise fell_in from None


class _Event(threading.Event):
    """The event of a wait for several futures (`concurrent.futures.wait`, `as_completed`); it calls the listeners."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = _Condition()
        self._happened = False

    def is_set(self) -> bool:
        """Returns whether the waiting thread is to look."""
        return self._happened

    def set(self) -> None:
        """Wakes the waiting thread."""
        with self._changed:
            self._happened = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Begins another wait."""
        with self._changed:
            self._happened = False

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; returns False if ``timeout`` seconds are over before."""
        if not self._happened:
            timeout = FutureWait(self._changed, self.is_set, 0, ()).wait(timeout)
        with self._changed:
            return self._changed.wait_for(self.is_set, timeout)


class _Waiters(list["_Waiter"]):
    """Those who wait for several futures at once. The standard library appends them under the futures' locks, so
    nothing of the event that is replaced can have happened."""

    def append(self, waiter: _Waiter) -> None:
        """Adds one that waits."""
        if type(waiter.event) is threading.Event:
            waiter.event = _Event()
        super().append(waiter)


class ListenedFuture(concurrent.futures.Future[T]):
    """A future whose waits are listened to.

    Thread contract: as `concurrent.futures.Future`.

    Args:
        keys: the ids of the objects that are waited for, if they are known.
    """

    _done_callbacks: list[Callable[[concurrent.futures.Future[T]], object]]

    def __init__(self, keys: tuple[int, ...] = ()) -> None:
        super().__init__()
        self._condition = _Condition()
        self._keys = keys
        self._waiters = _Waiters()

    def result(self, timeout: float | None = None) -> T:
        """Returns the value; raises what the task raised, or `TimeoutError` after ``timeout`` seconds."""
        left = self._waited(timeout)
        if self._state != FINISHED:
            return super().result(left)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                del self  # the error's traceback has this frame
        return cast("T", self._result)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what the task raised; raises `TimeoutError` after ``timeout`` seconds."""
        return super().exception(self._waited(timeout))

    def settle(self, result: T | None = None, error: BaseException | None = None) -> None:
        """Gives it its end, and calls its callbacks: `end` and `call_back`."""
        self.end(result, error)
        self.call_back()

    def end(self, result: T | None = None, error: BaseException | None = None) -> None:
        """Gives it its end, or tells who waits that it was cancelled; its callbacks are not called yet. May be called
        again, also where an exception has fallen into the first call: the end that is there already stays.

        Args:
            result: the value.
            error: what is raised instead of it.
        """
        with self._condition:
            if self._state in (PENDING, CANCELLED) and not self.set_running_or_notify_cancel():
                return
            if self._state != RUNNING:
                return
            if error is None:
                self._result = result
            else:
                self._exception = error
            self._state = FINISHED
            for waiter in self._waiters:
                (waiter.add_result if error is None else waiter.add_exception)(self)
            self._condition.notify_all()

    def call_back(self) -> None:
        """Calls each of its callbacks, if it has its end, once, however often and by whomever this is called."""
        if self._is_over():
            self._invoke_callbacks()

    def _invoke_callbacks(self) -> None:
        while self._done_callbacks:
            try:
                callback = self._done_callbacks.pop(0)
            except IndexError:  # another thread was quicker
                return
            try:
                callback(self)
            except Exception:
                LOGGER.exception("exception calling callback for %r", self)

    def _is_over(self) -> bool:
        """Returns whether it is done. Without the lock: an exception that fell in there would leave it locked."""
        return self._state in _OVER

    def _waited(self, timeout: float | None) -> float | None:
        """Waits until it is done; returns what is left of the timeout."""
        if self._is_over():
            return timeout
        return FutureWait(self._condition, self._is_over, len(self._keys), self._keys).wait(timeout)
