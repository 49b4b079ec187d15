"""`ObjectRef`: the name of a value that is being made or stored somewhere."""

from __future__ import annotations

import concurrent.futures
import ctypes
import itertools
import queue
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from operator import attrgetter, invert
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from raynb.base import ids, unshown
from raynb.base.interrupts import destructor
from raynb.base.process import stale
from raynb.exceptions import RuntimeGoneError

if TYPE_CHECKING:
    from raynb.base.interfaces import Engine

T_co = TypeVar("T_co", covariant=True)


class ObjectRef(Generic[T_co]):
    """A reference to a remote value (Ray's term).

    Equal and hashed by id. While one exists anywhere, the value stays. Pickling a ref inside
    arguments, results or `put` values passes it on as a ref. Views of a ref don't pin its value.

    Thread contract: immutable; its end only appends to a deque, so it may run anywhere.

    Example:
        >>> ref = ray.put([1, 2])
        >>> ray.get(ref)
        [1, 2]
    """

    __slots__ = ()

    _id: int
    _engine: Engine

    @destructor
    def __del__(self) -> None:
        try:
            self._engine.ref_log.append(self._id)
        except AttributeError:  # construction failed half-way
            pass

    def __hash__(self) -> int:
        return self._id  # Python makes a hash of it; calling `hash` would take as long again

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectRef):
            return NotImplemented
        return self._id == other._id and self._engine.nonce == other._engine.nonce

    def hex(self) -> str:
        """Returns the id as 56 hex digits."""
        return ids.to_hex(self._id, self._engine.nonce, ids.OBJECT_HEX)

    def binary(self) -> bytes:
        """Returns the id as 28 bytes."""
        return bytes.fromhex(self.hex())

    def is_nil(self) -> bool:
        """Returns False: a ref always names an object."""
        return False

    def task_id(self) -> ids.HexId:
        """Returns the id of the task or put that made the object."""
        return ids.HexId(ids.to_hex(ids.task_of(self._id), self._engine.nonce, ids.TASK_HEX))

    def job_id(self) -> ids.HexId:
        """Returns the job's id: one a runtime."""
        return ids.HexId(ids.JOB)

    @classmethod
    def size(cls) -> int:
        """Returns the number of bytes of an id."""
        return ids.OBJECT_HEX // 2

    def call_site(self) -> str:
        """Returns "": where a ref was made is not recorded, as in Ray by default."""
        return ""

    def owner_address(self) -> bytes:
        """Returns b"": the driver owns every object."""
        return b""

    def tensor_transport(self) -> None:
        """Returns None: every object is in the store."""

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self._engine.ref_bundle(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._engine.reduce_ref(self)

    def future(self) -> concurrent.futures.Future[T_co]:
        """Returns a `concurrent.futures.Future` that ends with the value or its error."""
        return self._engine.future(self)

    def as_future(self, _internal: bool = False) -> Any:
        """Returns an `asyncio.Future` of the running loop; cancelling it does not cancel the task."""
        import asyncio

        return asyncio.wrap_future(self.future())

    def _on_completed(self, callback: Callable[[Any], object]) -> None:
        """Calls back with the value, or with its error, when it is there (Ray's internal name, used by libraries)."""
        self.future().add_done_callback(lambda done: callback(done.exception() or done.result()))

    def __await__(self) -> Generator[Any, None, T_co]:
        if stale.known:
            stale.warn((self,))
        try:
            return (yield from self._engine.awaitable(self).__await__())  # type: ignore[no-any-return]
        finally:
            if unshown.pending:
                unshown.show((self._id,))

    def __iter__(self) -> Any:
        raise TypeError("'ObjectRef' object is not iterable; call raynb.get(ref) to have its value")

    def __bool__(self) -> bool:
        return True


class OwnRef(ObjectRef[T_co]):
    """The refs that engines make. Users see them as `ObjectRef`, which a Ray cluster's engine implements with a
    class of its own: there a ref is one of Ray's at the same time."""

    # Not "__weakref__", as in Ray: a ref that has gone lives until its log is read, and must not come back.
    __slots__ = ("_engine", "_id")

    def __init__(self, object_id: int, engine: Engine) -> None:
        # The engine has already counted this ref; only engines construct refs.
        self._id = object_id
        self._engine = engine


OwnRef.__name__ = OwnRef.__qualname__ = "ObjectRef"

_new_method: Callable[[Any], Any] = ctypes.pythonapi["PyInstanceMethod_New"]
_new_method.restype = ctypes.py_object  # type: ignore[attr-defined]
_new_method.argtypes = [ctypes.py_object]  # type: ignore[attr-defined]


#: What an engine's refs do: see `changes_in`.
Log = deque[Any]


def logged_in(log: Log | queue.SimpleQueue[object]) -> type[OwnRef[Any]]:
    """Returns the class of an engine's refs: each that goes is put into the log, see `taken_from`.

    Python's destructor calls ``__del__``, which is C here: no signal, no error and no lack of stack can come
    between, as it can in a function, whose exceptions are printed and lost. It is the ref itself that the log gets
    (Python calls a destructor once, and lets an object live on that its destructor has put somewhere): a call that
    has the id bound would be one more object a ref, of 64 bytes, that the garbage collector goes through ("10,000
    tasks", "large numbers").
    """
    return type("ObjectRef", (OwnRef,), {
        "__slots__": (), "__module__": __name__, "__doc__": ObjectRef.__doc__,
        "__del__": _new_method(log.append if isinstance(log, deque) else log.put),
    })  # fmt: skip


_popleft, _id_of = deque.popleft, attrgetter("_id")
_give_id, _give_engine = (vars(OwnRef)[name].__set__ for name in ("_id", "_engine"))


#: From so many on, refs that are unpickled together are one entry of the log; those of a value with more than the
#: second are one each again, so that no entry takes longer than that under the engine's lock.
BATCH_MIN_REFS, BATCH_MAX_REFS = 16, 20_000


def counted(object_ids: Sequence[int], engine: Engine) -> list[ObjectRef[Any]]:
    """Returns new refs to objects, and counts them in the engine's log, both or neither.

    A ref whose making was interrupted stands for nothing, and one that goes takes its count back. So the refs are
    made first, without ids. Counting and naming all of them is one call of C, in which nothing interrupts Python:
    an exception of a signal between the two would keep the objects for as long as the runtime lives.
    """
    refs: list[ObjectRef[Any]] = list(map(object.__new__, itertools.repeat(engine.new_ref, len(object_ids))))
    deque(map(_give_engine, refs, itertools.repeat(engine)), 0)
    named = filter(None, map(_give_id, refs, object_ids))  # of nothing: all it gives is None
    batch = BATCH_MIN_REFS <= len(object_ids) <= BATCH_MAX_REFS
    came: Iterable[object] = (tuple(object_ids),) if batch else map(invert, object_ids)
    engine.ref_log.extend(itertools.chain(came, named))
    return refs


def changes_in(log: Log, most: int = sys.maxsize) -> tuple[list[tuple[int, ...]], list[int]]:
    """Takes what is in a log of refs, ``most`` entries: batches of ids of refs that came, and the other changes, the
    oldest first: ids of refs that went, ``~id`` of those that came. The batches are to be applied first.

    That is in order, or sooner than what stood before them; nothing is freed that a ref names, whatever the order.
    """
    entries: list[Any] = []
    try:
        # Taken out by one call of C before they are looked at: what the garbage collector or a signal handler runs
        # between two may come here again, and would apply the same ones.
        entries.extend(map(_popleft, itertools.repeat(log, min(len(log), most))))
    except IndexError:  # it came here between the length and the call, and took some: here are the others
        pass
    batches = 0
    while batches < len(entries) and type(entries[batches]) is tuple:
        batches += 1
    came: list[tuple[int, ...]] = entries[:batches]
    if batches:
        del entries[:batches]
    try:
        changes = list(map(_id_of, entries))  # nothing but refs, most often
    except AttributeError:
        came += [entry for entry in entries if type(entry) is tuple]
        changes = [entry if type(entry) is int else entry._id
                   for entry in entries
                   # what has no id is a ref the making of which was interrupted: it stands for nothing
                   if type(entry) is int or (type(entry) is not tuple and hasattr(entry, "_id"))]  # fmt: skip
    return came, changes


def taken_from(log: Log) -> list[int]:
    """Takes what is in a log of refs: ids of refs that went, ``~id`` of those that came, see `changes_in`."""
    came, changes = changes_in(log)
    return [*map(invert, itertools.chain.from_iterable(came)), *changes] if came else changes


class UncountedRef(OwnRef[T_co]):
    """The name of an object that keeps nothing alive, here and wherever it is sent.

    It stands for the handles of `get_actor`, which are weak, as in Ray.
    """

    __slots__ = ("__del__",)  # never set: nothing is to be taken back at the end

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_uncounted, (self._id, self._engine.nonce)


def rebuild_uncounted(object_id: int, nonce: int) -> UncountedRef[Any]:
    """Unpickles an `UncountedRef` in whatever process reads it.

    Raises:
        RuntimeGoneError: it is of another runtime.
    """
    from raynb.base.engine import current

    engine = current()
    if nonce != engine.nonce:
        raise RuntimeGoneError("This ref or handle was pickled in another raynb runtime, which is gone.")
    return UncountedRef(object_id, engine)


#: Classes of refs of a library beside raynb → what makes a ref of ours of one; of handles → what returns our
#: (ref, spec) for one. A Ray cluster's engine fills them while it runs.
foreign: dict[type, Callable[[Any], Any]] = {}
foreign_handles: dict[type, Callable[[Any], Any]] = {}


def ours(value: object) -> Any:
    """Returns our ref for one of plain Ray's; anything else as it is."""
    made = foreign.get(type(value))
    return value if made is None else made(value)


def is_ref(value: object) -> bool:
    """Returns whether a value is a ref, by its type alone.

    `isinstance` would go on to ask a proxy or lazy object for its ``__class__``, which runs its code.
    """
    return issubclass(type(value), ObjectRef)


class ObjectRefGenerator:
    """The refs that a streaming task yields, in order, as they come (Ray's term).

    Iterate (``for ref in gen``) or iterate asynchronously (``async for ref in gen``). An error
    arrives as one last ref, then the iteration ends. Dropping it early stops the task's stream.

    Example:
        >>> @ray.remote
        ... def count(n):
        ...     yield from range(n)
        >>> [ray.get(ref) for ref in count.remote(3)]
        [0, 1, 2]
    """

    __slots__ = ("__del__", "__weakref__", "_engine", "_position", "_ref")

    __class_getitem__: Any = classmethod(GenericAlias)  # for annotations

    def __init__(self, ref: ObjectRef[object], engine: Engine) -> None:
        self._ref = ref  # return 1: ends when the task ends
        self._engine = engine
        self._position = [ids.task_of(ref._id), 2]  # returns 2.. are the items
        # A slot of that name: what is in it is called at the end, and on the embedded engine that is C.
        self.__del__ = engine.at_stream_end(self._position)

    def task_id(self) -> ids.HexId:
        """Returns the id of the task that yields."""
        return self._ref.task_id()

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> ObjectRef[object]:
        return self._next_sync()

    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef[object]:
        try:
            ref = self._engine.next_item(self._position[0], self._position[1], timeout_s)
        finally:
            if unshown.pending:
                unshown.show((self._ref._id,))
        if ref is None:
            raise StopIteration
        self._position[1] += 1
        return ref

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef[object]:
        try:
            ref = await self._engine.next_item_async(*self._position)
        finally:
            if unshown.pending:
                unshown.show((self._ref._id,))
        if ref is None:
            raise StopAsyncIteration
        self._position[1] += 1
        return ref

    def completed(self) -> ObjectRef[object]:
        """Returns a ref that is ready when the task has ended."""
        return self._ref

    def next_ready(self) -> bool:
        """Returns whether the next item is there; False at the end."""
        return not self.is_finished() and self._engine.item_is_ready(*self._position)

    def send(self, value: object) -> Any:
        """Raises `NotImplementedError`, as in Ray: no ``value`` can be sent into a task."""
        raise NotImplementedError("`gen.send` is not supported.")

    def throw(self, value: object) -> Any:
        """Raises `NotImplementedError`, as in Ray: no ``value`` can be raised in a task."""
        raise NotImplementedError("`gen.throw` is not supported; ray.cancel(gen) stops the task.")

    def close(self) -> None:
        """Raises `NotImplementedError`, as in Ray."""
        raise NotImplementedError("`gen.close` is not supported; ray.cancel(gen) stops the task.")

    async def asend(self, value: object) -> Any:
        """Raises `NotImplementedError`, as in Ray: no ``value`` can be sent into a task."""
        raise NotImplementedError("`gen.asend` is not supported.")

    async def athrow(self, value: object) -> Any:
        """Raises `NotImplementedError`, as in Ray: no ``value`` can be raised in a task."""
        raise NotImplementedError("`gen.athrow` is not supported; ray.cancel(gen) stops the task.")

    async def aclose(self) -> None:
        """Raises `NotImplementedError`, as in Ray."""
        raise NotImplementedError("`gen.aclose` is not supported; ray.cancel(gen) stops the task.")

    def is_finished(self) -> bool:
        """Returns whether every item has been taken."""
        return self._engine.stream_finished(*self._position)

    def __reduce__(self) -> Any:
        raise TypeError(
            "You cannot return or pass a generator to other task. Serializing a ObjectRefGenerator is not allowed; "
            "pass the refs that it yields."
        )

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._ref.hex()})"


class DynamicObjectRefGenerator:
    """The refs of a ``num_returns="dynamic"`` task, as ``get`` returns them: an iterable (Ray's term).

    Example:
        >>> @ray.remote(num_returns="dynamic")
        ... def count(n):
        ...     yield from range(n)
        >>> [ray.get(ref) for ref in ray.get(count.remote(2))]
        [0, 1]
    """

    __slots__ = ("_refs",)

    def __init__(self, refs: list[ObjectRef[object]]) -> None:
        self._refs = refs

    def __iter__(self) -> Any:
        while self._refs:  # as in Ray: what was taken is gone
            yield self._refs.pop(0)

    def __len__(self) -> int:
        return len(self._refs)

    def __reduce__(self) -> tuple[Any, ...]:
        return DynamicObjectRefGenerator, (self._refs,)
