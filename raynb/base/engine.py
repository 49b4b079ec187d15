"""The `Engine` interface, and the slot that holds the current one.

Driver, worker, inline and cluster engines differ by class, never by flag. The public API is
written against this interface only, so it is the same code in the kernel and inside a task.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from raynb.base.rows import Output, Snapshot
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.exceptions import RuntimeGoneError

if TYPE_CHECKING:
    from raynb.base.ref import ObjectRef, ObjectRefGenerator


@dataclass(slots=True)
class Packed:
    """A value pickled for travel: the stream, its out-of-band buffers, and what it names."""

    data: bytes
    buffers: Sequence[Any] = ()  # objects with the buffer protocol, contiguous, or `Gathered`
    deps: Sequence[ObjectRef[Any]] = ()  # refs at the top level of arguments
    contained: Sequence[ObjectRef[Any]] = ()  # refs deeper inside
    took: float = 0.0  # seconds of pickling; 0 for what is pickled faster than a clock is read


@dataclass(slots=True)
class Context:
    """Where the calling code runs: the driver's own code has zeros."""

    worker: int = 0
    task: int = 0
    task_hex: str = ""  # the task's id in another spelling than ours: a cluster's
    actor: int = 0
    scope: int = 0
    attempt: int = 0
    name: str = ""
    resources: dict[str, float] = field(default_factory=dict)
    gpu_ids: tuple[int | str, ...] = ()  # names where CUDA_VISIBLE_DEVICES names them
    restarted: bool = False
    cancelled: bool = False
    function_name: str = ""
    namespace: str = ""


class Engine(Protocol):
    """Runs tasks and actors and keeps objects.

    Thread contract: every method may be called from any thread. Methods block only where their
    text says so. After `shutdown` every method raises `RuntimeGoneError`.
    """

    nonce: int
    alive: bool
    ref_log: deque[int]  # ids of dropped refs; ``~id`` of refs that were added by unpickling

    @property
    def capture(self) -> int:
        """The placement group that what the calling code submits runs in too; 0: none."""

    # -- tasks, objects ------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[Any]] = ()) -> None:
        """Makes a function or class definition known under the hash of its bytes;
        ``refs`` are those inside it, kept as long as it is known."""

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[Any]] | ObjectRefGenerator:
        """Submits a task, or an actor's method call; returns at once with its refs."""

    def put(self, packed: Packed) -> ObjectRef[Any]:
        """Stores a value. Waits for room; `ObjectStoreFullError` when it can never fit."""

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Waits for the values (seconds; None: for ever). Raises the first error."""

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Waits until ``num_returns`` are ready or the time is up; returns (ready, not ready)."""

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]: ...
    def awaitable(self, ref: ObjectRef[Any]) -> Any: ...
    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None: ...
    def free(self, refs: Sequence[ObjectRef[Any]]) -> None: ...
    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]: ...
    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[Any]]:
        """Returns new refs to objects of these ids, which were read in a value of runtime ``nonce``."""

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]: ...
    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]: ...

    # -- streaming generators ------------------------------------------------------------------
    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None: ...
    def next_item_async(self, task: int, index: int) -> Awaitable[ObjectRef[Any] | None]: ...
    def stream_finished(self, task: int, index: int) -> bool: ...
    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns what the end of a generator calls; ``position`` is [its task, the index it would take next]."""


    # -- actors --------------------------------------------------------------------------------
    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        """Creates an actor (or finds the named one); returns the ref that stands for the handle, and
        its spec. `ValueError` when the name is taken."""

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]: ...
    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]: ...
    def kill(self, actor: int, no_restart: bool) -> None: ...

    # -- views ---------------------------------------------------------------------------------
    def context(self) -> Context: ...
    def snapshot(self) -> Snapshot: ...
    def changes(self, since: int) -> Snapshot:
        """Returns what changed after version ``since`` (the whole picture if that is too old)."""

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""


class DriverEngine(Engine, Protocol):
    """What the kernel's side has beyond `Engine`: the surface that `jupyter/` builds on."""

    on_output: list[Callable[[Output], None]]  # called on the receiving thread; must not block
    config: Any

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already finished)."""

    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns how many tasks of a cell are in each state."""

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]: ...
    def story(self, identity: int) -> list[tuple[float, str]]: ...
    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0
    ) -> list[concurrent.futures.Future[Any]]:
        """Runs a function on every worker that isn't an actor's (``only``: on that worker); ``later``:
        also first on every worker to come. Returns a future for each that runs it now."""

    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        """Returns a picture of these ids only; ids that are not known (any more) have no row. Costs
        microseconds per id, however many tasks there are."""

    def is_unasked(self, ref: ObjectRef[Any]) -> bool:
        """Waits for the end of a task; returns whether it failed and nobody has asked for its result."""

    def awaited(self, task: int) -> list[int]:
        """Returns the ids of the objects that a task still waits for; none once it has all of them."""

    def shutdown(self, timeout: float) -> None: ...


