"""Futures of objects: where the main thread waits for one, it waits for a task, as in `get`."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

from raynb.base import engine as slot
from raynb.base.ref import ObjectRef

FINISHED = "FINISHED"  # the state of a future that has ended: one that is running cannot be cancelled


class FutureWait:
    """A wait for a future, as `raynb.base.engine.on_wait` is called with it."""

    left = 1

    def __init__(self, future: RefFuture) -> None:
        self._future = future
        self.keys = (future.key,)
        self.aside: Callable[[], object] | None = None

    def interrupt(self, aside: Callable[[], object]) -> None:
        """Has the thread that waits call ``aside``, and then go on to wait; that time does not count."""
        condition = self._future._condition
        with condition:
            self.aside = aside
            condition.notify_all()


class RefFuture(concurrent.futures.Future[Any]):
    """The future of an object's value: listeners of waits (progress bars, prompts of breakpoints) learn of its wait.

    Thread contract: as `concurrent.futures.Future`.
    """

    def __init__(self, ref: ObjectRef[Any]) -> None:
        super().__init__()
        self.key = ref._id
        self.raynb_ref: ObjectRef[Any] | None = ref  # lives until its value is read
        self.set_running_or_notify_cancel()

    def taken_ref(self) -> ObjectRef[Any] | None:
        """Returns the ref, which the future has no longer."""
        ref, self.raynb_ref = self.raynb_ref, None
        return ref

    def result(self, timeout: float | None = None) -> Any:
        """Returns the value; raises what the task raised, or `TimeoutError` after ``timeout`` seconds."""
        return super().result(self._waited(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what the task raised; raises `TimeoutError` after ``timeout`` seconds."""
        return super().exception(self._waited(timeout))

    def _waited(self, timeout: float | None) -> float | None:
        """Waits until it is done; returns what is left of the timeout."""
        if slot.on_wait is None or self.done():
            return timeout
        wait = FutureWait(self)
        deadline = None if timeout is None else time.monotonic() + timeout
        over = slot.on_wait(wait)
        try:
            while True:
                with self._condition:
                    left = None if deadline is None else max(0.0, deadline - time.monotonic())
                    self._condition.wait_for(lambda: wait.aside is not None or self._state == FINISHED, left)
                    aside, wait.aside = wait.aside, None
                if aside is None:
                    return left if deadline is None else max(0.0, deadline - time.monotonic())
                began = time.monotonic()
                over()
                aside()
                if slot.on_wait is not None:
                    over = slot.on_wait(wait)  # after it, so that it may interrupt again
                if deadline is not None:
                    deadline += time.monotonic() - began
        finally:
            over()
