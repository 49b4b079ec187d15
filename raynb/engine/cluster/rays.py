"""Ray's calls as this engine uses them: none of them ever starts a Ray.

Ray's own functions call ``ray.init()`` when the process is not connected. A thread of ours, or an exit handler
that runs after Ray's, must get an error then and not another cluster: so Ray's wrapper is taken off.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import ray
from ray import exceptions as theirs
from ray import remote_function
from ray.actor import ActorHandle, ActorMethod

from raynb.base.process import trace
from raynb.engine.notices import Hearers, Say

try:
    from ray._common.signature import DUMMY_TYPE
except ImportError:  # an older Ray, whose calls are none of those that `quick_call` knows
    DUMMY_TYPE = b""

P = ParamSpec("P")
R = TypeVar("R")


def bare(function: Any) -> Any:
    """Returns one of Ray's functions without the wrapper that connects by itself."""
    if function.__code__.co_name == "auto_init_wrapper":
        return function.__wrapped__
    return function


get: Callable[..., Any] = bare(ray.get)
put: Callable[..., Any] = bare(ray.put)
wait: Callable[..., Any] = bare(ray.wait)
#: Whether this Ray's worker reads as `read` expects: what a task raised is returned there.
_READS = "return_exceptions" in inspect.signature(ray._private.worker.Worker.get_objects).parameters
kill: Callable[..., Any] = bare(ray.kill)
cancel: Callable[..., Any] = bare(ray.cancel)
get_actor: Callable[..., Any] = bare(ray.get_actor)
context: Callable[..., Any] = bare(ray.get_runtime_context)
gpu_ids: Callable[..., Any] = bare(ray.get_gpu_ids)
_printing = threading.RLock()  # of what Ray gathers to print
_hearers = Hearers(ray._private.worker, "print_to_stdstream", _printing)


def read(natives: list[object], timeout: float | None) -> list[object]:
    """Returns the values of refs, as `get` does; where raynb can, by itself.

    Ray's function looks at each ref for kinds that ours are not, and tells Ray's timeline of every call. Of an object
    that was lost it logs the counters of this process's store, in 20 lines that say nothing of that object.
    """
    worker = ray._private.worker.global_worker
    values: list[object]
    if natives and _READS and worker.connected and _reads_itself():
        values, stop_at = worker.get_objects(natives, timeout, return_exceptions=True)
        for value in values:
            if isinstance(value, theirs.RayError):
                raise value.as_instanceof_cause() if isinstance(value, theirs.RayTaskError) else value
        if not stop_at:  # at a breakpoint of Ray's own debugger
            return values
    values = get(natives, timeout=timeout)
    return values


def _reads_itself() -> bool:
    """Returns whether `read` does without Ray's function: it warns in an async actor that is about to block."""
    worker = ray._private.worker.global_worker
    if worker.mode == ray.SCRIPT_MODE:
        return True
    return bool(worker.mode == ray.WORKER_MODE and not worker.core_worker.current_actor_is_asyncio())


#: The core's functions by which `ready` and `task` wait and submit, as this module knows them. Where Ray's have another
#: signature, Ray's own functions do all of it.
_WAIT = (
    "CoreWorker.wait(self, object_refs_or_generators, int num_returns, int64_t timeout_ms, bool fetch_local)"
)
_SUBMIT = (
    "CoreWorker.submit_task(self, Language language, FunctionDescriptor function_descriptor, args, string name, "
    "int num_returns, resources, int max_retries, bool retry_exceptions, retry_exception_allowlist, "
    "scheduling_strategy, string debugger_breakpoint, string serialized_runtime_env_info, "
    "int64_t generator_backpressure_num_objects, int64_t num_objects_per_yield, bool enable_task_events, labels, "
    "label_selector, fallback_strategy)"
)


def _is_core_function(name: str, signature: str) -> bool:
    """Returns whether a method of Ray's core has this signature: its docstring begins with that."""
    found = getattr(getattr(ray._raylet, "CoreWorker", None), name, None)
    return str(getattr(found, "__doc__", "") or "").split("\n", 1)[0] == signature


_WAITS, _SUBMITS = _is_core_function("wait", _WAIT), _is_core_function("submit_task", _SUBMIT)


def ready(natives: list[object], num_returns: int, timeout: float, fetch_local: bool) -> list[object]:
    """Returns those of distinct refs that are ready, as the first value of `wait`; in a driver without its looks at
    each ref, which take as long as the core's wait."""
    worker = ray._private.worker.global_worker
    if _WAITS and worker.connected and worker.mode == ray.SCRIPT_MODE:
        found: list[object] = worker.core_worker.wait(natives, num_returns, int(timeout * 1000), fetch_local)[0]
        return found
    found, _ = wait(natives, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local)
    return found


def is_here(native: object) -> bool:
    """Returns whether Ray's core in this process knows a ref; False through Ray Client."""
    return type(native) is ray.ObjectRef


def is_connected() -> bool:
    """Returns whether this process is connected to a cluster, as `ray.is_initialized` does in five calls more."""
    return bool(ray._private.worker.global_worker.connected or ray.is_initialized())


