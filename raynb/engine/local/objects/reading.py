"""Reads values in the driver."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Sequence
from types import MethodType
from typing import Any

from raynb.base import ends
from raynb.base.process import headroom, shelter
from raynb.base.process.waits import time
from raynb.core.vocabulary import events as e
from raynb.engine.local.objects.watching import watch
from raynb.engine.loop.loop import Loop
from raynb.exceptions import GetTimeoutError, ObjectLostError, RaySystemError, RuntimeGoneError
from raynb.serde import pickling, values
from raynb.serde.kinds import kind_of
from raynb.store import Store

_now = time.monotonic


class View:
    """One view of an object. When it dies, the object has one view less: that is one call into C, so no
    exception can come between."""

    __slots__ = ("__del__",)

    def __init__(self, log: deque[int], identity: int) -> None:
        self.__del__ = MethodType(log.append, identity)

    def keep(self) -> None:
        """Does nothing; a reference to this method keeps the view alive until its last array is released."""


class UnreadValue:
    """A value in the store that was found and is counted, but not unpickled yet."""

    __slots__ = ("_error", "_parts", "at", "view")

    def __init__(self, at: object, view: View) -> None:
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
        """Returns (stream, buffers); call it once."""
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
    """Turns stored values into Python objects.

    Thread contract: every method from any thread.
    """

    def __init__(self, loop: Loop, store: Store) -> None:
        self._loop = loop
        self._machine = loop.machine
        self._store = store

    def read_values(self, wanted: list[int], deadline: float | None, found: list[Any] | None = None) -> list[Any]:
        """Returns the objects, all of them ready; raises the first error.

        ``found``: their values as they travel; by default `collect` finds them, wherever nothing can interrupt it.
        """
        if found is None:
            found = shelter.run(self.collect, wanted)
        result: list[Any] = []
        for position, value in enumerate(found):
            identity = wanted[position]
            try:
                if type(value) is bytes:  # as `values.load` does; by way of that, "1,000 tasks" takes 2 % longer
                    result.append(None if value == values.NONE else pickling.load_in_band(value))
                    continue
                if type(value) is UnreadValue:
                    item = value.load()
                    found[position] = None  # what was made of it holds the view
                else:
                    item = values.load(value, identity, self.read)
            except ObjectLostError as error:
                at = value.at if type(value) is UnreadValue else value
                shelter.run(self._again, wanted[position:], at, str(error), deadline)
                return result + self.read_values(wanted[position:], deadline)
            except (RuntimeGoneError, MemoryError):  # the former: it names a ref that was pickled in another runtime
                raise
            except Exception as error:
                if isinstance(error, RecursionError):
                    headroom.check(headroom.PICKLING_FRAMES)  # it may be the caller's stack that is full
                if shelter.was_sent(error) or (shelter.fell_in(error) \
                        and not isinstance(error, (ImportError, AttributeError, pickle.UnpicklingError))):  # fmt: skip
                    raise  # (most likely) from outside: a timeout by a signal, say
                done = "read" if isinstance(error, OSError) else "unpickled"
                raise RaySystemError(
                    f"The value of {self._machine.spelling.object(identity)} cannot be {done} here: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if type(item) is values.Failed:
                try:
                    raise item.error
                finally:  # or this frame and the error would keep each other, and what callers hold
                    del item
            result.append(item)
        return result

    def collect(self, wanted: list[int]) -> list[Any]:
        """Returns the objects' values; those in the store as `UnreadValue`, each of which counts as a view."""
        table = self._machine.objects.table
        found: list[Any] = []
        now = _now()
        with self._loop.lock:
            for identity in wanted:
                obj = table.get(identity)
                if obj is None:
                    found.append(ends.object_lost(self._machine.spelling.object(identity)))
                    continue
                value: Any = obj.value
                if obj.error:
                    self._machine.tasks.unasked.asked(obj)
                if type(value) is tuple and value[0] in ("shm", "file"):
                    obj.views += 1
                    obj.used = now
                    value = UnreadValue(value, View(self._loop.view_log, identity))
                found.append(value)
        for value in found:
            if type(value) is UnreadValue:
                value.read(self._store)
        return found

    def kinds(self, wanted: Sequence[int]) -> dict[int, str]:
        """Returns id → the name of its value's type; what is on disk is not read for it."""
        streams: dict[int, Any] = {}
        table = self._machine.objects.table
        with self._loop.lock:
            for identity in wanted:
                obj = table.get(identity)
                value: Any = obj.value if obj is not None and not obj.error else None
                if type(value) is bytes:
                    streams[identity] = value
                elif obj is not None and type(value) is tuple and value[0] == "shm":
                    obj.views += 1
                    streams[identity] = UnreadValue(value, View(self._loop.view_log, identity))
        found = {}
        for identity, stream in streams.items():
            if type(stream) is UnreadValue:
                stream.read(self._store)
            try:
                told = kind_of((stream.parts() if type(stream) is UnreadValue else pickling.unpack_in_band(stream))[0])
            except ObjectLostError:  # it was freed just now
                continue
            if told:
                found[identity] = told
        return found

    def read(self, value: object, identity: int) -> tuple[Any, Any]:
        """Returns (stream, buffers) of a value in the store, which counts as one view until the buffers die."""
        stored = UnreadValue(value, View(self._loop.view_log, identity))
        stored.read(self._store)
        return stored.parts()

    def _again(self, wanted: list[int], value: Any, why: str, deadline: float | None) -> None:
        """Has a lost object made again, and waits for it."""
        loop = self._loop
        loop.dispatch(e.ObjectLost(_now(), wanted[0], why, value))
        waiter = watch(loop, wanted, len(wanted))
        if not waiter.done and not loop.waiters.wait(waiter, deadline):
            loop.waiters.unwatch(waiter)
            raise GetTimeoutError("Get timed out while a lost object was being made again.")
