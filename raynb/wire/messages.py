"""One class a message. Fields are plain values only (what `marshal` knows), so that coding is cheap.

``Value`` fields are bytes or location tuples, see `raynb.base.spec`. D: driver, W: worker,
S: supervisor.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from raynb.base.ends import CANCELLED as CANCELLED
from raynb.base.ends import EXITS as EXITS
from raynb.base.ends import FAILED as FAILED
from raynb.base.ends import RETRYABLE as RETRYABLE
from raynb.base.ends import Done as Done


# -- both ways ---------------------------------------------------------------------------------
class Options(NamedTuple):
    """Defines the task options that later messages name by ``key`` (pickled `TaskOptions`)."""

    key: int
    blob: bytes


class Definition(NamedTuple):
    """The bytes of a function or class."""

    key: str
    blob: bytes


class Arena(NamedTuple):
    """Announces an arena; its descriptor rides with this message."""

    arena: int


class Forget(NamedTuple):
    """Has the worker close the descriptor of a dead worker's empty arena."""

    arena: int


#: The arguments are too large for a message.
ARGS_IN_STORE = b"@"
#: Bit of a request's number: the answer is to come on the control channel.
ON_CONTROL = 1 << 62


# -- driver to worker --------------------------------------------------------------------------
class Run(NamedTuple):
    """Runs a task. ``args`` is `ARGS_IN_STORE` when the arguments themselves are the last of ``deps``."""

    task: int
    options: int
    args: Any
    deps: tuple[int, ...]  # the top-level refs
    values: tuple[Any, ...]  # and their values
    lent: tuple[int, ...]  # objects that this message names
    attempt: int
    scope: int
    actor: int
    gpus: tuple[int, ...] = ()


class Actor(NamedTuple):
    """Names the actor that the next `Run` creates here (pickled `ActorSpec`)."""

    blob: bytes


class Reply(NamedTuple):
    """Answers `Ask` or `NextItem`: what is ready, and (for get) the values, with what they lend."""

    request: int
    ids: tuple[int, ...]
    values: tuple[Any, ...]
    lent: tuple[int, ...]


class Answer(NamedTuple):
    """Answers `Call`: (True, pickled result) or (False, pickled exception)."""

    request: int
    ok: bool
    blob: bytes
    lent: tuple[int, ...]


class Withdraw(NamedTuple):
    """Asks for unstarted tasks back; for none of them: whether the worker is there."""

    tasks: tuple[int, ...]
    frames: int = 0  # so many have gone out on the data channel: the worker must have them


class Interrupt(NamedTuple):
    """Interrupts a running task, or drops it if it has not begun."""

    task: int


class Allow(NamedTuple):
    """Lets a generator go on: its reader has consumed so many items."""

    task: int
    consumed: int


class Free(NamedTuple):
    """Lets the worker reuse ranges of its own arena."""

    values: tuple[Any, ...]


class Stop(NamedTuple):
    """Asks the worker to finish its tasks and exit."""


class Inspect(NamedTuple):
    """Asks the control thread about running tasks: see `raynb.worker.inspection`."""

    request: int
    what: str
    blob: bytes  # pickled arguments


# -- worker to driver --------------------------------------------------------------------------
class Ready(NamedTuple):
    """Reports that the worker is up and takes tasks."""

    pid: int


class Yield(NamedTuple):
    """Sends one item of a generator."""

    task: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    value: Any
    size: int
    contained: tuple[int, ...]


class Submit(NamedTuple):
    """Submits a nested task, or a call of an actor."""

    task: int
    options: int
    args: Any
    deps: tuple[int, ...]
    contained: tuple[int, ...]
    parent: int
    scope: int
    actor: int
    returns: int


class Put(NamedTuple):
    """Announces a nested `put`; the value travels or lies in the store."""

    id: int
    value: Any
    size: int
    contained: tuple[int, ...]
    scope: int


class Lost(NamedTuple):
    """Reports that the bytes of an object are not where the driver said (``value``), and why."""

    id: int
    value: Any
    why: str


class Ask(NamedTuple):
    """Sends a `get` or `wait` that blocks a task; answered by `Reply`."""

    request: int
    task: int
    ids: tuple[int, ...]
    needed: int
    is_wait: bool
    handed_back: tuple[int, ...]
    control: bool  # answer on the control channel


class NextItem(NamedTuple):
    """Waits for the next item of a stream; answered by `Reply`."""

    request: int
    running: int
    task: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    handed_back: tuple[int, ...]
    control: bool


class DropRequest(NamedTuple):
    """Withdraws an `Ask` or `NextItem` (timeout, interrupt)."""

    request: int


class DropStream(NamedTuple):
    """Reports that the worker has released a generator."""

    task: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Release(NamedTuple):
    """Returns lends: (object id, how many messages named it) of what the worker holds no more."""

    ids: tuple[tuple[int, int], ...]


class Withdrawn(NamedTuple):
    """Answers `Withdraw` with the unstarted tasks; with none on the control channel, see ``frames``."""

    tasks: tuple[int, ...]
    frames: int = 0  # so many have gone out on the data channel: the driver must have them


class Cancel(NamedTuple):
    """Cancels another task on behalf of one of this worker's."""

    task: int
    force: bool
    recursive: bool


class Call(NamedTuple):
    """Calls a method of the driver's engine by name; arguments pickled."""

    request: int
    method: str
    blob: bytes


class Output(NamedTuple):
    """Sends a piece of what a task printed or displayed."""

    kind: str
    task: int
    scope: int
    name: str
    actor: int
    text: str
    bundle: bytes  # pickled, or empty


class Leaving(NamedTuple):
    """Reports that the worker ends by itself, and why."""

    reason: str


class Inspected(NamedTuple):
    """Answers `Inspect`: (True, pickled result) or (False, pickled exception)."""

    request: int
    ok: bool
    blob: bytes


class Paused(NamedTuple):
    """Reports that a task waits at a breakpoint."""

    session: int
    task: int
    scope: int
    name: str
    file: str
    line: int
    function: str


class ActorExits(NamedTuple):
    """Reports `exit_actor`: calls that were sent are still answered, later ones are refused."""


# -- driver and supervisor ---------------------------------------------------------------------
class Spawn(NamedTuple):
    """Forks a worker; its two sockets ride with this message."""

    worker: int
    settings: bytes  # pickled dict


class Kill(NamedTuple):
    """Asks the supervisor to send a signal to a worker."""

    worker: int
    signal: int


class Spawned(NamedTuple):
    """Reports that a worker was forked."""

    worker: int
    pid: int


class Exited(NamedTuple):
    """Reports that a worker has ended; ``status`` is its wait status."""

    worker: int
    status: int


class SpawnFailed(NamedTuple):
    """Reports that a worker could not be forked."""

    worker: int
    reason: str


ALL: tuple[type, ...] = (
    Options, Definition, Arena, Run, Actor, Reply, Answer, Withdraw, Interrupt, Allow, Free, Stop, Ready,
    Done, Yield, Submit, Put, Ask, NextItem, DropRequest, DropStream, Release, Withdrawn, Cancel, Call,
    Output, Leaving, ActorExits, Spawn, Kill, Spawned, Exited, SpawnFailed, Forget, Lost,
    Inspect, Inspected, Paused,
)  # fmt: skip
