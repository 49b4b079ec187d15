"""Specs of what is to be run: options, tasks, actors.

On the hot path everything that all calls of one remote function share sits in one
`TaskOptions`, made once; a `TaskSpec` holds only what differs from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: ``num_returns="dynamic"`` and ``"streaming"``, as Ray numbers them.
DYNAMIC = -1
STREAMING = -2

#: A value on its way: pickled bytes, or where its bytes lie.
#: ``("shm", arena, offset, size, segments)`` or ``("file", path, size, segments)``; segments are
#: byte lengths, the first the pickle stream, the rest its out-of-band buffers, each aligned to 64.
Location = tuple[Any, ...]
Value = bytes | Location

CPU = "CPU"
GPU = "GPU"
MEMORY = "memory"


_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))


def plain(value: T) -> T:
    """Returns a value of the user's with strings and numbers of his own classes as Python's own: an enum's member as
    its value. Specs are compared and hashed under the engine's lock, and read by workers, which may not know his class.
    """
    kind = type(value)
    made: object = value
    if kind in _PLAIN:
        return value
    if kind is dict:
        made = {plain(key): plain(item) for key, item in cast("dict[object, object]", value).items()}
    elif kind is list:
        made = [plain(item) for item in cast("list[object]", value)]
    elif kind is tuple:
        made = tuple([plain(item) for item in cast("tuple[object, ...]", value)])
    elif issubclass(kind, str):
        made = str.__str__(cast(str, value))
    elif issubclass(kind, int):
        made = int.__int__(cast(int, value))
    elif issubclass(kind, float):
        made = float.__float__(cast(float, value))
    return cast(T, made)


class FailedReturn:
    """One failed value among the results of a task: its ref raises the error."""

    __slots__ = ("error", "name")

    def __init__(self, error: BaseException, name: str = "") -> None:
        self.error = error
        self.name = name  # of what failed, if it has one of its own


@dataclass(slots=True)
class TaskOptions:
    """The options of a remote function or actor method, checked and with defaults filled in."""

    name: str = ""
    function_name: str = ""
    function: str = ""  # key of the function or class definition; the method's name for actor tasks
    num_returns: int = 1
    resources: tuple[tuple[str, int], ...] = ((CPU, 10_000),)
    max_retries: int = 3
    retry_exceptions: bool | bytes = False  # bytes: pickled tuple of exception classes
    max_calls: int = 0
    timeout: float | None = None
    memory: int = 0
    runtime_env: tuple[tuple[str, Any], ...] = ()
    backpressure: int = -1
    concurrency_group: str = ""
    tensor_transport: str = ""
    enable_task_events: bool = True
    bundle: tuple[int, int] | None = None  # (placement group, bundle index)
    capture: int = 0  # the placement group that its children run in too
    labels: tuple[tuple[str, str], ...] = ()
    surroundings: str = ""  # key of what the submitting cell has around it, see `base.process.surroundings`
    extra: tuple[tuple[str, bytes], ...] = ()  # options that mean something on a cluster only, pickled
    key: int = 0  # interned by the machine: tasks of one key can share a worker
    uid: int = 0  # interned by the engine: options with one uid are equal

    def content(self) -> tuple[Any, ...]:
        """Returns all that was asked for, hashable: without the numbers that parts have given it."""
        return tuple(getattr(self, name) for name in self.__slots__ if name not in ("key", "uid"))


@dataclass(slots=True)
class TaskSpec:
    """One submitted call: a task's options, arguments and place."""

    task_id: int
    options: TaskOptions
    args: Value = b""
    deps: tuple[int, ...] = ()  # top-level refs: arrive as values, in this order
    contained: tuple[int, ...] = ()  # refs inside the arguments: arrive as refs
    parent: int = 0  # the task that submitted it, 0: the driver's own code
    caller: int = 0  # the process that submitted it (worker id, 0: driver)
    scope: int = 0  # the notebook cell that owns it
    actor: int = 0
    creates_actor: bool = False
    attempt: int = 0
    returns: int = 1  # how many return objects exist from the start


@dataclass(slots=True)
class ActorSpec:
    """One actor: how it is made and how long it lives."""

    actor_id: int
    class_name: str
    class_key: str
    name: str = ""
    namespace: str = ""
    lifetime: str = ""  # "detached" or "" (dies with its last handle)
    max_restarts: int = 0  # -1: for ever
    max_task_retries: int = 0
    max_concurrency: int = 1
    concurrency_groups: tuple[tuple[str, int], ...] = ()
    is_async: bool = False
    out_of_order: bool = False
    max_pending_calls: int = -1
    placement: tuple[tuple[str, int], ...] = ((CPU, 10_000),)  # needed to be placed
    held: tuple[tuple[str, int], ...] = ()  # held while it lives
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    definition: int = 0  # which definition of a redefined class; views compare it
    module: str = ""
    capture: int = 0  # the placement group that children of its calls run in too