def remote(target: object, **options: object) -> Any:
    """Returns Ray's remote function or actor class for a function or class, which never connects by itself."""
    made = ray.remote(**options)(target) if options else ray.remote(target)
    made._remote = functools.partial(bare(type(made)._remote), made)
    return made


def interrupted_here(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates what waits inside Ray: a Ctrl-C comes out of it without the frames in there."""

    @functools.wraps(function)
    def made(*given: P.args, **named: P.kwargs) -> R:
        try:
            return function(*given, **named)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    return made


def call(handle: object, name: str, args: Sequence[object], options: dict[str, Any] | None = None) -> Any:
    """Calls a method of an actor's handle; returns what its ``remote`` returns."""
    method = getattr(handle, name)
    if isinstance(method, ActorMethod):
        return _call(method, args=args, **(options or {}))
    return (method.options(**options) if options else method).remote(*args)  # through Ray Client


_call: Callable[..., Any] = bare(ActorMethod._remote)
#: What `quick_call` was written for. Where Ray's function takes something else, Ray's function makes every call.
_CALL_PARAMETERS = (
    "self", "method_name", "args", "kwargs", "name", "num_returns", "max_task_retries", "retry_exceptions",
    "concurrency_group_name", "generator_backpressure_num_objects", "num_objects_per_yield", "enable_task_events",
    "tensor_transport", "labels",
)  # fmt: skip


#: A function of an actor's handle and arguments that calls one of its methods.
Call = Callable[[Any, Sequence[object]], Any]


@functools.cache
def _is_known() -> bool:
    taken = inspect.signature(ActorHandle._actor_method_call).parameters
    return tuple(taken) == _CALL_PARAMETERS and bool(DUMMY_TYPE)


def quick_call(handle: Any, name: str, options: dict[str, Any]) -> Call | None:
    """Returns a function of an actor's handle and arguments that calls one method, as `call` with these options does.

    Ray finds out anew for each call what is the same for all calls of a method, and matches our arguments with
    ``*args``: that takes as long as handing the call to its core does.

    Returns:
        None where only Ray itself can make the call. None of the arguments may be a ref.
    """
    unknown = options.keys() - {"name", "num_returns", "max_task_retries", "retry_exceptions", "concurrency_group"}
    if type(handle) is not ActorHandle or unknown or options.get("num_returns") != 1 or not _is_known():
        return None
    method = getattr(handle, name)
    if handle._ray_is_cross_language or method._decorator is not None or method._tensor_transport is not None:
        return None
    listed = options.get("retry_exceptions", method._retry_exceptions)
    allowed = tuple(listed) if isinstance(listed, (list, tuple)) else None
    retries = options.get("max_task_retries", method._max_task_retries) or 0
    limit = method._generator_backpressure_num_objects
    told = (
        options.get("name", ""), 1, retries, bool(listed), allowed, handle._ray_actor_method_cpus,
        options.get("concurrency_group", b""), -1 if limit is None else limit, method._num_objects_per_yield,
        method._enable_task_events, None, None,
    )  # fmt: skip
    descriptor, module = handle._ray_function_descriptor[name], ray._private.worker

    def made(handle: Any, args: Sequence[object]) -> object:
        flat: list[object] = []
        for arg in args:
            flat += (DUMMY_TYPE, arg)
        core = module.global_worker.core_worker
        try:
            return core.submit_actor_task(handle._ray_actor_language, handle._ray_actor_id, descriptor, flat, *told)[0]
        except TypeError:  # an argument that cannot be pickled, or this Ray takes something else after all
            return call(handle, name, args, options)

    return made


#: A function of arguments that submits a task; returns what Ray's ``remote`` returns.
Task = Callable[[Sequence[object]], object]
#: Options that say nothing about where in the cluster a task runs, nor in which environment.
_TASK_OPTIONS = frozenset(
    ("name", "num_returns", "max_retries", "retry_exceptions", "num_cpus", "num_gpus", "memory", "resources")
)


def task(function: Any, options: dict[str, object]) -> Task:
    """Returns a function that submits calls of a remote function of `remote`, as ``function.options(**options)`` does.

    Ray finds out anew for each call what is the same for all calls with these options. In a driver, which runs in no
    placement group and no task's environment, calls after the first hand the same to Ray's core; the first one exports
    the function.
    """
    usual, module = function.options(**options).remote, ray._private.worker
    if (
        not _SUBMITS or module.global_worker.mode != ray.SCRIPT_MODE or options.keys() - _TASK_OPTIONS
        or options.get("num_returns") != 1 or type(function) is not remote_function.RemoteFunction
        or function._is_cross_language or function._decorator is not None or is_traced()
    ):  # fmt: skip
        return lambda args: usual(*args)
    usually = {name: about.default_value for name, about in remote_function.ray_option_utils.task_options.items()}
    given = usually | function._default_options | options
    listed = given["retry_exceptions"]
    allowed = tuple(listed) if isinstance(listed, (list, tuple)) else None
    told = (
        given["name"] or "", 1, ray._common.utils.resources_from_ray_options(given), given["max_retries"], bool(listed),
        allowed, "DEFAULT", b"", function._serialized_base_runtime_env_info or "{}", -1, 1,
        given["enable_task_events"], None, None, None,
    )  # fmt: skip
    exported = False

    def made(args: Sequence[object]) -> object:
        nonlocal exported
        worker = module.global_worker
        if not exported or worker.debugger_breakpoint or remote_function._task_launch_hook is not None:
            found = usual(*args)
            exported = True
            return found
        flat: list[object] = []
        for arg in args:
            flat += (DUMMY_TYPE, arg)
        try:
            refs = worker.core_worker.submit_task(function._language, function._function_descriptor, flat, *told)
        except TypeError:  # an argument that cannot be pickled: Ray's function says which
            return usual(*args)
        return refs[0]

    return made


def hear_notices(say: Say) -> Callable[[], None]:
    """Has what Ray itself prints about its cluster, a page a notice, go through a function first.

    Args:
        say: called with a notice, on a thread of Ray's, see `raynb.engine.notices.Say`.

    Returns:
        a function that undoes it.
    """
    undo = _hearers.add(say)
    module = ray._private.worker
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return undo
    for held in (module.stdout_deduplicator, module.stderr_deduplicator):
        with contextlib.suppress(ValueError):  # it is not registered
            shell.events.unregister("post_execute", held.flush)
    show = functools.partial(show_held)  # one of its own: of two runtimes, the first to end would take the other's away
    shell.events.register("post_execute", show)  # in time for the cell that is about to end

    def end() -> None:
        undo()
        with contextlib.suppress(ValueError):  # somebody cleared the shell's events
            shell.events.unregister("post_execute", show)

    return end


def hear_core() -> None:
    """Has notices that Ray's core writes to this kernel's descriptor 2 heard as well; call it from time to time."""
    _hearers.listen(sys.stderr)


def show_held() -> None:
    """Prints what workers have printed and Ray holds back for seconds, because it looks like a line of another one.

    At the end of a cell Ray would throw it away.
    """
    module = ray._private.worker
    with _printing:
        batches = [(batch, sys.stdout) for batch in module.stdout_deduplicator.flush()]
        batches += [(batch, sys.stderr) for batch in module.stderr_deduplicator.flush()]
    for batch, sink in batches:
        try:
            module.print_worker_logs(batch, sink)
        except (OSError, ValueError) as error:  # nobody reads any more, or it is closed
            trace.swallowed("printing what Ray held back", error)


def is_traced() -> bool:
    """Returns whether Ray's tracing is on."""
    from ray.util.tracing.tracing_helper import _is_tracing_enabled

    return bool(_is_tracing_enabled())


def number_of(native: Any) -> int:
    """Returns the negative number that a worker gives to a task that was sent without a number."""
    return ~int.from_bytes(native.task_id().binary()[:8], "little")


def stored(natives: Sequence[object]) -> set[object]:
    """Returns those of this process's own refs whose values lie in the store of a node; none through Ray Client."""
    from ray.experimental import get_local_object_locations

    asked = [native for native in natives if type(native) is ray.ObjectRef]
    found = get_local_object_locations(asked) if asked else {}
    return {native for native, about in found.items() if about["node_ids"] or about.get("did_spill")}


def is_any_over(natives: Sequence[Any]) -> bool:
    """Returns whether a task of these refs has ended, as far as Ray can say now."""
    try:
        return bool(natives and wait(natives, num_returns=1, timeout=0, fetch_local=False)[0])
    except ray.exceptions.RayError:
        return False  # a node dies


def hex_of(native: Any) -> str:
    """Returns the id that our ref of one of Ray's shows: Ray's; "" through Ray Client, where it is raynb's own."""
    return str(native.hex()) if type(native) is ray.ObjectRef else ""


def number_here() -> int:
    """Returns the same of the task that runs here."""
    return ~int.from_bytes(ray._private.worker.global_worker.core_worker.get_current_task_id().binary()[:8], "little")


def is_session(before: object) -> bool:
    """Returns whether this process is connected to a cluster, and is so since `session` returned ``before``."""
    worker = ray._private.worker.global_worker
    if worker.connected and before is not None and getattr(worker, "node", None) is before:
        return True
    return is_connected() and session() is before


def session() -> Any:
    """Returns what the connection of this process is, to compare: another one after each `ray.init`."""
    worker = ray._private.worker.global_worker
    return getattr(worker, "node", None) or getattr(worker, "worker_id", None)


__all__ = [
    "bare", "call", "cancel", "context", "get", "get_actor", "gpu_ids", "hear_core", "hear_notices", "hex_of",
    "interrupted_here", "is_connected", "is_here", "is_session", "is_traced", "kill", "number_here", "number_of", "put",
    "quick_call", "read", "ready", "remote", "session", "show_held", "stored", "task", "wait",
]  # fmt: skip
