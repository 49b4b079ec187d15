"""Reading values and streams in the driver."""

from __future__ import annotations

import functools
import time
from typing import Any

from raynb.base import ids
from raynb.base.ref import ObjectRef, OwnRef
from raynb.core.objects.streams import FIRST
from raynb.core.vocabulary import events as e
from raynb.engine.local.waiting import tell_loop
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import GetTimeoutError, ObjectLostError, RaySystemError, RuntimeGoneError
from raynb.serde import values

_now = time.monotonic


class Reading:
    """The part of `LocalEngine` that turns stored values into Python objects.

    Thread contract: as `LocalEngine`.
    """

    loop: Any
    machine: Any
    store: Any
    nonce: int

    def read_values(self, wanted: list[int], deadline: float | None) -> list[Any]:
        """Returns the objects, all of them ready; raises the first error."""
        loop = self.loop
        table = self.machine.objects.table
        found: list[Any] = []
        now = _now()
        with loop.lock:
            for identity in wanted:
                obj = table.get(identity)
                if obj is None:
                    found.append(("err", "ObjectLostError", (self.machine.hex_object(identity),)))
                    continue
                value = obj.value
                if obj.error:
                    self.machine.tasks.unasked.asked(obj)
                if type(value) is tuple and value[0] in ("shm", "file"):
                    obj.views += 1
                    obj.used = now
                found.append(value)
        result: list[Any] = []
        for position, value in enumerate(found):
            identity = wanted[position]
            try:
                item = values.load(value, identity, self._read)
            except ObjectLostError as error:
                self._forget_views(wanted[position + 1 :], found[position + 1 :])
                return result + self._again(wanted[position:], value, str(error), deadline)
            except RuntimeGoneError:  # the value names a ref that was pickled in another runtime
                self._forget_views(wanted[position + 1 :], found[position + 1 :])
                raise
            except Exception as error:
                self._forget_views(wanted[position + 1 :], found[position + 1 :])
                raise RaySystemError(
                    f"System error: the value of {self.machine.hex_object(identity)} cannot be unpickled here: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if type(item) is values.Failed:
                self._forget_views(wanted[position + 1 :], found[position + 1 :])
                try:
                    raise item.error
                finally:  # or this frame and the error would keep each other, and what callers hold
                    del item
            result.append(item)
        return result

    def _forget_views(self, wanted: list[int], found: list[Any]) -> None:
        """Views that were counted but never made."""
        log = self.loop.view_log
        for identity, value in zip(wanted, found, strict=True):
            if type(value) is tuple and value[0] in ("shm", "file"):
                log.append(identity)

    def _read(self, value: Any, identity: int) -> tuple[Any, Any]:
        release = functools.partial(self.loop.view_log.append, identity)
        try:
            return self.store.read(value, release)  # type: ignore[no-any-return]
        except BaseException:
            release()
            raise

    def _again(self, wanted: list[int], value: Any, why: str, deadline: float | None) -> list[Any]:
        """An object's bytes are gone: have it made again, wait, and read on."""
        loop = self.loop
        loop.tell(e.ObjectLost(_now(), wanted[0], why, value))
        waiter = self._watch(wanted, len(wanted))  # type: ignore[attr-defined]
        if not waiter.done and not loop.waiters.wait(waiter, deadline):
            loop.waiters.unwatch(waiter)
            raise GetTimeoutError("Get timed out while a lost object was being made again.")
        return self.read_values(wanted, deadline)

    # -- streams -------------------------------------------------------------------------------
    def _item(self, task: int, index: int) -> tuple[ObjectRef[Any] | None, bool]:
        """Returns (ref, known): not known means that the item is still to come. Under the lock."""
        stream = self.machine.streams.table.get(task)
        if stream is None:
            return None, True
        if index < stream.next:
            self.loop.apply(e.ItemConsumed(_now(), task, index, 0))
            return OwnRef(ids.object_id(task, index), self), True  # type: ignore[arg-type]
        return None, stream.ended

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None:
        deadline = None if timeout is None else _now() + timeout
        loop = self.loop
        while True:
            waiter = Waiter(1)
            with loop.lock:
                self.check_alive()  # type: ignore[attr-defined]
                ref, known = self._item(task, index)
                if not known:
                    self.machine.streams.table[task].watched = True
                    loop.waiters.watch((ids.object_id(task, 0),), waiter)
            if known:
                loop.flush()
                return ref
            try:
                there = loop.waiters.wait(waiter, deadline)
            except BaseException:
                loop.waiters.unwatch(waiter)
                raise
            if not there:
                loop.waiters.unwatch(waiter)
                raise GetTimeoutError(f"no item was yielded within {timeout} s")

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        import asyncio

        own = asyncio.get_running_loop()
        loop = self.loop
        while True:
            there: asyncio.Future[None] = own.create_future()
            with loop.lock:
                self.check_alive()  # type: ignore[attr-defined]
                ref, known = self._item(task, index)
                if not known:
                    self.machine.streams.table[task].watched = True
                    waiter = Waiter(1, functools.partial(tell_loop, own, there))
                    waiter.ours = True
                    loop.waiters.watch((ids.object_id(task, 0),), waiter)
            loop.flush()
            if known:
                return ref
            await there

    def stream_finished(self, task: int, index: int) -> bool:
        self.check_alive()  # type: ignore[attr-defined]
        with self.loop.lock:
            stream = self.machine.streams.table.get(task)
            return stream is None or (stream.ended and index >= max(stream.next, FIRST))

    stream_is_finished = stream_finished

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether taking the next item would not wait."""
        self.check_alive()  # type: ignore[attr-defined]
        with self.loop.lock:
            stream = self.machine.streams.table.get(task)
            return stream is None or stream.ended or index < stream.next

    def drop_stream(self, task: int, index: int) -> None:
        # Called by a destructor, perhaps under our own lock: only leave a note.
        loop = self.loop
        stream = self.machine.streams.table.get(task)
        had_items = stream is not None and stream.next > FIRST
        loop.callbacks.append(functools.partial(self._drop_stream, task, index, had_items))

    def _drop_stream(self, task: int, index: int, had_items: bool) -> None:
        if self.alive:  # type: ignore[attr-defined]
            self.loop.tell(e.StreamDropped(_now(), task, index, had_items))
