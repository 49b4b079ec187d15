"""Snapshot rows: what views and the state API see. Plain values, no behaviour, no live objects.

Times are seconds of `time.monotonic` of the driver; `Snapshot.wall` is the wall-clock time at
monotonic zero, so ``wall + t`` is a date. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Task states: Ray's names, plus CANCELLED, which Ray files under FAILED.
PENDING_ARGS_AVAIL = "PENDING_ARGS_AVAIL"
PENDING_NODE_ASSIGNMENT = "PENDING_NODE_ASSIGNMENT"
SUBMITTED_TO_WORKER = "SUBMITTED_TO_WORKER"
RUNNING = "RUNNING"
FINISHED = "FINISHED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TASK_STATES = (PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, SUBMITTED_TO_WORKER, RUNNING,
               FINISHED, FAILED, CANCELLED)  # fmt: skip
TASK_ENDED = frozenset((FINISHED, FAILED, CANCELLED))

# Actor states: Ray's names.
DEPENDENCIES_UNREADY = "DEPENDENCIES_UNREADY"
PENDING_CREATION = "PENDING_CREATION"
ALIVE = "ALIVE"
RESTARTING = "RESTARTING"
DEAD = "DEAD"

# Worker states.
STARTING = "STARTING"
IDLE = "IDLE"
BUSY = "BUSY"
BLOCKED = "BLOCKED"
ACTOR = "ACTOR"

# Kinds of task.
NORMAL_TASK = "NORMAL_TASK"
ACTOR_CREATION_TASK = "ACTOR_CREATION_TASK"
ACTOR_TASK = "ACTOR_TASK"

# Where an object's bytes are.
PENDING = "pending"
MEMORY = "memory"  # small: inside messages
SHARED = "shared"  # in a shared arena
SPILLED = "spilled"  # in a file
LOST = "lost"


@dataclass(slots=True)
class TaskRow:
    """A task as views show it. Times are the driver's monotonic seconds (0: not yet), sizes bytes."""

    id: int
    name: str
    kind: str = NORMAL_TASK
    state: str = PENDING_ARGS_AVAIL
    worker: int = 0
    pid: int = 0
    attempt: int = 0
    scope: int = 0
    actor: int = 0
    parent: int = 0
    submitted: float = 0.0
    started: float = 0.0  # the worker took it
    fetched: float = 0.0  # its arguments were there and unpickled
    ran: float = 0.0  # the function returned
    ended: float = 0.0  # its results were stored
    error_type: str = ""
    error: str = ""
    size: int = 0  # of its results
    resources: dict[str, float] = field(default_factory=dict)
    function_name: str = ""
    function: str = ""  # key of its definition; of an actor's call, the method's name
    inputs: int = 0  # refs among its arguments
    after: int = 0  # the task whose result was the last input that it waited for; 0: it waited for none
    peak: int = 0  # largest resident memory of its worker that was sampled while it ran, bytes; 0: it was too short
    added: int = 0  # of the peak, what its worker did not have before it ran


@dataclass(slots=True)
class ActorRow:
    """An actor as views show it. ``rss``: bytes of its worker; ``pending``: calls that have not ended."""

    id: int
    class_name: str
    name: str = ""
    namespace: str = ""
    state: str = PENDING_CREATION
    worker: int = 0
    pid: int = 0
    pending: int = 0
    restarts: int = 0
    max_restarts: int = 0
    rss: int = 0
    death_cause: str = ""
    scope: int = 0
    detached: bool = False
    definition: str = ""  # key of its class


@dataclass(slots=True)
class ObjectRow:
    """An object as views show it, with who keeps it. ``size`` in bytes."""

    id: int
    size: int = 0
    where: str = PENDING
    task: int = 0
    scope: int = 0
    local_refs: int = 0  # ObjectRefs in the driver
    borrowers: tuple[int, ...] = ()  # workers that hold refs or views
    pending_args: int = 0  # unfinished tasks that take it
    containers: int = 0  # stored objects that contain it
    views: int = 0  # zero-copy views alive in the driver
    error: bool = False
    hex: str = ""  # its refs' own id, where that is another one than raynb's


@dataclass(slots=True)
class WorkerRow:
    """A worker process as views show it. ``rss`` in bytes, ``started`` in monotonic seconds."""

    id: int
    pid: int = 0
    state: str = STARTING
    task: int = 0
    actor: int = 0
    rss: int = 0
    cpu: float = 0.0  # share of one core since the last sample, 0..1
    started: float = 0.0
    finished: int = 0  # tasks
    exit: str = ""  # why it ended; empty while alive
    node: int = 0  # id of its `NodeRow`; 0 on one machine


