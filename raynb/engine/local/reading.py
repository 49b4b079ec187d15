"""Reading values and streams in the driver."""

from __future__ import annotations

import functools
import itertools
import pickle
import time
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any

from raynb.base import ids
from raynb.base.process import headroom, shelter
from raynb.base.process.shelter import sheltered
from raynb.base.ref import ObjectRef, OwnRef
from raynb.core.objects.streams import FIRST
from raynb.core.vocabulary import events as e
from raynb.engine.local.waiting import tell_loop
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import GetTimeoutError, ObjectLostError, RaySystemError, RuntimeGoneError
from raynb.serde import pickling, values

_now = time.monotonic


class View:
    """One view of an object. When it dies, the object has one view less: that is one call into C, so no
    exception can come between."""

    __slots__ = ("__del__",)

    def __init__(self, log: deque[int], identity: int) -> None:
        self.__del__ = MethodType(log.append, identity)

    def keep(self) -> None:
        """Does nothing: whoever is to call this when the last array has gone keeps the view until then."""


class Stored:
    """A value in the store that was found and is counted, but not unpickled yet."""

    __slots__ = ("_error", "_parts", "at", "view")

    def __init__(self, at: Any, view: View) -> None:
        self.at = at
        self.view: View | None = view
        self._parts: Any = None
        self._error: Exception | None = None

    def read(self, store: Any) -> None:
        """Maps the bytes."""
        assert self.view is not None
        try:
            self._parts = store.read(self.at, self.view.keep)
        except Exception as error:  # raised by who unpickles, each by its own
            self._error = error
        self.view = None

    def parts(self) -> tuple[Any, Any]:
        """Returns (stream, buffers), once."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        parts: tuple[Any, Any] = self._parts
        self._parts = None
        return parts

    def load(self) -> Any:
        """Unpickles the value: the user's code, so on the user's thread."""
        return pickling.unpack(*self.parts())


class Reading:
    """The part of `LocalEngine` that turns stored values into Python objects.

    Thread contract: as `LocalEngine`.
    """

    loop: Any
    machine: Any
    store: Any
    nonce: int

    def read_values(self, wanted: list[int], deadline: float | None, found: list[Any] | None = None) -> list[Any]:
        """Returns the objects, all of them ready; raises the first error.

        ``found``: their values as they travel; by default `_collect` finds them, wherever nothing can interrupt it.
        """
        if found is None:
            found = shelter.run(self._collect, wanted)
        result: list[Any] = []
        for position, value in enumerate(found):
            identity = wanted[position]
            try:
                if type(value) is Stored:
                    item = value.load()
                    found[position] = None  # what was made of it holds the view
                else:
                    item = values.load(value, identity, self._read)
            except ObjectLostError as error:
                at = value.at if type(value) is Stored else value
                shelter.run(self._again, wanted[position:], at, str(error), deadline)
                return result + self.read_values(wanted[position:], deadline)
            except (RuntimeGoneError, MemoryError):  # the former: it names a ref that was pickled in another runtime
                raise
            except Exception as error:
                if isinstance(error, RecursionError):
                    headroom.check()  # it may be the caller's stack that is full
                if shelter.exposed() and not isinstance(error, (ImportError, AttributeError, pickle.UnpicklingError)):
                    raise  # most likely it fell in from outside: a timeout by a signal, say
                raise RaySystemError(
                    f"System error: the value of {self.machine.hex_object(identity)} cannot be unpickled here: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if type(item) is values.Failed:
                try:
                    raise item.error
                finally:  # or this frame and the error would keep each other, and what callers hold
                    del item
            result.append(item)
        return result

    def _collect(self, wanted: list[int]) -> list[Any]:
        """Returns the objects' values; those in the store as `Stored`, each of which counts as a view."""
        table = self.machine.objects.table
        found: list[Any] = []
        now = _now()
        with self.loop.lock:
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
                    value = Stored(value, View(self.loop.view_log, identity))
                found.append(value)
        for value in found:
            if type(value) is Stored:
                value.read(self.store)
        return found

    def _read(self, value: Any, identity: int) -> tuple[Any, Any]:
        stored = Stored(value, View(self.loop.view_log, identity))
        stored.read(self.store)
        return stored.parts()

    def _again(self, wanted: list[int], value: Any, why: str, deadline: float | None) -> None:
        """An object's bytes are gone: has it made again, and waits."""
        loop = self.loop
        loop.tell(e.ObjectLost(_now(), wanted[0], why, value))
        waiter = self._watch(wanted, len(wanted))  # type: ignore[attr-defined]
        if not waiter.done and not loop.waiters.wait(waiter, deadline):
            loop.waiters.unwatch(waiter)
            raise GetTimeoutError("Get timed out while a lost object was being made again.")

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
        shelter.run(self._await_item, task, index, timeout, None if timeout is None else _now() + timeout)
        item: ObjectRef[Any] | None = self.loop.items.pop((task, index))
        return item

    def _await_item(self, task: int, index: int, timeout: float | None, deadline: float | None) -> None:
        """Waits for an item and takes it: a caller who was interrupted finds it in `Loop.items` when he asks again."""
        while True:
            waiter = Waiter(1)
            if self._take_item(task, index, waiter):
                return
            waiter.may_move = True
            try:
                there = self.loop.waiters.wait(waiter, deadline)
            except BaseException:
                self.loop.waiters.unwatch(waiter)
                raise
            if not there:
                self.loop.waiters.unwatch(waiter)
                raise GetTimeoutError(f"no item was yielded within {timeout} s")

    def _take_item(self, task: int, index: int, waiter: Waiter) -> bool:
        """Puts an item, or None at the end, into `Loop.items`; if it has not come yet, has the waiter told of it."""
        loop = self.loop
        key = task, index
        with loop.lock:
            self.check_alive()  # type: ignore[attr-defined]
            known = key in self.loop.items
            if not known:
                ref, known = self._item(task, index)
                if known:
                    self.loop.items[key] = ref
                else:
                    self.machine.streams.table[task].watched = True
                    loop.waiters.watch((ids.object_id(task, 0),), waiter)
        loop.flush()
        return known

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        import asyncio

        own = asyncio.get_running_loop()
        while True:
            there: asyncio.Future[None] = own.create_future()
            waiter = Waiter(1, functools.partial(tell_loop, own, there))
            waiter.ours = True
            if shelter.run(self._take_item, task, index, waiter):
                item: ObjectRef[Any] | None = self.loop.items.pop((task, index))
                return item
            await there

    @sheltered
    def stream_finished(self, task: int, index: int) -> bool:
        self.check_alive()  # type: ignore[attr-defined]
        with self.loop.lock:
            stream = self.machine.streams.table.get(task)
            return stream is None or (stream.ended and index >= max(stream.next, FIRST))

    stream_is_finished = stream_finished

    @sheltered
    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether taking the next item would not wait."""
        self.check_alive()  # type: ignore[attr-defined]
        with self.loop.lock:
            stream = self.machine.streams.table.get(task)
            return stream is None or stream.ended or index < stream.next

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns a function in C that notes the position and the time: see `OwnRef`."""
        times = itertools.starmap(_now, itertools.repeat(()))
        return functools.partial(self.loop.drop_log.extend, itertools.islice(zip(itertools.repeat(position), times), 1))
