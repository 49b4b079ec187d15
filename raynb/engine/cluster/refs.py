"""Raynb's refs, and Ray's refs and handles behind them."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import ray

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.ref import ObjectRef, foreign, foreign_handles, logged_in, taken_from
from raynb.base.spec import ActorSpec
from raynb.engine.cluster import bridge
from raynb.engine.cluster.bridge import Broken, Value
from raynb.engine.cluster.hub import guarded
from raynb.engine.cluster.side import Shared
from raynb.exceptions import RuntimeGoneError
from raynb.serde import errors, pickling
from raynb.serde.refs import rebuild_ref, record_ref

#: In the place of a return's number: this ref is a weak handle, as `get_actor` returns them.
WEAK = 2


class Refs:
    """Counts refs, knows Ray's ref or handle behind each, and unpickles values.

    Our ids are our own; ``natives`` maps each to Ray's ref (or, for an actor, its handle), kept as
    long as refs of ours exist in this process. What Ray counts and frees is Ray's part.

    Thread contract: every method from any thread.
    """

    def __init__(self, shared: Shared) -> None:
        self.engine = shared.engine
        self.nonce = shared.nonce
        self.ref_log: deque[Any] = deque()
        self.new_ref = logged_in(self.ref_log)
        self.natives: dict[int, list[Any]] = {}  # our id → [native, refs of ours]
        #: Task of which return 2 or a later one was ever named here → how many of its returns are among ``natives``.
        self.several: dict[int, int] = {}
        self.lock = shared.lock
        self._draining = False  # a thread applies the log
        self._staying: set[int] = set()  # what may have more refs than were counted
        self._ids = shared.ids
        self._side = shared.side
        self._went: queue.SimpleQueue[object] | None = None

    def count_handles_at_once(self) -> None:
        """Starts a thread that counts each handle which goes: an actor ends with its last handle, as in plain Ray.

        Other refs that go are counted by the next call, or by the driver's look after its tasks.
        """
        went = self._went = queue.SimpleQueue()
        self.new_ref = logged_in(went)
        threading.Thread(target=self._count_handles, args=(went,), name="raynb-handles", daemon=True).start()

    def count_no_more(self) -> None:
        """Ends that thread."""
        if self._went is not None:
            self._went.put(None)

    def _count_handles(self, went: queue.SimpleQueue[object]) -> None:
        while (handle := went.get()) is not None:
            self.ref_log.append(handle)
            del handle
            guarded("letting go of an actor", self.drain_log)

    def drain_log(self) -> None:
        """Applies the log of refs that came and went, and releases Ray's refs that nothing names any more."""
        if not self.ref_log:
            return
        with self.lock:
            if self._draining:
                # A destructor or a signal handler, in the middle of it: refs that came may have been taken out and not
                # been counted yet, without which those that went would release what they name.
                return
            try:
                try:
                    self._draining = True
                    touched = {}
                    for change in taken_from(self.ref_log):
                        identity = change if change >= 0 else ~change
                        entry = self.natives.get(identity)
                        if entry is not None:
                            entry[1] += 1 if change < 0 else -1
                            touched[identity] = entry
                    low = [identity for identity, entry in touched.items() if entry[1] <= 0]
                    if self._staying:
                        low = [identity for identity in low if identity not in self._staying]
                    gone = [self.natives.pop(identity) for identity in low]
                    if self.several:
                        self._count_gone(low)
                except BaseException:
                    # The handler of a signal has raised. What was taken out is lost, or counted in part: a ref that
                    # was not counted must not lose what it names, so none goes of those that there are.
                    self._staying.update(self.natives)
                    raise
                finally:
                    self._draining = False
            finally:  # it was raised in the first one
                self._draining = False
        del gone  # outside the lock: Ray's destructors take locks of their own
        self._side.dropped(low)

    def own(self, identity: int, native: object) -> ObjectRef[object]:
        """Enters one of Ray's refs; returns raynb's ref for it."""
        with self.lock:
            if identity & ids.INDEX_MASK > 1 or self.several:
                self._count_come(identity)
            self.natives[identity] = [native, 1]
        return self.made(identity, native)

    def _count_come(self, identity: int) -> None:
        """Counts a return that is about to be named here; under the lock."""
        task = ids.task_of(identity)
        if identity in self.natives:
            return
        known = self.several.get(task)
        if known is not None:
            self.several[task] = known + 1
        elif ids.index_of(identity) > 1:
            self.several[task] = 1 + (ids.object_id(task, 1) in self.natives)

    def _count_gone(self, identities: Sequence[int]) -> None:
        several = self.several
        for identity in identities:
            task = ids.task_of(identity)
            left = several.get(task, 0) - 1
            if left > 0:
                several[task] = left
            elif not left:
                del several[task]

    def named(self, task: int) -> int:
        """Returns how many returns of a task this process names."""
        found = self.several.get(task)
        return (ids.object_id(task, 1) in self.natives) if found is None else found

    def made(self, identity: int, native: Any) -> ObjectRef[object]:
        """Returns a ref object, which was counted already: one that is Ray's too, if it names an object."""
        if type(native) is ray.ObjectRef:
            ref = ClusterRef(native.binary())  # Ray's constructor: one in Python would take as long again
            ref._id = identity
            ref._engine = self.engine
            return ref
        return self.new_ref(identity, self.engine)

    def adopt_native(self, native: object) -> ObjectRef[object]:
        """Returns our ref for one of plain Ray's."""
        with self.lock:
            identity = self._ids.next_put()
        return self.own(identity, native)

    def native(self, ref: ObjectRef[object]) -> Any:
        """Returns Ray's ref, or actor handle, behind a ref."""
        if ref._engine is not self.engine:
            ref._engine.check_alive()
            raise RuntimeGoneError(f"{ref!r} belongs to another raynb runtime; get() its value there first.")
        entry = self.natives.get(ref._id)
        if entry is None:  # its id is from a row of a view
            raise ValueError("no ref of this process names that object: only the task that has one can use it")
        return entry[0]

    def natives_of(self, refs: Sequence[ObjectRef[object]]) -> list[Any]:
        """Returns Ray's refs behind many refs: what `native` returns of each."""
        engine, table = self.engine, self.natives
        found = [table[ref._id][0] for ref in refs if ref._engine is engine]
        return found if len(found) == len(refs) else [self.native(ref) for ref in refs]

    def native_by_id(self, identity: int) -> Any:
        """Returns Ray's ref, or actor handle, of one of our ids."""
        return self.natives[identity][0]

    def pairs(self, refs: Sequence[ObjectRef[object]]) -> list[tuple[int, Any]]:
        """Returns (object id, Ray's ref) of each ref."""
        return [(ref._id, self.native(ref)) for ref in refs]

    def handle_of(self, actor: int) -> Any:
        """Returns Ray's handle of an actor, None if this process holds none."""
        entry = self.natives.get(ids.object_id(actor, 1)) or self.natives.get(ids.object_id(actor, WEAK))
        return None if entry is None else entry[0]

    def hold_handle(self, actor: int, handle: object, weak: bool) -> ObjectRef[object]:
        """Returns a ref of one of Ray's handles. A weak one has a name of its own: it must not hold a strong one."""
        identity = ids.object_id(actor, WEAK if weak else 1)
        with self.lock:
            entry = self.natives.get(identity)
            if entry is not None:
                entry[1] += 1
                return self.new_ref(identity, self.engine)
        return self.own(identity, handle)

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[object]:
        """Returns a new, counted ref to an object whose id was read in a value of runtime ``nonce``."""
        handle = self._side.native_handle(object_id)
        if handle is not None:
            with self.holding([(object_id, handle)]):
                return self._adopt(object_id)
        return self._adopt(object_id)

    def _adopt(self, object_id: int) -> ObjectRef[object]:
        if object_id not in self.natives:
            raise RuntimeGoneError("This ref was pickled in another raynb runtime, which is gone.")
        self.ref_log.append(~object_id)
        return self.made(object_id, self.natives[object_id][0])

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[object]]:
        """Returns new, counted refs to objects whose ids were read in a value of runtime ``nonce``."""
        return [self.adopt(object_id, nonce) for object_id in object_ids]

    def reduce_ref(self, ref: ObjectRef[object]) -> tuple[Any, ...]:
        """Returns what the ref's `__reduce__` returns; out of band Ray's own ref goes along, and Ray pins it."""
        if record_ref(ref):
            return rebuild_ref, (ref._id, self.nonce)
        return rebuild_out_of_band, (ref._id, self.native(ref), self.nonce)  # Ray pins it, or says that it won't

    def ref_bundle(self, ref: ObjectRef[object]) -> dict[str, str]:
        """Returns how a ref is displayed: MIME type → text."""
        return {"text/plain": repr(ref)}

    def unpack(self, value: object) -> Any:
        """Returns the object that a value of Ray's store holds."""
        if not isinstance(value, Value):
            return value  # made by a program that uses ray itself
        if isinstance(value, Broken):
            raise errors.load_error(value.data)
        with self.holding(value.natives):
            return pickling.unpack(value.data, value.buffers)

    def held(self, identity: int, native: object) -> None:
        """Counts one ref more of an object that this process need not have named before; under the lock."""
        entry = self.natives.get(identity)
        if entry is None:
            self._count_come(identity)
            entry = self.natives[identity] = [native, 0]
        entry[1] += 1

    def holding(self, pairs: Sequence[tuple[int, object]]) -> Any:
        """Resolves these refs for the length of a ``with`` block that unpickles something that names them."""
        return _Holding(self, pairs)