@dataclass(slots=True)
class NodeRow:
    """A machine of a Ray cluster. Figures that Ray does not report are 0."""

    id: int  # small number, given in the order in which nodes were seen
    node_id: str = ""  # Ray's id, in hex
    host: str = ""
    address: str = ""
    alive: bool = True
    head: bool = False
    driver: bool = False  # the kernel's own node
    cpus: float = 0.0
    cpus_used: float = 0.0  # slots taken by tasks and actors
    gpus: float = 0.0
    gpus_used: float = 0.0
    cpu: float = 0.0  # share of the machine's cores that is busy, 0..1
    memory: int = 0  # of the machine, bytes
    memory_used: int = 0
    store: int = 0  # limit of the object store, bytes
    store_used: int = 0
    spilled: int = 0  # bytes on disk
    workers: int = 0
    resources: dict[str, float] = field(default_factory=dict)  # beside CPU, GPU, memory and the store
    labels: dict[str, str] = field(default_factory=dict)
    death_cause: str = ""


@dataclass(slots=True)
class KernelRow:
    """A runtime of this user on this machine, as it last said. Sizes are bytes."""

    key: str
    pid: int = 0
    started: float = 0.0  # `time.time`
    program: str = ""  # the notebook or script, as a path where it has one
    kernel: str = ""  # Jupyter's id of the kernel; empty: none
    cpus: float = 0.0  # slots that its tasks may use now
    base: float = 0.0  # of these its own: asked for, or found
    chosen: bool = False  # whether somebody asked for them
    share: str = ""  # "fair": it lends slots, and borrows them
    busy: float = 0.0  # slots taken
    wanted: float = 0.0  # slots that it could use now
    unfinished: int = 0  # tasks
    memory: int = 0  # of its workers
    store: int = 0  # limit of the object store
    store_used: int = 0
    spilled: int = 0


@dataclass(slots=True)
class StoreRow:
    """The object store as views show it, all in bytes unless a field says otherwise."""

    limit: int = 0
    used: int = 0  # allocated in arenas
    spilled: int = 0
    pinned: int = 0
    inline: int = 0
    objects: int = 0
    resident: int = 0  # pages that exist (used + warm, unused)


@dataclass(slots=True)
class Snapshot:
    """The whole picture at ``version``. Also what changed since an earlier version: then
    ``since`` is that version, the lists hold only changed rows, and ``gone`` the ids of objects,
    workers and tasks that are no longer kept, by kind (``"tasks"``, ``"objects"``, ...)."""

    version: int
    now: float
    wall: float
    since: int = -1
    tasks: list[TaskRow] = field(default_factory=list)
    actors: list[ActorRow] = field(default_factory=list)
    objects: list[ObjectRow] = field(default_factory=list)
    workers: list[WorkerRow] = field(default_factory=list)
    store: StoreRow = field(default_factory=StoreRow)
    total: dict[str, float] = field(default_factory=dict)
    available: dict[str, float] = field(default_factory=dict)
    nodes: list[NodeRow] = field(default_factory=list)  # all of them, always; empty on one machine
    groups: dict[str, dict[str, int]] = field(default_factory=dict)  # function name → state → count
    gone: dict[str, list[int]] = field(default_factory=dict)
    #: Every task that runs at ``now``, also those that haven't changed since ``since``.
    running: list[TaskRow] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)  # ids of the tasks at a breakpoint, always all


@dataclass(slots=True)
class Breakpoint:
    """A task that waits at a breakpoint, for somebody who debugs it."""

    worker: int
    session: int  # the worker's number of this stop
    task: int
    scope: int
    name: str  # of the task or actor
    file: str
    line: int
    function: str
    since: float  # `time.time`


#: Kind of `Output` that shows an unfinished line.
END_OF_TASK = "end"
#: Kind of `Output` whose ``bundle`` is a task's profile. It is not shown as it is.
PROFILE = "profile"


@dataclass(slots=True)
class Output:
    """A piece of what a task or actor printed or displayed, on its way to the driver.

    ``kind`` is ``"stdout"``, ``"stderr"`` (``text`` holds it) or ``"display"``, ``"update_display"``,
    ``"clear"`` (``bundle`` holds ``{"data", "metadata", "transient"}``). With ``"end"`` the task has ended
    without ending its last line on the stream that ``text`` names; the log has no such pieces.
    """

    kind: str
    task: int
    scope: int
    worker: int
    pid: int
    name: str  # of the task or actor
    actor: int = 0
    text: str = ""
    bundle: dict[str, object] | None = None
