"""Converts values, options and errors between raynb and Ray."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import exceptions as theirs

import raynb.exceptions as ours
from raynb.base import engine as slot
from raynb.base.buffers import Gathered
from raynb.base.config import RESOURCE_UNIT
from raynb.base.engine import Packed
from raynb.base.spec import DYNAMIC, STREAMING, ActorSpec, TaskOptions
from raynb.engine.causal import Mark
from raynb.engine.cluster import rays
from raynb.engine.notices import DEATH_CHARS, notice
from raynb.serde import errors, pickling
from raynb.serde.arrays import apart
from raynb.serde.errors import dual

#: Pickles from this size on (bytes) lie in Ray's store as buffers of their own.
APART_MIN_BYTES = 2048


#: An attribute of errors that were raised in a task outside of what raynb runs there.
OUTSIDE = "__raynb_outside__"


class Value:
    """The value in Ray's object store that stands for one object of ours.

    A reader, raynb or plain Ray, gets the object that was stored. ``natives`` are Ray's refs and handles that
    the pickle names, as (our id, native): Ray sees and counts them. ``mark`` says how much of the output of ``task``
    must be shown before it is.
    """

    __slots__ = ("buffers", "data", "mark", "natives", "nonce", "task")

    def __init__(self, data: Any, buffers: Sequence[Any] = (), natives: Any = (), nonce: int = 0, task: int = 0,
                 mark: Mark | None = None) -> None:  # fmt: skip
        self.data = data
        self.buffers = buffers
        self.natives = natives
        self.nonce = nonce
        self.task = task
        self.mark = mark

    def _parts(self) -> tuple[Any, ...]:
        data = apart(self.data) if len(self.data) >= APART_MIN_BYTES else bytes(self.data)
        buffers = [apart(buffer) for buffer in self.buffers]
        return data, buffers, list(self.natives), self.nonce, self.task, self.mark

    def __reduce__(self) -> tuple[Any, ...]:
        return load_value, self._parts()


class Sealed(Value):
    """Arguments, or a definition: stays as it is until the task that it is for opens it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, self._parts()


class Broken(Value):
    """One of several returns that could not be pickled: reading it raises. ``data`` is the error's."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Broken, (self.data, (), list(self.natives), self.nonce, self.task, self.mark)


#: Task → what must be seen before a value of it that was read here is given out. Of the latest: a reader takes it.
marks: OrderedDict[int, Mark] = OrderedDict()
MAX_MARKS = 10_000
#: nonce → the engine of a driver, in the driver's process.
drivers: dict[int, Any] = {}


def opener(nonce: int) -> Any:
    """Returns the engine that knows refs while a value that names some is unpickled: of the runtime that made it, else
    the one in place; in a worker, also before any call of that driver was there."""
    if drivers:
        return drivers.get(nonce) or slot.peek() or next(iter(drivers.values()))
    from raynb.engine.cluster.on_worker.workers import engine_by_nonce

    return engine_by_nonce(nonce)


def load_value(data: Any, buffers: Any, natives: Any, nonce: int, task: int, mark: Mark | None) -> Any:
    """Returns the object that a `Value` stands for; what cannot be unpickled stays a `Value`, whose reader raises."""
    if mark is not None:
        marks[task] = mark
        if len(marks) > MAX_MARKS:
            marks.popitem(last=False)
    try:
        if not natives:
            return pickling.unpack(data, buffers)
        with opener(nonce).holding(natives):
            return pickling.unpack(data, buffers)
    except Exception:
        return Value(data, buffers, natives, nonce, task, mark)


def taken_mark(task: int, native: object) -> Mark | None:
    """Returns and clears the mark of reports that must be applied before the value read here is returned."""
    found = marks.pop(task, None)
    if found is None and marks and type(native) is ray.ObjectRef:
        found = marks.pop(rays.number_of(native), None)
    return found


class Failure(Exception):
    """A task's exception on its way through Ray: an error value as `serde.errors` makes it."""

    def __init__(self, value: Any, described: tuple[str, str], natives: Any = (), mark: Mark | None = None) -> None:
        super().__init__(value, described, natives, mark)
        self.value = value
        self.described = described
        self.natives = natives
        self.mark = mark

    def __str__(self) -> str:
        return self.described[1]


class FailureToRetry(Failure):
    """A `Failure` that the task's ``retry_exceptions`` cover."""


# -- options -----------------------------------------------------------------------------------
def _placement(amounts: tuple[tuple[str, int], ...], groups: dict[int, Any]) -> dict[str, Any]:
    """Returns Ray's options for resources in ten-thousandths; names like ``CPU_group_0_7`` mean a bundle."""
    found: dict[str, Any] = {"num_cpus": 0}
    custom: dict[str, float] = {}
    group: tuple[int, int] | None = None
    for name, amount in amounts:
        plain, inside, place = name.partition("_group_")
        if inside:
            index, _, number = place.rpartition("_")
            group = (int(number), int(index) if index else -1)
            if plain == "bundle":
                continue
        value = amount / RESOURCE_UNIT
        whole = int(value) if value == int(value) else value
        if plain == "CPU":
            found["num_cpus"] = whole
        elif plain == "GPU":
            found["num_gpus"] = whole
        elif plain == "memory":
            found["memory"] = int(value)
        else:
            custom[plain] = whole
    if custom:
        found["resources"] = custom
    if group is not None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        found["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            groups[group[0]], placement_group_bundle_index=group[1]
        )
    return found


