"""The rows of the machine's tables. Plain slots; only `core` writes them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raynb.base.rows import PENDING_ARGS_AVAIL, PENDING_CREATION, STARTING
from raynb.base.spec import ActorSpec, TaskSpec, Value
from raynb.core.vocabulary.transitions import O_PENDING

#: The `runtime_env` of a worker's process: (name, value) of each setting.
Env = tuple[tuple[str, object], ...]

MAX_SPARED_DEATHS = 3  # deaths of workers before they began with a task that don't count against it


@dataclass(slots=True, eq=False)
class Task:
    """One unfinished task (or one kept for lineage). Times are monotonic seconds, sizes bytes."""

    spec: TaskSpec
    group: dict[str, int]  # counts by state of all tasks of its name
    state: str = PENDING_ARGS_AVAIL
    waiting: int = 0  # arguments that are not there yet
    worker: int = 0
    retries: int = 0  # left; -1: no end
    cancelled: bool = False
    submitted: float = 0.0
    started: float = 0.0
    fetched: float = 0.0
    ran: float = 0.0
    ended: float = 0.0
    yielded: int = 0  # items of a stream so far
    consumed: int = 0
    total: int = -1  # items of a stream that has ended
    size: int = 0
    error: tuple[str, str] = ("", "")  # type, text
    took: tuple[tuple[str, int], ...] = ()  # resources it holds now
    gpus: tuple[int, ...] = ()  # numbers of the GPUs that it was given
    spared: int = 0  # deaths of its workers before they had begun with it
    deaths: int = 0  # system failures, for the back-off
    raised: int = 0  # attempts that raised and were tried again
    not_before: float = 0.0
    after: int = 0  # the task whose result was the last input that it waited for
    peak: int = 0  # largest sampled memory of its worker while it ran
    before: int = -1  # memory of its worker before it ran; -1: not sampled yet


@dataclass(slots=True, eq=False)
class Obj:
    """One object. Freed when nobody can name it: refs, lends, args, containers and views all zero."""

    id: int
    state: str = O_PENDING
    value: Value | None = None
    size: int = 0
    refs: int = 0  # ObjectRefs in the driver
    lends: dict[int, int] | None = None  # worker → messages that named it, not yet released
    args: int = 0  # unfinished tasks that take it
    containers: int = 0  # stored objects that contain it
    views: int = 0  # zero-copy reads alive in the driver
    contained: tuple[int, ...] = ()
    waiters: list[int] | None = None  # tasks that wait for it
    requests: list[int] | None = None  # blocked workers' requests
    watched: bool = False  # somebody in the driver wants to know
    error: bool = False
    actor: int = 0  # this object stands for an actor's handles
    scope: int = 0
    used: float = 0.0  # last use, for spilling


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process: its state, the tasks it was sent, what it uses (``rss`` bytes, ``cpu`` share of a core)."""

    id: int
    env: Env = ()
    state: str = STARTING
    pid: int = 0
    queue: deque[Task] = field(default_factory=deque)  # what it was sent, in order; the first runs
    key: int = 0  # scheduling key of what it runs
    actor: int = 0
    blocked: set[int] = field(default_factory=set)  # its numbers of the requests that block its current task
    started: float = 0.0
    idle_since: float = 0.0
    finished: int = 0
    rss: int = 0
    cpu: float = 0.0
    kill_reason: tuple[str, str] | None = None  # why we kill it: exception name, text
    exit: str = ""
    retiring: bool = False  # takes no more tasks
    withdrawing: bool = False
    follower: int = 0  # the task sent along with the last answer
    frames_until: float = 0.0  # so long it is kept for the frames of a failure
    gpus: tuple[int, ...] = ()  # of the actor that lives there


@dataclass(slots=True, eq=False)
class Actor:
    """One actor: its worker, its queued and sent calls, why it died."""

    spec: ActorSpec
    creation: Task
    state: str = PENDING_CREATION
    worker: int = 0
    pid: int = 0
    restarts: int = 0
    scope: int = 0
    queues: dict[int, deque[Task]] = field(default_factory=dict)  # caller → calls not sent yet
    inflight: dict[int, Task] = field(default_factory=dict)  # sent, in order
    running: int = 0
    pending: int = 0  # all unfinished calls
    deaths: deque[float] = field(default_factory=deque)
    cause: Value | None = None  # the error value that its calls get once dead
    killed: bool = False
    leaving: bool = False  # exit_actor was called: ends when the calls that were sent have ended
    ending: bool = False  # no handle is left: ends after the calls already submitted
    most: int = 0  # calls sent ahead of their answers

    @property
    def unordered(self) -> bool:
        """Returns whether ready calls overtake others (threaded, async, or asked for)."""
        spec = self.spec
        return spec.is_async or spec.out_of_order or spec.max_concurrency > 1 or bool(spec.concurrency_groups)


@dataclass(slots=True, eq=False)
class Request:
    """A worker's `get` or `wait` that is not answered yet."""

    id: int
    worker: int
    request: int  # the worker's number for it
    task: int
    ids: tuple[int, ...]
    needed: int  # how many more must become ready
    is_wait: bool
