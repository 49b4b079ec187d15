"""The engine's interface, in small protocols, and the plain values that pass through it.

::

    Engine          Submits, Reads, Actors, Groups, Observes, Where: what the public API needs, in the
                    driver and inside a task alike
    DriverEngine    Engine, Records, Controls: what the kernel's side has beyond that, for `raynb.jupyter`

Driver, worker, inline and cluster engines differ by class, never by a flag. No caller asks an engine
what it is or has (``hasattr``, ``getattr``, ``isinstance``, the name of its type): what only some engines
can do is a part of its own, which is None in the others. `tests/house` looks for such questions, and
mypy checks each engine against the protocols where it is put in place.

Thread contract: every method of every protocol may be called from any thread. Methods block only where
their text says so. After `Controls.shutdown` every method but those of `Records` raises `RuntimeGoneError`.
"""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from raynb.base.config import Config
from raynb.base.rows import Breakpoint, Output, Snapshot
from raynb.base.spec import ActorSpec, TaskOptions

if TYPE_CHECKING:
    from raynb.base.ref import ObjectRef, ObjectRefGenerator, OwnRef


@dataclass(slots=True)
class Packed:
    """A value pickled for travel: the stream, its out-of-band buffers, and what it names."""

    data: bytes
    buffers: Sequence[Any] = ()  # objects with the buffer protocol, contiguous, or `Gathered`
    deps: Sequence[ObjectRef[object]] = ()  # refs at the top level of arguments
    contained: Sequence[ObjectRef[object]] = ()  # refs deeper inside
    began: float = 0.0  # when pickling began, monotonic seconds; 0: it is done faster than a clock is read


@dataclass(slots=True)
class Context:
    """The place where the calling code runs: the driver's own code has zeros."""

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


class Wait(Protocol):
    """A wait for objects that has really begun, as `raynb.base.engine.on_wait` is called with it."""

    left: int  # how many objects are missing

    @property
    def keys(self) -> Sequence[int]:
        """Returns the ids of the objects, as far as they are known."""


class Submits(Protocol):
    """Submits tasks and calls of actors."""

    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[object]] = ()) -> None:
        """Stores a function's or class's definition under the hash of its bytes, with ``refs``, which are inside it."""

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[object]] | ObjectRefGenerator:
        """Submits a task, or an actor's method call; returns at once with its refs."""

    def cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels the task that makes an object: one that waits at once, one that runs by an exception in it
        (``force``: by killing its worker). ``recursive``: also the tasks that it has submitted."""

    def native_env(self, value: dict[str, Any] | None) -> tuple[tuple[str, Any], ...] | None:
        """Returns a task's ``runtime_env`` as this engine takes it, of whatever fields; None: the API checks
        its fields and lays it over `job_env`."""


class Reads(Protocol):
    """Stores objects, and waits for them."""

    #: Makes a ref, of its id and the engine, that was counted already: see `base.ref.logged_in`.
    new_ref: type[OwnRef[Any]]
    ref_log: deque[Any]  # dropped refs, or their ids; ``~id`` of refs that were added by unpickling

    def put(self, packed: Packed) -> ObjectRef[object]:
        """Stores a value. Waits for room; `ObjectStoreFullError` when it can never fit."""

    def get(self, refs: Sequence[ObjectRef[object]], timeout: float | None) -> list[Any]:
        """Waits for the values (seconds; None: for ever). Raises the first error."""

    def wait(
        self, refs: Sequence[ObjectRef[object]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[object]], list[ObjectRef[object]]]:
        """Waits until ``num_returns`` are ready or the time is up; returns (ready, not ready)."""

    def future(self, ref: ObjectRef[object]) -> concurrent.futures.Future[Any]:
        """Returns a future of the value; its callbacks may call the API."""

    def awaitable(self, ref: ObjectRef[object]) -> Awaitable[Any]:
        """Returns a coroutine that waits for the value without blocking the event loop."""

    def free(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Releases values although refs exist; reading one raises `ObjectFreedError` then."""

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[object]:
        """Returns a new ref to one object, as `adopt_all` does."""

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[object]]:
        """Returns new refs to objects of these ids, which were read in a value of runtime ``nonce``."""

    def reduce_ref(self, ref: ObjectRef[object]) -> tuple[Any, ...]:
        """Returns what `__reduce__` of a ref returns, having counted the pickle."""

    def ref_bundle(self, ref: ObjectRef[object]) -> dict[str, str]:
        """Returns how a ref is displayed: MIME type → text."""

    # -- streaming generators ------------------------------------------------------------------
    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[object] | None:
        """Waits for item ``index`` (seconds; None: for ever); returns None when the stream has ended before
        it. `GetTimeoutError` when the time is up."""

    async def next_item_async(self, task: int, index: int) -> ObjectRef[object] | None:
        """Waits for an item as `next_item` does, without blocking the event loop."""

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether `next_item` would return at once."""

    def stream_finished(self, task: int, index: int) -> bool:
        """Returns whether the stream has ended before item ``index``."""

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns the function that the end of a generator calls; ``position`` is [its task, the next index to take].

        """


