"""`get`, `wait`, futures, `await` and streams of `InlineEngine`: whoever waits does the work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Sequence
from typing import Any

from raynb.base.ref import ObjectRef
from raynb.engine.inline_objects import Obj, Objects
from raynb.engine.inline_tasks import Tasks
from raynb.exceptions import ActorDeadlockError, GetTimeoutError

_now = time.monotonic


class InlineWaiting:
    """The part of `InlineEngine` that waits.

    Thread contract: as `InlineEngine`.
    """

    objects: Objects
    tasks: Tasks
    check_alive: Any

    def _drive(self, obj: Obj, deadline: float | None) -> None:
        """Lets the async actor that is to make an object go on until it is there or the time is up."""
        if obj.value is not None or obj.loop is None:
            return
        if obj.loop.driven_here():
            raise ActorDeadlockError(
                "This get would wait for a call of the same async actor, whose event loop it blocks; "
                "use `await ref` in an async method."
            )
        obj.loop.drive(lambda: obj.value is not None, None if deadline is None else max(deadline - _now(), 0), True)

    def _drive_any(self, found: list[Obj], needed: int, deadline: float | None) -> None:
        """Lets the actors that make these objects go on until ``needed`` are there or the time is up."""

        def enough() -> bool:
            return sum(1 for obj in found if obj.value is not None) >= needed

        while not enough() and (deadline is None or _now() < deadline):
            loops = {obj.loop for obj in found if obj.value is None and obj.loop is not None}
            if any(loop.driven_here() for loop in loops):
                raise ActorDeadlockError("This wait blocks the event loop of the very actor it waits for.")
            for loop in loops:
                left = None if deadline is None else max(deadline - _now(), 0)
                loop.drive(enough, left if len(loops) == 1 else 0.02, True)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        self.check_alive()
        deadline = None if timeout is None else _now() + timeout
        self.objects.settle()
        found = [self.objects.find(ref) for ref in refs]
        for obj in found:
            self._drive(obj, deadline)
            if obj.value is None:
                missing = sum(1 for one in found if one.value is None)
                raise GetTimeoutError(
                    f"Get timed out: some object(s) not ready. {missing} of {len(found)} are missing after {timeout} s."
                )
        return [self.objects.load(obj) for obj in found]

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        self.check_alive()
        deadline = None if timeout is None else _now() + timeout
        self.objects.settle()
        found = [self.objects.find(ref) for ref in refs]
        self._drive_any(found, num_returns, deadline)
        ready = [ref for ref, obj in zip(refs, found, strict=True) if obj.value is not None][:num_returns]
        chosen = {ref._id for ref in ready}
        return ready, [ref for ref in refs if ref._id not in chosen]

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """Returns a future; asking it for its result lets the work go on."""
        self.check_alive()
        obj = self.objects.find(ref)
        future = _Future(self, obj)
        future.set_running_or_notify_cancel()

        def deliver() -> None:
            try:
                result = self.objects.load(obj)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        if obj.value is None:
            obj.callbacks.append(deliver)
        else:
            deliver()
        return future

    def awaitable(self, ref: ObjectRef[Any]) -> Any:
        async def ticking() -> Any:
            obj = self.objects.find(ref)
            while obj.value is None:
                if obj.loop is not None and not obj.loop.driven_here():
                    obj.loop.drive(lambda: obj.value is not None, 0.02, True)
                await asyncio.sleep(0.002)
            return self.objects.load(obj)

        return ticking()

    # -- streams -------------------------------------------------------------------------------
    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None:
        self.check_alive()
        deadline = None if timeout is None else _now() + timeout
        if not self.item_is_ready(task, index):
            stream = self.tasks.streams[task]
            assert stream.loop is not None
            left = None if deadline is None else max(deadline - _now(), 0)
            stream.loop.drive(lambda: self.item_is_ready(task, index), left, True)
            if not self.item_is_ready(task, index):
                raise GetTimeoutError(f"no item was yielded within {timeout} s")
        stream = self.tasks.streams.get(task)  # type: ignore[assignment]
        return stream.items.pop(index, None) if stream is not None else None

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        while not self.item_is_ready(task, index):
            stream = self.tasks.streams[task]
            if stream.loop is not None and not stream.loop.driven_here():
                stream.loop.drive(lambda: self.item_is_ready(task, index), 0.02, True)
            await asyncio.sleep(0.002)
        return self.next_item(task, index, 0)

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether taking the next item would not wait (here: after making it, if that needs no loop)."""
        stream = self.tasks.streams.get(task)
        if stream is None:
            return True
        self.tasks.pull(task, index)
        return stream.ended or index <= stream.made

    def wake_readers(self, task: int) -> None:
        stream = self.tasks.streams.get(task)
        if stream is not None and stream.loop is not None:
            stream.loop.interrupt()

    def stream_finished(self, task: int, index: int) -> bool:
        stream = self.tasks.streams.get(task)
        return stream is None or (stream.ended and index > stream.made)

    def drop_stream(self, task: int, index: int) -> None:
        self.tasks.drop_stream(task)


class _Future(concurrent.futures.Future[Any]):
    """A future whose waiting reader does the work."""

    def __init__(self, engine: InlineWaiting, obj: Obj) -> None:
        super().__init__()
        self._engine = engine
        self._obj = obj

    def result(self, timeout: float | None = None) -> Any:
        self._engine._drive(self._obj, None if timeout is None else _now() + timeout)
        return super().result(timeout if timeout is None else 0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._engine._drive(self._obj, None if timeout is None else _now() + timeout)
        return super().exception(timeout if timeout is None else 0)