def task_options(options: TaskOptions, groups: dict[int, Any]) -> dict[str, Any]:
    """Returns Ray's options of a task."""
    given: dict[str, Any] = {
        "name": options.name,
        "max_retries": options.max_retries,
        "retry_exceptions": [FailureToRetry] if options.retry_exceptions else False,
        **_returns(options),
        **_placement(options.resources, groups),
        **_extra(options),
    }
    if options.runtime_env:
        given["runtime_env"] = dict(options.runtime_env)
    return given


def _extra(options: TaskOptions) -> dict[str, Any]:
    """Returns the options that say where in the cluster; strategies of ours become Ray's."""
    found = {}
    for name, pickled in options.extra:
        value = pickle.loads(pickled)
        if name == "scheduling_strategy" and not isinstance(value, str):
            from ray.util import scheduling_strategies

            value = getattr(scheduling_strategies, type(value).__name__)(**vars(value))
        found[name] = value
    return found


def _returns(options: TaskOptions) -> dict[str, Any]:
    if options.num_returns == STREAMING:
        limit = {"_generator_backpressure_num_objects": options.backpressure} if options.backpressure > 0 else {}
        return {"num_returns": "streaming", **limit}
    return {"num_returns": 1 if options.num_returns == DYNAMIC else options.num_returns}


def method_options(options: TaskOptions) -> dict[str, Any]:
    """Returns Ray's options of a method call."""
    given: dict[str, Any] = {"name": options.name, **_returns(options)}
    if options.max_retries:
        given["max_task_retries"] = options.max_retries
        given["retry_exceptions"] = [FailureToRetry] if options.retry_exceptions else False
    if options.concurrency_group:
        given["concurrency_group"] = options.concurrency_group
    return given


def actor_options(spec: ActorSpec, options: TaskOptions, groups: dict[int, Any]) -> dict[str, Any]:
    """Returns Ray's options of an actor."""
    default = spec.placement == (("CPU", RESOURCE_UNIT),) and not spec.held
    given = _placement(spec.held, groups)
    if default:  # Ray's own default: a CPU to be placed, none while it lives
        del given["num_cpus"]
    given |= {
        "max_restarts": spec.max_restarts,
        "max_task_retries": spec.max_task_retries,
        "max_concurrency": spec.max_concurrency,
        "max_pending_calls": spec.max_pending_calls,
        **_extra(options),
    }
    if spec.out_of_order:
        given["allow_out_of_order_execution"] = True
    for name in ("name", "namespace", "lifetime"):
        if getattr(spec, name):
            given[name] = getattr(spec, name)
    if options.runtime_env:
        given["runtime_env"] = dict(options.runtime_env)
    return given


# -- errors ------------------------------------------------------------------------------------
def failure_in(error: BaseException) -> Failure | None:
    """Returns what a task of ours raised, if that is what this error of Ray's carries."""
    cause: Any = error
    while cause is not None and not isinstance(cause, Failure):
        cause = getattr(cause, "cause", None)
    # Ray's error may itself be an instance of Failure: the one inside has the attributes.
    inner = getattr(cause, "cause", None)
    return inner if isinstance(inner, Failure) else cause


def translate(error: BaseException) -> BaseException:
    """Returns our exception for one of Ray's; what is not Ray's is returned as it is."""
    failure = failure_in(error)
    if failure is not None:
        return errors.load_error(failure.value)
    if not isinstance(error, theirs.RayError):
        return error
    if isinstance(error, theirs.RayTaskError):
        cause = getattr(error, "cause", None)
        if isinstance(cause, theirs.RayError):
            return translate(cause)
        # One that Ray made to be of the cause's class, too, may lack what Ray's own constructor sets.
        about = {name: getattr(error, name, None) for name in ("function_name", "traceback_str", "pid", "ip")}
        name, frames = about["function_name"] or "", about["traceback_str"] or f"{type(cause).__name__}: {cause}"
        made = dual(ours.RayTaskError(name, frames, cause, pid=about["pid"] or 0, ip=about["ip"]))
        made.__dict__[OUTSIDE] = True
        return made
    for cls in type(error).__mro__:
        mine = getattr(ours, cls.__name__, None)
        if mine is not None:
            return _made(mine, error)
    return ours.RaySystemError(str(error))


