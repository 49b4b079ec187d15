"""Reads the items of `InlineEngine`'s generators: taking an item makes it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from raynb.base.engine import Engine
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.engine.inline.tasks import InlineTasks
from raynb.exceptions import GetTimeoutError

_now = time.monotonic


class InlineStreamReader:
    """Takes items of streams.

    Thread contract: every method from any thread.
    """

    def __init__(self, engine: Engine, tasks: InlineTasks) -> None:
        self._engine = engine
        self._tasks = tasks

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[object] | None:
        """Waits for item ``index`` (seconds; None: for ever); returns its ref, or None when the stream ended before it.

        """
        self._engine.check_alive()
        deadline = None if timeout is None else _now() + timeout
        if not self.item_is_ready(task, index):
            stream = self._tasks.streams[task]
            assert stream.loop is not None
            left = None if deadline is None else max(deadline - _now(), 0)
            stream.loop.drive(lambda: self.item_is_ready(task, index), left, True)
            if not self.item_is_ready(task, index):
                raise GetTimeoutError(f"no item was yielded within {timeout} s")
        after = self._tasks.streams.get(task)
        return after.items.pop(index, None) if after is not None else None

    async def next_item_async(self, task: int, index: int) -> ObjectRef[object] | None:
        """Waits for item ``index`` without blocking the event loop; returns None when the stream ended before it."""
        while not self.item_is_ready(task, index):
            stream = self._tasks.streams[task]
            if stream.loop is not None and not stream.loop.driven_here():
                stream.loop.drive(lambda: self.item_is_ready(task, index), 0.02, True)
            await asyncio.sleep(0.002)
        return self.next_item(task, index, 0)

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether `next_item` would return at once; makes the item if that needs no loop."""
        self._engine.check_alive()
        stream = self._tasks.streams.get(task)
        if stream is None:
            return True
        self._tasks.pull(task, index)
        return stream.ended or index <= stream.made

    def stream_finished(self, task: int, index: int) -> bool:
        """Returns whether the stream has ended before item ``index``."""
        self._engine.check_alive()
        stream = self._tasks.streams.get(task)
        return stream is None or (stream.ended and index > stream.made)

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns the function that releases the stream when its generator object is released."""
        return functools.partial(self._tasks.drop_stream, position[0])