class _Holding:
    """The context manager of `Refs.holding`; the engine is in place meanwhile, on any thread."""

    def __init__(self, refs: Refs, pairs: Sequence[tuple[int, object]]) -> None:
        self._refs = refs
        self._pairs = pairs
        self._token: Any = None

    def __enter__(self) -> None:
        refs = self._refs
        with refs.lock:
            for identity, native in self._pairs:
                refs.held(identity, native)
        if self._pairs and slot.peek() is not refs.engine:
            self._token = slot.enter_isolated(refs.engine)

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            slot.leave_isolated(self._token)
        self._refs.ref_log.extend(identity for identity, _ in self._pairs)


def rebuild_out_of_band(object_id: int, native: object, nonce: int = 0) -> ObjectRef[object]:
    """Unpickles a ref that was pickled by hand, or by plain Ray inside a value of its own."""
    found = _in_place()
    refs: Refs = bridge.opener(nonce) if found is None else found.refs
    with refs.holding([(object_id, native)]):
        return refs.adopt(object_id, refs.nonce)


class ClusterRef(ray.ObjectRef, ObjectRef[object]):  # type: ignore[misc]
    """A ref of raynb's that is one of Ray's at the same time, for ``ray.get``, plain tasks and Ray's libraries.

    Its id is Ray's. Equal to Ray's own ref of the same object.
    """

    __slots__ = ("_engine", "_id")

    def __hash__(self) -> int:
        return hash(ray.ObjectRef.binary(self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ray.ObjectRef):
            return self.binary() == other.binary()  # type: ignore[no-any-return]
        return NotImplemented

    __repr__ = ray.ObjectRef.__repr__
    __reduce__ = ObjectRef.__reduce__
    __await__ = ObjectRef.__await__
    __iter__ = ObjectRef.__iter__
    __bool__ = ObjectRef.__bool__
    __del__ = ObjectRef.__del__
    future = ObjectRef.future
    as_future = ObjectRef.as_future
    is_nil = ObjectRef.is_nil


ClusterRef.__name__ = ClusterRef.__qualname__ = "ObjectRef"


def _back(ref: ObjectRef[object]) -> Any:
    """Unpickles what was a ref or handle of plain Ray's in a value of ours."""
    engine: Any = ref._engine
    return engine.native(ref)


class RegisteredEngine(Protocol):
    """An engine that accepts refs and handles of plain Ray."""

    refs: Refs

    def adopt_handle(self, handle: object, name: str = "") -> tuple[ObjectRef[object], ActorSpec]:
        """Returns our ref and spec for one of Ray's handles, of any process's actor."""


_registered: list[RegisteredEngine] = []


def _in_place() -> RegisteredEngine | None:
    """Returns the engine in place here if it is one of a cluster."""
    here: object = slot.peek()
    return next((engine for engine in _registered if engine is here), None)


def _current() -> RegisteredEngine:
    return _in_place() or _registered[-1]


def _adopt_native(native: object) -> ObjectRef[object]:
    return _current().refs.adopt_native(native)


def _adopt_handle(handle: object) -> Any:
    return _current().adopt_handle(handle)


def _ref_of_handle(handle: object) -> ObjectRef[object]:
    return _current().refs.adopt_native(handle)


def register(engine: RegisteredEngine) -> None:
    """From now on, refs and handles of plain Ray's are taken wherever ours are."""
    _registered.append(engine)
    foreign[ray.ObjectRef] = _adopt_native
    foreign_handles[ray.actor.ActorHandle] = _adopt_handle
    pickling.register_serializer(ray.ObjectRef, _adopt_native, _back)
    pickling.register_serializer(ray.actor.ActorHandle, _ref_of_handle, _back)


def withdraw(engine: RegisteredEngine) -> None:
    """Takes back what `register` did, with the last engine."""
    if engine in _registered:
        _registered.remove(engine)
    if not _registered:
        foreign.clear()
        foreign_handles.clear()
        for kind in (ray.ObjectRef, ray.actor.ActorHandle):
            pickling.deregister_serializer(kind)
