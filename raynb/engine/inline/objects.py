"""Objects of `InlineEngine`: pickled values in this process, counted by their refs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Container, Sequence
from types import FrameType, TracebackType
from typing import Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.process import package
from raynb.base.ref import ObjectRef, taken_from
from raynb.base.rows import MEMORY, PENDING, ObjectRow
from raynb.engine.inline.runtime import InlineRuntime
from raynb.serde import errors, pickling
from raynb.serde.kinds import kind_of

#: How many errors keep their traceback for a debugger: its frames hold everything below them.
MAX_TRACED_ERRORS = 16


class InlineObject:
    """One object. ``value`` is ``("ok", stream, buffers)`` or an error value as `serde.errors` makes it."""

    __slots__ = ("callbacks", "contained", "id", "loop", "refs", "scope", "size", "traceback", "value")

    def __init__(self, identity: int, scope: int) -> None:
        self.id = identity
        self.scope = scope
        self.refs = 1
        self.value: Any = None  # None: still to come
        self.size = 0
        self.contained: Sequence[ObjectRef[object]] = ()
        self.traceback: TracebackType | None = None  # of an error: debuggers go to the user's frame
        self.loop: Any = None  # the event loop that has to run for it to come
        self.callbacks: list[Callable[[], object]] = []


def owned(packed: Packed) -> Packed:
    """Returns the arguments with copies of buffers that the caller may change later."""
    if not packed.buffers:
        return packed
    return Packed(packed.data, [bytes(b) for b in packed.buffers], packed.deps, packed.contained)


class InlineObjects:
    """The table of objects.

    Thread contract: any thread.
    """

    def kinds(self, objects: Sequence[int]) -> dict[int, str]:
        """Returns id → the name of its value's type."""
        made = {one: self.table[one].value for one in objects if one in self.table}
        told = {one: kind_of(value[1]) for one, value in made.items() if value is not None and value[0] == "ok"}
        return {one: kind for one, kind in told.items() if kind}

    def __init__(self, engine: InlineRuntime) -> None:
        self.engine = engine
        self.row_store = engine.row_store
        self.table: dict[int, InlineObject] = {}
        self.log: deque[Any] = deque()
        self.bytes = 0
        self.on_free: Callable[[int], None] = lambda identity: None
        self.handles: Container[int] = ()  # objects that stand for actors' handles: views don't show them
        self._lock = threading.RLock()
        self._draining = False  # a thread applies the log
        self._staying: set[int] = set()  # objects whose refs may be more than were counted
        self._touched: set[int] = set()
        self._traced: deque[InlineObject] = deque()
        self._called_from: deque[FrameType] = deque(maxlen=MAX_TRACED_ERRORS)  # the users' outermost frames of errors

    def new(self, identity: int, scope: int) -> ObjectRef[object]:
        """Makes a pending object; returns its first ref."""
        self.reserve(identity, scope)
        return self.engine.new_ref(identity, self.engine)

    def reserve(self, identity: int, scope: int) -> None:
        """Makes a pending object, its first ref being counted already."""
        with self._lock:
            self.table[identity] = InlineObject(identity, scope)
            self._touched.add(identity)

    def keep(self, identity: int, packed: Packed) -> None:
        """Stores a value; does nothing if its object was released."""
        # Copied: the caller's arrays may change, and what is read from here must not.
        buffers = tuple(bytes(buffer) for buffer in packed.buffers)
        self._end(identity, ("ok", packed.data, buffers), packed.contained, pickling.nbytes(packed), None)

    def fail(self, identity: int, value: object, contained: Sequence[object], traceback: TracebackType | None) -> None:
        """Stores an error."""
        self._end(identity, value, contained, 0, traceback)

    def _end(self, identity: int, value: Any, contained: Any, size: int, traceback: Any) -> None:
        with self._lock:
            obj = self.table.get(identity)
            if obj is None or obj.value is not None:
                return
            obj.value, obj.contained, obj.size, obj.traceback = value, tuple(contained), size, traceback
            obj.loop = None
            self.bytes += size
            self._touched.add(identity)
            if traceback is not None:
                if len(self._traced) == MAX_TRACED_ERRORS:
                    self._traced.popleft().traceback = None
                self._traced.append(obj)
                self._called_from.append(traceback.tb_frame)
            callbacks, obj.callbacks = obj.callbacks, []
        for callback in callbacks:
            callback()

    def load(self, obj: InlineObject) -> Any:
        """Returns the value; raises its error, with the traceback of the user's code behind it."""
        if obj.value[0] == "ok":
            return pickling.unpack(obj.value[1], obj.value[2])
        actor = obj.value[2][0] if obj.value[:2] == ("err", "ActorDiedError") else ""
        self.engine.unasked.asked(ids.task_of(obj.id), actor)
        raise errors.load_error(obj.value).with_traceback(obj.traceback)

    def find(self, ref: ObjectRef[object]) -> InlineObject:
        """Returns the object of a ref; raises if the ref is of another runtime."""
        if ref._engine is not self.engine:
            self.engine.refs.refuse(ref)
        return self.table[ref._id]

    def free(self, identity: int, value: object) -> None:
        """Replaces a value by the error of a freed object."""
        with self._lock:
            obj = self.table.get(identity)
            if obj is not None and obj.value is not None:
                self.bytes -= obj.size
                obj.value, obj.contained, obj.size = value, (), 0
                self._touched.add(identity)

    def clear(self) -> None:
        """Releases all objects."""
        self.table.clear()
        self._staying.clear()
        self._traced.clear()
        self._called_from.clear()

    def _forget_callers(self) -> None:
        """Clears raynb's own frames in an error's traceback: they would keep a ref of the failed task."""
        for _ in range(len(self._called_from)):
            first = self._called_from.popleft()
            frame = first.f_back
            while frame is not None:
                if frame.f_code.co_filename.startswith(package.FOLDER):
                    try:
                        frame.clear()
                    except RuntimeError:  # it runs: later
                        self._called_from.append(first)
                        break
                frame = frame.f_back

    def drain_log(self) -> None:
        """Applies the log of refs that came and went, and releases what nothing names any more."""
        if self._called_from:
            self._forget_callers()
        if not self.log:
            self.engine.unasked.look()
        while self.log:
            gone = self._released()
            for obj in gone:
                self.on_free(obj.id)
                if obj.value is not None and obj.value[0] != "ok":
                    self.engine.unasked.freed(ids.task_of(obj.id))
            self.engine.unasked.look()
            if not gone:  # what is in the log now is for whoever is just applying it
                return
            del gone, obj  # their refs to others go into the log now

    def _released(self) -> list[InlineObject]:
        """Applies what is in the log; returns the objects that nothing names any more, out of the table."""
        gone: list[InlineObject] = []
        with self._lock:
            if self._draining:
                # A destructor or a signal handler, in the middle of it: refs that came may have been taken out and not
                # been counted yet, without which those that went would free what they name.
                return gone
            try:
                try:
                    self._draining = True
                    self._apply(gone)
                except BaseException:
                    # The handler of a signal has raised. What was taken out is lost, or counted in part: a ref that
                    # was not counted must not lose its object, so none goes of those that there are.
                    self._staying.update(self.table)
                    raise
                finally:
                    self._draining = False
            finally:  # it was raised in the first one
                self._draining = False
        return gone

    def _apply(self, gone: list[InlineObject]) -> None:
        low: list[InlineObject] = []
        for change in taken_from(self.log):
            obj = self.table.get(change if change >= 0 else ~change)
            if obj is None:
                continue
            obj.refs += 1 if change < 0 else -1
            low.append(obj)
        for obj in low:
            if obj.refs <= 0 and obj.id not in self._staying and self.table.pop(obj.id, None) is not None:
                gone.append(obj)
                self.bytes -= obj.size
                self._touched.add(obj.id)

    def refresh_rows(self) -> None:
        """Brings the rows of the views up to date."""
        with self._lock:
            touched, self._touched = self._touched, set()
            for identity in touched:
                obj = self.table.get(identity)
                if obj is None:
                    self.row_store.drop("objects", identity)
                elif identity not in self.handles:
                    self.row_store.put("objects", ObjectRow(
                        identity, obj.size, PENDING if obj.value is None else MEMORY, ids.task_of(identity),
                        obj.scope, obj.refs, error=obj.value is not None and obj.value[0] != "ok"))  # fmt: skip