def _made(mine: type[BaseException], error: Any) -> BaseException:
    make: Callable[..., BaseException] = mine
    if issubclass(mine, ours.TaskCancelledError):
        task = error.task_id.hex() if error.task_id is not None else None
        return make(task, error.error_message)
    if issubclass(mine, ours.ActorUnavailableError):
        why = str(error).partition(" is unavailable: ")[2].partition(". The task may or may not")[0]
        return make(why or short(error), bytes.fromhex(error.actor_id) if error.actor_id else None)
    if issubclass(mine, ours.RayActorError):
        return make(actor_id=error.actor_id, error_msg=actor_death(str(error)))
    if issubclass(mine, (ours.WorkerCrashedError, ours.NodeDiedError, ours.OutOfMemoryError)):
        return make(notice(short(error)))
    if issubclass(mine, ours.ObjectLostError):
        return make(error.object_ref_hex, call_site=error.call_site, why=object_loss(str(error)))
    if issubclass(mine, ours.RaySystemError):
        return make(getattr(error, "client_exc", error))
    return make(str(error))


def short(error: BaseException) -> str:
    """Returns the first line of an error's text: Ray's go on for a page."""
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


def object_loss(text: str) -> str:
    """Returns Ray's text about an object that is lost, a page, as two sentences: which one, and why."""
    which, _, why = text.strip().partition("\n\n")
    why = notice(re.sub(r"^\[[A-Z_]+\] ", "", why.strip().split("\n", 1)[0]))
    return f"{which.split('. ', 1)[0].rstrip('.')}. {why}" if why else which[:DEATH_CHARS]


#: What of Ray's account of a death is for people, in its words.
_ABOUT = ("class_name", "name", "pid", "ip")


def actor_death(text: str) -> str:
    """Returns Ray's text about an actor that died, a page, as a sentence or two."""
    lines = [line.strip() for line in text.strip().split("\n")]
    about = dict(line.split(": ", 1) for line in lines if ": " in line and line.split(": ", 1)[0] in _ABOUT)
    if not about:
        return lines[0][:DEATH_CHARS]
    who = about.get("class_name", "actor") + (f" {about['name']!r}" if about.get("name") else "")
    where = ", ".join(f"{key} {about[key]}" for key in ("pid", "ip") if key in about)
    why = next((line for line in lines if line.startswith("The actor is dead because")), lines[0])
    because = (why.partition("because ")[2] or why).split(". ", 1)[0].rstrip(".")
    return f"The actor {who} ({where}) died: {because}."[:DEATH_CHARS]


#: Errors that Ray raises for a task whose process, node or value is gone: they do not say which task of which cell.
DEATHS = (ours.WorkerCrashedError, ours.NodeDiedError, ours.OutOfMemoryError, ours.ObjectLostError, ours.RayActorError)


def is_death(error: BaseException) -> bool:
    """Returns whether the error is one of `DEATHS`, and none that a task raised, which tells of that task."""
    return isinstance(error, DEATHS) and not isinstance(error, ours.RayTaskError)


def is_from_outside(error: BaseException) -> bool:
    """Returns whether the error was raised in a task by Ray's own code or a task of plain Ray, not by raynb's."""
    return OUTSIDE in error.__dict__


def is_actor_died(error: BaseException) -> bool:
    """Returns whether the error is Ray's `ActorDiedError`."""
    return isinstance(error, theirs.ActorDiedError)


def value_of(packed: Packed, natives: object, nonce: int = 0, task: int = 0, mark: Mark | None = None,
             kind: type[Value] = Value) -> Value:  # fmt: skip
    """Returns a packed value as what is put into Ray's object store, with Ray's refs of the refs inside it."""
    buffers = [bytes(b) if type(b) is Gathered else b for b in packed.buffers]
    return kind(packed.data, buffers, natives, nonce, task, mark)


# -- what Ray keeps by key ---------------------------------------------------------------------
SPACE = b"raynb"


def keep(key: str, value: bytes) -> None:
    """Stores a few bytes under a key in Ray's key-value store."""
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(key.encode(), value, namespace=SPACE)


def kept(key: str) -> bytes | None:
    """Returns the bytes that `keep` stored under a key in Ray's key-value store; None: there are none."""
    from ray.experimental import internal_kv

    found: bytes | None = internal_kv._internal_kv_get(key.encode(), namespace=SPACE)
    return found


def forget(key: str) -> None:
    """Removes a key from Ray's key-value store."""
    from ray.experimental import internal_kv

    internal_kv._internal_kv_del(key.encode(), namespace=SPACE)


def class_name(handle: object) -> str:
    """Returns the class's name of an actor that plain Ray made."""
    described = getattr(handle, "_ray_actor_creation_function_descriptor", None)
    return str(getattr(described, "class_name", "") or "Actor").rpartition(".")[2]


def actor_key(handle: Any) -> str:
    """Returns Ray's id of an actor, as hex digits."""
    return str(handle._actor_id.hex())


__all__ = ["Broken", "Failure", "FailureToRetry", "Value", "ray", "task_options", "translate"]
