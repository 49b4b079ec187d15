"""Items of streaming generators in the driver."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from raynb.base import ids
from raynb.base.engine import Engine
from raynb.base.process import shelter
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.core.objects.streams import FIRST_ITEM
from raynb.core.vocabulary import events as e
from raynb.engine.local.objects.watching import wake_loop
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import GetTimeoutError

if TYPE_CHECKING:
    import asyncio

_now = time.monotonic


class StreamReader:
    """Takes the items of streams as they come.

    Thread contract: every method from any thread, unless it says "under the lock".
    """

    def __init__(self, engine: Engine, loop: Loop) -> None:
        self._engine = engine
        self._loop = loop
        self._machine = loop.machine

    def _item(self, task: int, index: int) -> tuple[ObjectRef[object] | None, bool]:
        """Returns (ref, known): not known means that the item is still to come. Under the lock."""
        stream = self._machine.streams.table.get(task)
        if stream is None:
            return None, True
        if index < stream.next:
            self._loop.apply(e.ItemConsumed(_now(), task, index, 0))
            return self._engine.new_ref(ids.object_id(task, index), self._engine), True
        return None, stream.ended

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[object] | None:
        """Waits for item ``index`` (seconds; None: for ever); returns its ref, or None when the stream ended before it.

        """
        shelter.run(self._await_item, task, index, timeout, None if timeout is None else _now() + timeout)
        item: ObjectRef[object] | None = self._loop.items.pop((task, index))
        return item

    def _await_item(self, task: int, index: int, timeout: float | None, deadline: float | None) -> None:
        """Waits for an item and takes it: a caller who was interrupted finds it in `Loop.items` when he asks again."""
        while True:
            waiter = Waiter(1)
            if self._take_item(task, index, waiter):
                return
            if not self._loop.waiters.wait_or_unwatch(waiter, deadline):
                raise GetTimeoutError(f"no item was yielded within {timeout} s")

    def _take_item(self, task: int, index: int, waiter: Waiter) -> bool:
        """Puts an item, or None at the end, into `Loop.items`; if it is not there yet, registers the waiter for it."""
        loop = self._loop
        key = task, index
        with loop.lock:
            self._engine.check_alive()
            known = key in self._loop.items
            if not known:
                ref, known = self._item(task, index)
                if known:
                    self._loop.items[key] = ref
                else:
                    self._machine.streams.table[task].watched = True
                    loop.waiters.watch((ids.object_id(task, 0),), waiter)
        loop.flush()
        return known

    async def next_item_async(self, task: int, index: int) -> ObjectRef[object] | None:
        """Waits for item ``index`` without blocking the event loop; returns None when the stream ended before it."""
        import asyncio

        own = asyncio.get_running_loop()
        while True:
            there: asyncio.Future[None] = own.create_future()
            waiter = Waiter(1, functools.partial(wake_loop, own, there))
            waiter.ours = True
            if shelter.run(self._take_item, task, index, waiter):
                item: ObjectRef[object] | None = self._loop.items.pop((task, index))
                return item
            await there

    @sheltered
    def stream_finished(self, task: int, index: int) -> bool:
        """Returns whether the stream has ended before item ``index``."""
        self._engine.check_alive()
        with self._loop.lock:
            stream = self._machine.streams.table.get(task)
            return stream is None or (stream.ended and index >= max(stream.next, FIRST_ITEM))

    @sheltered
    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether `next_item` would return at once."""
        self._engine.check_alive()
        with self._loop.lock:
            stream = self._machine.streams.table.get(task)
            return stream is None or stream.ended or index < stream.next

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns a function in C that logs the position and the time: see `ObjectRefGenerator`."""
        times = itertools.starmap(_now, itertools.repeat(()))
        once = itertools.islice(zip(itertools.repeat(position), times), 1)
        return functools.partial(self._loop.drop_log.extend, once)