class Actors(Protocol):
    """Creates, finds and ends actors."""

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[object], ActorSpec]:
        """Creates an actor (or finds the named one); returns the ref that stands for the handle, and
        its spec. `ValueError` when the name is taken."""

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[object], ActorSpec]:
        """Returns the ref and the spec of a live named actor ("": the runtime's namespace). `ValueError`: none."""

    def own_handle(self, actor: int) -> ObjectRef[object]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive. Only in that actor."""

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""

    def kill(self, actor: int, no_restart: bool) -> None:
        """Ends an actor's process at once; unless ``no_restart``, its restarts may bring it back."""

    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished (0 where the engine refuses too many by itself)."""


class ForeignGroups(Protocol):
    """Placement groups that another system keeps (Ray's): it judges their options, and knows their names."""

    def place(self, bundles: list[dict[str, float]], **given: Any) -> int:
        """Asks for a group with every option as it is; returns our number for it."""

    def named(self, name: str) -> int:
        """Returns the number of a named group, whoever made it. `ValueError`: there is none."""

    def row(self, number: int) -> dict[str, Any]:
        """Returns the system's own row of a group."""


class Groups(Protocol):
    """Placement groups, by number."""

    @property
    def foreign_groups(self) -> ForeignGroups | None:
        """The system that keeps the groups instead of this engine; None: the engine itself."""

    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        """Asks for a group of bundles ((name, ten-thousandths), ...); returns its number at once."""

    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Waits until the group is placed (seconds); inside a task it only looks."""

    def return_group(self, group: int) -> None:
        """Removes a group and releases its resources."""

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of the existing groups."""


class Observes(Protocol):
    """Shows tasks, actors, objects, workers and resources."""

    def snapshot(self, settled: bool = False) -> Snapshot:
        """Returns the rows of everything (inside a task of a cluster: its resources only).

        ``settled``: after what the workers of a cluster have still to tell of tasks that have ended.
        """

    def changes(self, since: int) -> Snapshot:
        """Returns the rows that changed after version ``since`` (all rows if that is too old)."""

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""

    def nodes(self) -> list[dict[str, Any]]:
        """Returns the machines, in the form of ``ray.nodes()``."""

    def node_id(self) -> str:
        """Returns the id of the machine that the calling code runs on."""


class Where(Protocol):
    """Describes where the calling code runs, and what it inherits there."""

    @property
    def capture(self) -> int:
        """The placement group that submissions of the calling code run in too; 0: none."""

    @property
    def job_env(self) -> dict[str, Any]:
        """The ``runtime_env`` that tasks submitted here inherit."""

    def context(self) -> Context:
        """Returns ids, name and resources of the running task."""

    def actor_here(self) -> ActorSpec | None:
        """Returns the actor that the calling code runs in; None outside one."""

    def leave_actor(self) -> NoReturn:
        """Ends the calling actor after this call, by raising an exception (``exit_actor``)."""

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display (or text) to the cell that submitted the running task."""


class Engine(Submits, Reads, Actors, Groups, Observes, Where, Protocol):
    """Runs tasks and actors and stores objects: what the public API needs, in the driver and inside tasks."""

    nonce: int
    alive: bool

    @property
    def driver(self) -> DriverEngine | None:
        """The engine itself where the calling process is the driver; None inside a task of another process."""

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError`, with the reason and the remedy, unless the engine runs."""


class Inspection(Protocol):
    """Asks workers what their tasks do, and has the tasks that wait at breakpoints."""

    on_pause: list[Callable[[Breakpoint], None]]  # called outside the lock; none: nobody can debug here
    may_keep: bool  # workers keep the frames of failures
    patience: float  # seconds after which a worker that does not answer is taken to be unable to
    breakpoints: dict[tuple[int, int], Breakpoint]  # (worker, session) → where a task waits
    sockets: str  # the folder, of this user alone, for sockets of debugpy; "": no editor can attach

    def workers(self) -> list[int]:
        """Returns the workers that can be asked."""

    def ask(self, worker: int, what: str, *arguments: Any) -> concurrent.futures.Future[Any]:
        """Asks a worker's control thread (see `raynb.worker.inspection.desk`); returns a future of the answer."""

    def dump(self, worker: int) -> list[Any]:
        """Returns the stacks of a worker that does not answer `ask`, written by a signal handler, which needs no
        lock of Python's; empty where that is not possible, or the process is stopped."""

    def silence(self, worker: int) -> Callable[[], str]:
        """Returns what says, each time that it is called, why a worker does not answer: "" while that isn't certain."""

    def waits(self, point: Breakpoint) -> bool:
        """Returns whether a task still waits at a breakpoint, and is not being cancelled."""

    def quit(self, point: Breakpoint) -> None:
        """Cancels the task at a breakpoint."""

    def over(self, point: Breakpoint) -> None:
        """Removes a breakpoint whose task goes on."""

    def interrupt_wait(self, wait: Wait, aside: Callable[[], object]) -> None:
        """Has the thread of a wait (one that `raynb.base.engine.on_wait` was called with) call ``aside``, and
        then go on to wait; that time does not count."""


class ClusterInfo(Protocol):
    """Looks at the machines of a cluster one by one."""

    def examine(self, packages: tuple[str, ...]) -> dict[str, Any]:
        """Returns, by node id, a dict of what is installed there, or the exception of a node that did not answer."""


class Records(Protocol):
    """Looks up single tasks, actors and objects in the driver. Works after a failure, too."""

    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        """Returns the rows of these ids; ids without a row are left out.

        Costs microseconds per id, however many tasks there are.
        """

    def kinds(self, objects: Sequence[int]) -> dict[int, str]:
        """Returns id → the name of its value's type, without unpickling it; those that are not made, not here, or of
        no known type are left out."""

    def is_unasked(self, ref: ObjectRef[object]) -> bool:
        """Waits for the end of a task; returns whether it failed and nobody has asked for its result."""

    def awaited(self, task: int) -> list[int]:
        """Returns the ids of the objects that a task still waits for; none once it has all of them."""

    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns state → number of a cell's tasks."""

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        """Returns what a task (or worker, or everybody) printed, in order."""

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns the transitions of a task, actor or worker: (monotonic seconds, text)."""


class Scaling(Protocol):
    """Changes how many CPU slots a runtime has."""

    def scale(self, cpus: int) -> None:
        """Gives tasks ``cpus`` slots from now on; running tasks go on."""


class Controls(Protocol):
    """Cancels tasks and frees objects for a person at the notebook."""

    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by id (the dashboard's button)."""

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already finished)."""

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0,
        besides: Iterable[concurrent.futures.Future[object]] | None = None,
    ) -> list[concurrent.futures.Future[Any]]:  # fmt: skip
        """Runs a function on every worker that isn't an actor's (``only``: on that worker); ``later``:
        also first on every worker to come, and on those that have come since the run that returned ``besides``.
        Returns a future for each that runs it now."""

    def shutdown(self, timeout: float) -> None:
        """Stops the runtime (seconds until busy workers are killed). Does nothing the second time."""

    def after_fork_in_child(self) -> None:
        """Detaches a forked child from what belongs to its parent."""


class DriverEngine(Engine, Records, Controls, Protocol):
    """The engine of the kernel's process: what `raynb.jupyter` uses beyond `Engine`."""

    on_output: list[Callable[[Output], None]]  # called on the receiving thread; must not block
    config: Config

    @property
    def failure(self) -> str:
        """Why the runtime failed and was stopped, with its last events; "" while it works."""

    @property
    def address(self) -> str:
        """Returns the cluster's address, for people (what "auto" has found); empty on this machine."""

    @property
    def inspection(self) -> Inspection | None:
        """Asks the workers; None where there are none, or they cannot be asked."""

    @property
    def scaling(self) -> Scaling | None:
        """Changes the number of slots; None where the number is not raynb's to set."""

    @property
    def cluster_info(self) -> ClusterInfo | None:
        """Looks at the cluster's machines; None on one machine."""

    def check_invariants(self) -> None:
        """Raises `AssertionError` if the engine's state is impossible; engines without a machine have none."""
