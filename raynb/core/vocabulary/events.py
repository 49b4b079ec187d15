"""The events that `Machine.handle` takes: what has happened. Times are the driver's monotonic seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from raynb.base.ends import Done
from raynb.base.spec import ActorSpec, TaskSpec, Value


@dataclass(slots=True)
class ObjectStored:
    """A `put` was stored."""

    now: float
    id: int
    value: Value
    size: int
    contained: tuple[int, ...]
    caller: int
    scope: int = 0


@dataclass(slots=True)
class Submitted:
    """Tasks were submitted, and small values put, in this order; ``spec.caller`` says by whom."""

    now: float
    specs: Sequence[TaskSpec | ObjectStored]


@dataclass(slots=True)
class ActorSubmitted:
    """An actor was created; its creation task is ``spec``."""

    now: float
    actor: ActorSpec
    spec: TaskSpec


@dataclass(slots=True)
class CpusChanged:
    """There are this many CPU slots from now on (ten-thousandths)."""

    now: float
    cpus: int


@dataclass(slots=True)
class TasksFinished:
    """A worker finished tasks, in this order."""

    now: float
    worker: int
    ends: Sequence[Done]


@dataclass(slots=True)
class ItemYielded:
    """A streaming task yielded its next item."""

    now: float
    worker: int
    task: int
    index: int
    value: Value
    size: int
    contained: tuple[int, ...]


@dataclass(slots=True)
class ItemConsumed:
    """The reader of a stream took its item ``index`` (return index, from 2)."""

    now: float
    task: int
    index: int
    caller: int


@dataclass(slots=True)
class StreamDropped:
    """The reader of a stream has released its generator after item ``index``."""

    now: float
    task: int
    index: int
    dropped: float = float("inf")  # when: a task that had yielded nothing by then was called for what else it does


@dataclass(slots=True)
class WorkerReady:
    """A worker process is up and can be sent tasks."""

    now: float
    worker: int
    pid: int


@dataclass(slots=True)
class WorkerDied:
    """A worker process has ended; all that it had sent was applied before."""

    now: float
    worker: int
    reason: str
    oom: bool = False
    current: int = 0  # the task that it ran last, as it said itself; 0: not known, -1: none


@dataclass(slots=True)
class WorkerSilent:
    """A worker that has work has not answered for so many seconds."""

    now: float
    worker: int
    seconds: float
    stopped: bool  # the system says that it is stopped
    stack: tuple[str, ...] = ()  # lines that show where the task is, as far as that is known


@dataclass(slots=True)
class Withdrawn:
    """A worker gave unstarted tasks back."""

    now: float
    worker: int
    tasks: tuple[int, ...]


@dataclass(slots=True)
class Requested:
    """A worker's `get` (all of ids) or `wait` (``needed`` of ids). Tasks handed back ride along."""

    now: float
    worker: int
    request: int
    task: int
    ids: tuple[int, ...]
    needed: int
    is_wait: bool
    handed_back: tuple[int, ...] = ()


@dataclass(slots=True)
class RequestDropped:
    """The worker stopped waiting (timeout, interrupt)."""

    now: float
    worker: int
    request: int


@dataclass(slots=True)
class Released:
    """A worker gave back what it was lent: (object id, lends)."""

    now: float
    worker: int
    ids: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class RefsChanged:
    """The driver's refs: an id is one ref less, ``~id`` one more, in order; ``came``: batches of ids, each of which is
    one ref more, before them."""

    now: float
    changes: list[int]
    came: Sequence[tuple[int, ...]] = ()


@dataclass(slots=True)
class ViewsDied:
    """Zero-copy reads of the driver ended."""

    now: float
    ids: list[int]


@dataclass(slots=True)
class CancelAsked:
    """A task is to be cancelled; ``why`` becomes the text of its error."""

    now: float
    task: int
    force: bool
    recursive: bool
    why: str = ""


@dataclass(slots=True)
class TaskPaused:
    """Somebody debugs the task: its timeout does not run meanwhile."""

    now: float
    task: int


@dataclass(slots=True)
class TaskResumed:
    """The task has left its breakpoint."""

    now: float
    task: int


@dataclass(slots=True)
class FramesKept:
    """From now on workers keep the frames of failures, and are kept for them, for so long (0: no more)."""

    now: float
    seconds: float


@dataclass(slots=True)
class ScopeCancelAsked:
    """All unfinished tasks of a cell are to be cancelled."""

    now: float
    scope: int


@dataclass(slots=True)
class ExitAsked:
    """A worker's actor called ``exit_actor``."""

    now: float
    worker: int


@dataclass(slots=True)
class KillAsked:
    """An actor is to be killed (`raynb.kill`)."""

    now: float
    actor: int
    no_restart: bool


@dataclass(slots=True)
class FreeAsked:
    """Values of objects are to be released though refs to them are alive."""

    now: float
    ids: tuple[int, ...]


@dataclass(slots=True)
class ObjectLost:
    """The bytes are gone (a spill file was damaged). ``value``: the place where the reader looked for them."""

    now: float
    id: int
    why: str
    value: Value | None = None


@dataclass(slots=True)
class ObjectMoved:
    """An object's bytes lie somewhere else now (spilled or restored)."""

    now: float
    id: int
    value: Value


@dataclass(slots=True)
class MemoryMeasured:
    """Resident bytes and CPU share of each worker; ``pressed``: the machine's reserve is reached; ``fresh``: bytes of a
    worker that has done nothing yet."""

    now: float
    rss: dict[int, int] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    pressed: bool = False
    used: int = 0
    limit: int = 0
    fresh: int = 0


@dataclass(slots=True)
class Ticked:
    """Time has passed: timers that are due fire."""

    now: float


@dataclass(slots=True)
class BundleReserved:
    """A placement group's bundle was asked for: resources in ten-thousandths."""

    now: float
    group: int
    bundles: tuple[tuple[tuple[str, int], ...], ...]


@dataclass(slots=True)
class BundleReturned:
    """A placement group was removed: its resources are given back."""

    now: float
    group: int


@dataclass(slots=True)
class ShutdownAsked:
    """The runtime ends: failures are reported no more."""

    now: float


@dataclass(slots=True)
class Started:
    """The runtime is up: start the workers it should have from the beginning."""

    now: float
    workers: int


@dataclass(slots=True)
class NextItemAsked:
    """A worker waits for item ``index`` (return index, from 2) of a stream."""

    now: float
    worker: int
    request: int
    running: int
    task: int
    index: int
