"""The commands that `Machine.handle` returns; the engine carries them out in this order."""

from __future__ import annotations

from dataclasses import dataclass

from raynb.base.spec import Value
from raynb.core.vocabulary.records import Task


@dataclass(slots=True)
class StartWorker:
    """Start a worker process with this environment."""

    worker: int
    env: tuple[tuple[str, object], ...] = ()


@dataclass(slots=True)
class StopWorker:
    """Ask a worker to leave: it finishes what it was sent first; ``atexit`` runs."""

    worker: int


@dataclass(slots=True)
class KillWorker:
    """Kill a worker process (SIGKILL); its death comes back as `WorkerDied`."""

    worker: int


@dataclass(slots=True)
class Run:
    """Send the task to its worker. The values of its deps are read from the objects when the message is made."""

    worker: int
    task: Task
    lent: tuple[int, ...] = ()


@dataclass(slots=True)
class Withdraw:
    """Ask a worker to hand unstarted tasks back."""

    worker: int
    tasks: tuple[int, ...]


@dataclass(slots=True)
class Interrupt:
    """Cancel a task at its worker: drop it if unstarted, else interrupt it."""

    worker: int
    task: int


@dataclass(slots=True)
class Reply:
    """Answer a worker's request: the ids that are ready, of those it named, in its order."""

    worker: int
    request: int
    ids: tuple[int, ...]
    is_wait: bool  # no values ride along
    lent: tuple[int, ...] = ()
    error: Value | None = None  # instead of the values


@dataclass(slots=True)
class Ready:
    """A watched object is ready (or an item of a watched stream came, or the stream ended)."""

    id: int
    failed: bool = False  # its value is an error


@dataclass(slots=True)
class Free:
    """Release an object's bytes."""

    value: Value
    id: int


@dataclass(slots=True)
class AllowItems:
    """The reader of a stream has consumed this many items; the producer may go on."""

    worker: int
    task: int
    consumed: int


@dataclass(slots=True)
class Warn:
    """Show the user a warning, in the cell of ``scope``."""

    text: str
    scope: int = 0


@dataclass(slots=True)
class ReportFailure:
    """Show the user a task's failure that nobody has asked about."""

    text: str
    scope: int
    task: int


@dataclass(slots=True)
class WatchDeadline:
    """Be sure to tick at this time."""

    at: float


Command = (
    StartWorker | StopWorker | KillWorker | Run | Withdraw | Interrupt | Reply | Ready | Free
    | AllowItems | Warn | ReportFailure | WatchDeadline
)  # fmt: skip
