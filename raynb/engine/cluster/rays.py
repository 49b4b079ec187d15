"""Ray's calls as this engine uses them: none of them ever starts a Ray.

Ray's own functions call ``ray.init()`` when the process is not connected. A thread of ours, or an exit handler
that runs after Ray's, must get an error then and not another cluster: so Ray's wrapper is taken off.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.actor import ActorMethod

from raynb.base.process import trace
from raynb.engine.notices import Hearers, Say


def bare(function: Any) -> Any:
    """Returns one of Ray's functions without the wrapper that connects by itself."""
    if function.__code__.co_name == "auto_init_wrapper":
        return function.__wrapped__
    return function


get: Callable[..., Any] = bare(ray.get)
put: Callable[..., Any] = bare(ray.put)
wait: Callable[..., Any] = bare(ray.wait)
kill: Callable[..., Any] = bare(ray.kill)
cancel: Callable[..., Any] = bare(ray.cancel)
get_actor: Callable[..., Any] = bare(ray.get_actor)
context: Callable[..., Any] = bare(ray.get_runtime_context)
gpu_ids: Callable[..., Any] = bare(ray.get_gpu_ids)
_printing = threading.RLock()  # of what Ray gathers to print
_hearers = Hearers(ray._private.worker, "print_to_stdstream", _printing)


def is_connected() -> bool:
    """Returns whether this process is connected to a cluster, as `ray.is_initialized` does in five calls more."""
    return bool(ray._private.worker.global_worker.connected or ray.is_initialized())


def remote(target: object, **options: object) -> Any:
    """Returns Ray's remote function or actor class for a function or class, which never connects by itself."""
    made = ray.remote(**options)(target) if options else ray.remote(target)
    made._remote = functools.partial(bare(type(made)._remote), made)
    return made


def call(handle: object, name: str, args: Sequence[object], options: dict[str, Any] | None = None) -> Any:
    """Calls a method of an actor's handle; returns what its ``remote`` returns."""
    method = getattr(handle, name)
    if isinstance(method, ActorMethod):
        return _call(method, args=args, **(options or {}))
    return (method.options(**options) if options else method).remote(*args)  # through Ray Client


_call: Callable[..., Any] = bare(ActorMethod._remote)


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


def hex_of(native: Any) -> str:
    """Returns the id that our ref of one of Ray's shows: Ray's; "" through Ray Client, where it is raynb's own."""
    return str(native.hex()) if type(native) is ray.ObjectRef else ""


def number_here() -> int:
    """Returns the same of the task that runs here."""
    return ~int.from_bytes(ray._private.worker.global_worker.core_worker.get_current_task_id().binary()[:8], "little")


def session() -> Any:
    """Returns what the connection of this process is, to compare: another one after each `ray.init`."""
    worker = ray._private.worker.global_worker
    return getattr(worker, "node", None) or getattr(worker, "worker_id", None)


__all__ = [
    "bare", "call", "cancel", "context", "get", "get_actor", "gpu_ids", "hear_notices", "hex_of", "is_connected",
    "is_traced", "kill", "number_here", "number_of", "put", "remote", "session", "show_held", "stored", "wait",
]  # fmt: skip