FORKED = (
    "This process is a fork of one that runs raynb; the runtime stays with the parent. "
    "Call raynb.init() here to have one of its own."
)

_lock = threading.Lock()
_current: Engine | None = None
#: The isolated runtime that a `with raynb.Runtime()` block put in place of the global one.
_isolated: contextvars.ContextVar[Engine | None] = contextvars.ContextVar("raynb_isolated", default=None)
_any_isolated = False
_starter: Callable[[], Engine] | None = None

#: Engines that count refs by themselves, by nonce: a ref that is read belongs to the runtime that it was pickled in.
_by_nonce: weakref.WeakValueDictionary[int, Engine] = weakref.WeakValueDictionary()

#: Called with the new engine (or None) after each change of the slot, on the thread that made it.
#: Views use it to wake up; a callback must neither block nor raise.
on_change: list[Callable[[Engine | None], None]] = []

#: Told when a thread really begins to wait for objects: called with something whose ``left`` is how
#: many are missing; returns what is called when the wait is over. Must neither block nor raise.
on_wait: Callable[[Any], Callable[[], None]] | None = None

#: Called in a worker when a task, no actor's call, has ended, before its result is sent. Must not raise.
at_end_of_task: list[Callable[[], None]] = []

#: How many failures of a cell a worker keeps with their frames, for a post-mortem.
failures_kept = 0

#: Names the running task more exactly, in its output's prefixes and its errors. A worker puts its own here.
name_task: Callable[[str], object] = str

#: Told when values took long to serialise and store: (the values, when it began, seconds). Called on
#: the thread that submits; must neither block nor raise.
on_serialised: Callable[[tuple[Any, ...], float, float], None] | None = None

#: Seconds of serialising from which on somebody is told.
SERIALISED_FROM = 0.001


def current() -> Engine:
    """Returns the process's engine, starting one where Ray would (first use auto-inits).

    Raises:
        RuntimeGoneError: none runs and none may be started here.
    """
    if _any_isolated:
        own = _isolated.get()
        if own is not None:
            return own
    engine = _current
    if engine is not None:
        return engine
    if _starter is None:
        raise RuntimeGoneError("No raynb runtime is running in this process; call raynb.init().")
    return _starter()


def peek() -> Engine | None:
    """Returns the process's engine, or None; never starts one."""
    return (_isolated.get() if _any_isolated else None) or _current


def register(engine: Engine) -> None:
    """Lets refs that are unpickled anywhere in this process find their engine."""
    _by_nonce[engine.nonce] = engine


def owner_of(nonce: int) -> Engine:
    """Returns the engine that refs of runtime ``nonce`` belong to in this process; never starts one.

    The current engine is returned for a nonce that no engine here is registered under: its ``adopt`` decides.

    Raises:
        RuntimeGoneError: no runtime runs here.
    """
    engine = _by_nonce.get(nonce) or peek()
    if engine is None:
        raise RuntimeGoneError(
            "This ref or handle was pickled in a raynb runtime that is gone; its value is gone too. "
            "Run the code that made it again."
        )
    return engine


def enter_isolated(engine: Engine) -> contextvars.Token[Engine | None]:
    """Puts an isolated runtime in place for the calling context; undo with `leave_isolated`."""
    global _any_isolated
    _any_isolated = True
    return _isolated.set(engine)


def leave_isolated(token: contextvars.Token[Engine | None]) -> None:
    _isolated.reset(token)


def forget_isolated() -> None:
    """A forked child has none of its parent's runtimes."""
    global _any_isolated
    _any_isolated = False
    _isolated.set(None)


def set_current(engine: Engine | None) -> None:
    global _current
    with _lock:
        _current = engine
    for callback in on_change:
        callback(engine)


def set_starter(starter: Callable[[], Engine] | None) -> None:
    """Names what `current` calls when no engine runs (the API's auto-init)."""
    global _starter
    _starter = starter
