"""`get`, `wait`, futures and `await` of `InlineEngine`: the waiting thread does the work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Sequence
from typing import Any

from raynb.base.engine import Engine
from raynb.base.process import shelter
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.objects import InlineObject, InlineObjects
from raynb.exceptions import ActorDeadlockError, GetTimeoutError

_now = time.monotonic


SLICE_SECONDS = 0.02  # seconds that one of several event loops has its turn


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class InlineWaiting:
    """Waits by driving the event loops of async actors.

    Thread contract: every method from any thread.
    """

    def __init__(self, engine: Engine, objects: InlineObjects, loops: list[DrivenLoop]) -> None:
        self._engine = engine
        self._objects = objects
        self._loops = loops

    def drive(self, obj: InlineObject, deadline: float | None) -> None:
        """Drives the async actors until an object is ready or the time is up."""
        if obj.value is None:
            self._drive_any([obj], 1, deadline)

    def _drive_any(self, found: list[InlineObject], needed: int, deadline: float | None) -> None:
        """Drives the async actors until ``needed`` of the objects are ready or the time is up."""

        def enough() -> bool:
            return sum(1 for obj in found if obj.value is not None) >= needed

        while not enough() and (deadline is None or _now() < deadline):
            if any(obj.loop is not None and obj.loop.driven_here() for obj in found if obj.value is None):
                raise ActorDeadlockError(
                    "This would wait for a call of the same async actor, whose event loop it blocks; "
                    "use `await ref` in an async method."
                )
            # All of them, by turns: they may wait for each other.
            loops = [loop for loop in self._loops if not loop.driven_here() and not loop.loop.is_closed()]
            for loop in loops:
                left = None if deadline is None else max(deadline - _now(), 0)
                loop.drive(enough, left if len(loops) == 1 else min(SLICE_SECONDS, left or SLICE_SECONDS), True)

    def get(self, refs: Sequence[ObjectRef[object]], timeout: float | None) -> list[Any]:
        """Waits for the values (seconds; None: for ever) and returns them; raises the first error."""
        self._engine.check_alive()
        deadline = None if timeout is None else _now() + timeout
        self._objects.drain_log()
        found = [self._objects.find(ref) for ref in refs]
        for obj in found:
            self.drive(obj, deadline)
            if obj.value is None:
                missing = sum(1 for one in found if one.value is None)
                raise GetTimeoutError(
                    f"Get timed out: some object(s) not ready. {missing} of {len(found)} are missing after {timeout} s."
                )
        return [self._objects.load(obj) for obj in found]

    def wait(
        self, refs: Sequence[ObjectRef[object]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[object]], list[ObjectRef[object]]]:
        """Waits until ``num_returns`` objects are ready or ``timeout`` seconds are over; returns (ready, not ready)."""
        self._engine.check_alive()
        deadline = None if timeout is None else _now() + timeout
        self._objects.drain_log()
        found = [self._objects.find(ref) for ref in refs]
        self._drive_any(found, num_returns, deadline)
        ready = [ref for ref, obj in zip(refs, found, strict=True) if obj.value is not None][:num_returns]
        chosen = {ref._id for ref in ready}
        return ready, [ref for ref in refs if ref._id not in chosen]

    def future(self, ref: ObjectRef[object]) -> concurrent.futures.Future[Any]:
        """Returns a future; reading its result drives the work."""
        self._engine.check_alive()
        obj = self._objects.find(ref)
        future = _Future(self, obj)
        future.set_running_or_notify_cancel()

        def deliver() -> None:
            try:
                result = self._objects.load(obj)
            except BaseException as error:
                future.set_exception(error)
                if isinstance(error, KeyboardInterrupt) or shelter.was_sent(error):
                    raise  # it is for whoever asks here
            else:
                future.set_result(result)

        if obj.value is None:
            obj.callbacks.append(deliver)
        else:
            deliver()
        return future

    def awaitable(self, ref: ObjectRef[object]) -> Any:
        """Returns a coroutine that waits for the object's value without blocking the event loop."""
        async def ticking() -> Any:
            obj = self._objects.find(ref)
            if obj.value is None and any(loop.driven_here() for loop in self._loops):
                # Inside an async actor: the thread that waits for that actor drives both.
                loop = asyncio.get_running_loop()
                there = loop.create_future()
                obj.callbacks.append(functools.partial(loop.call_soon_threadsafe, _wake, there))
                await there
            while obj.value is None:
                self._drive_any([obj], 1, _now() + SLICE_SECONDS)
                await asyncio.sleep(0.002)
            return self._objects.load(obj)

        return ticking()


class _Future(concurrent.futures.Future[Any]):
    """A future whose waiting reader does the work."""

    def __init__(self, waiting: InlineWaiting, obj: InlineObject) -> None:
        super().__init__()
        self._waiting = waiting
        self._obj = obj

    def result(self, timeout: float | None = None) -> Any:
        """Runs what is needed for the value, then returns it or raises its error."""
        self._waiting.drive(self._obj, None if timeout is None else _now() + timeout)
        return super().result(timeout if timeout is None else 0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Runs what is needed for the value, then returns its error or None."""
        self._waiting.drive(self._obj, None if timeout is None else _now() + timeout)
        return super().exception(timeout if timeout is None else 0)
