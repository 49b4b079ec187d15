"""The functions of Ray Core: `remote get put wait cancel kill` and kin."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from operator import attrgetter, index
from typing import Any

from raynb.api import measured
from raynb.api import options as o
from raynb.api.actor import ActorClass, ActorHandle
from raynb.api.checks.option_texts import OPTION_TEXTS
from raynb.api.checks.runtimes import check_runtime
from raynb.api.checks.signature import with_keywords
from raynb.api.remote_function import RemoteFunction
from raynb.base import unshown
from raynb.base.engine import current
from raynb.base.ids import ACTOR_BIT, task_of
from raynb.base.process import stale
from raynb.base.ref import ObjectRef, ObjectRefGenerator, foreign, foreign_handles, is_ref, ours
from raynb.base.spec import plain
from raynb.serde import pickling

_id_of = attrgetter("_id")
#: The list that the last `wait` left over: its identity, length, first and last object. In a loop over what is
#: left it comes back as it is; looking through it each time would make the loop quadratic.
_left_over: tuple[int, int, int, int] = (0, 0, 0, 0)
#: Lists up to this length are looked through each time.
_SHORT_LIST_ITEMS = 16
#: The list that the last `wait` was given: its identity, length, first two and last two objects. In a loop that takes
#: what is ready out of it, it comes back shorter.
_given: tuple[int, int, tuple[int, ...], tuple[int, ...]] = (0, 0, (), ())


def remote(*args: Any, **options: Any) -> Any:
    """Makes a function remote, or a class an actor class (``ray.remote``): bare, or with options.

    Args:
        *args: the function or class itself, where the decorator is bare.
        **options: the keywords that the reference describes under Options.

    Returns:
        A `RemoteFunction` or an `ActorClass`; with options, a decorator that makes one.

    Raises:
        TypeError: not a function or class, or one that is remote already.
        ValueError: an option that doesn't exist, or a bad value; the text names it.

    Example:
        >>> @ray.remote(num_cpus=1)
        ... def square(x):
        ...     return x * x
        >>> ray.get(square.remote(3))
        9
    """
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    if args or not options:
        raise TypeError(
            "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example "
            "'@ray.remote', or it must be applied using some of the arguments in the list of options, for example "
            "'@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
        )
    # Options are checked now, so that the error is where the mistake is.
    known = {n: v for n, v in options.items() if n in o.OPTIONS}
    if len(known) != len(options):
        o.check(options, o.TASK if not any(o.OPTIONS[n].where == o.ACTOR for n in known) else o.ACTOR)
    return lambda target: _make(target, options)


with_keywords(remote, o.keywords(o.TASK | o.ACTOR), OPTION_TEXTS)


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, (RemoteFunction, ActorClass)):
        raise TypeError(f"{target!r} is remote already; apply @ray.remote once.")
    if inspect.isclass(target):
        return ActorClass(target, options)
    if inspect.isfunction(target) or inspect.isbuiltin(target) or callable(target):
        return RemoteFunction(target, options)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")


def get(object_refs: Any, *, timeout: float | None = None, _use_object_store: bool = False) -> Any:
    """Waits for values and returns them (``ray.get``).

    Args:
        object_refs: one ref, or a list of refs.
        timeout: seconds; None: as long as it takes; 0: what is there now.

    Returns:
        The value, or a list of values in the order of the refs. Arrays in them are views of shared memory, read-only.

    Raises:
        GetTimeoutError: not all were ready in time.
        RayTaskError: a task raised; it is also an instance of what the task raised.
        TypeError, ValueError: something that isn't a ref.

    Example:
        >>> ray.get([ray.put(1), ray.put(2)])
        [1, 2]
    """
    if foreign:
        object_refs = _ours_in(object_refs)
    if isinstance(object_refs, ObjectRef):
        return _values((object_refs,), timeout)[0]
    if isinstance(object_refs, ObjectRefGenerator):
        return object_refs
    if not isinstance(object_refs, list):
        raise ValueError(
            f"Invalid type of object refs, {type(object_refs)}, is given. "
            "'object_refs' must either be an ObjectRef or a list of ObjectRefs. "
        )
    # The types first: looking at each ref makes "10,000 tasks" 0.5 % slower.
    if not all(issubclass(kind, ObjectRef) for kind in set(map(type, object_refs))):
        for ref in object_refs:
            if not isinstance(ref, ObjectRef):
                raise TypeError(
                    f"Attempting to call `get` on the value {ref!r}, which is not an ray.ObjectRef."
                )
    if not object_refs:
        return []
    return _values(object_refs, timeout)


def _values(refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
    if stale.known:
        stale.warn(refs)
    if timeout is not None and timeout != timeout:
        raise ValueError("The 'timeout' argument must be a number of seconds, not NaN.")
    try:
        return refs[0]._engine.get(refs, timeout)
    finally:
        if unshown.pending:  # what the tasks printed stands before what the caller prints next
            unshown.show([ref._id for ref in refs])


def _ours_in(refs: Any) -> Any:
    """Returns a ref, or a list of refs, with those of plain Ray replaced by raynb's."""
    if not isinstance(refs, list):
        return ours(refs)
    return refs if foreign.keys().isdisjoint(map(type, refs)) else [ours(ref) for ref in refs]


def put(value: Any, *, _owner: Any = None, _tensor_transport: Any = None) -> ObjectRef[Any]:
    """Stores a value; returns its ref (``ray.put``).

    Args:
        value: anything that can be pickled, but no ref.

    Raises:
        TypeError: a ref, or a value that cannot be pickled; the text names it.
        ObjectStoreFullError: it can never fit.

    Example:
        >>> ray.get(ray.put("text"))
        'text'
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can "
            "wrap the ray.ObjectRef in a list and call 'put' on it."
        )
    try:
        packed = pickling.pack(value)
    except MemoryError:
        raise
    except Exception as error:
        if pickling.struck(value, error):
            raise
        if pickling.is_too_deep(error):
            raise TypeError(f"Could not serialize the put value of type {type(value)}: nested too deeply") from None
        path = pickling._culprit(value, "the put value")
        raise TypeError(f"Could not serialize {path} (of type {type(value).__qualname__}): {error}") from error
    engine = current()
    ref = engine.put(packed)
    if packed.began:
        measured.stored((value,), packed.began)
    return ref


def _are_distinct(refs: Sequence[Any], ids: list[int]) -> bool:
    kinds = set(map(type, refs))
    return all(issubclass(kind, ObjectRef) for kind in kinds) and len(set(ids)) == len(ids)


def wait(
    ray_waitables: Any,
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Waits until ``num_returns`` refs are ready, or ``timeout`` seconds are over (``ray.wait``).

    Args:
        ray_waitables: a list of distinct refs or generators. A generator is ready when its next item is.
        num_returns: how many to wait for.
        timeout: seconds; None: as long as it takes; 0: what is ready now.
        fetch_local: False: on a cluster, an object is ready as soon as any node has it.

    Returns:
        (ready, not ready), each in the order given; at most ``num_returns`` are ready.

    Raises:
        TypeError: not a list of refs.
        ValueError: a ref occurs twice, or ``num_returns`` or ``timeout`` is out of range.
        RuntimeGoneError: a ref belongs to another runtime.

    Example:
        >>> ready, pending = ray.wait([ray.put(1), ray.put(2)], num_returns=2)
    """
    if isinstance(ray_waitables, ObjectRef):
        raise TypeError("wait() expected a list of ray.ObjectRef, got a single ray.ObjectRef")
    if not isinstance(ray_waitables, list):
        raise TypeError(
            f"wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got {type(ray_waitables)}"
        )
    if type(num_returns) is not int:
        num_returns = index(num_returns)  # a number of numpy's does not travel to the driver
    refs: Sequence[Any] = ray_waitables
    if _is_left_over(refs) and (timeout is None or timeout >= 0) and 0 < num_returns <= len(refs):
        return _wait_distinct(refs, num_returns, timeout, fetch_local)
    refs = _ours_in(refs) if foreign else refs
    try:
        ids = list(map(_id_of, refs))
    except AttributeError:  # a generator, or something that is no ref
        pass
    else:
        if (timeout is None or timeout >= 0) and 0 < num_returns <= len(ids) and _are_distinct(refs, ids):
            check_runtime(refs)
            return _wait_distinct(refs, num_returns, timeout, fetch_local)
    return _wait_checked(refs, num_returns, timeout, fetch_local)


def _wait_checked(
    refs: Sequence[object], num_returns: int, timeout: float | None, fetch_local: bool
) -> tuple[list[object], list[object]]:
    """Looks at everything that may be wrong, and waits; takes generators."""
    for ref in refs:
        if not isinstance(ref, (ObjectRef, ObjectRefGenerator)):
            raise TypeError(
                f"wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got list containing {type(ref)}"
            )
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    if not refs:
        return [], []
    if len(set(refs)) != len(refs):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(refs):
        raise ValueError("num_returns cannot be greater than the number of ray_waitables provided to ray.wait.")
    check_runtime(refs)  # refs of two runtimes may have one number
    if any(isinstance(ref, ObjectRefGenerator) for ref in refs):
        from raynb.api.streams import wait_mixed

        return wait_mixed(refs, num_returns, timeout, fetch_local)
    return _wait_on(refs, num_returns, timeout, fetch_local)


def _wait_on(
    refs: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
) -> tuple[list[Any], list[Any]]:
    if stale.known and len(refs) <= stale.MAX_REFS_BEFORE_WAIT:
        stale.warn(refs)
    ready, rest = refs[0]._engine.wait(refs, num_returns, timeout, fetch_local)
    if stale.known:
        stale.warn(ready)
    if unshown.pending:
        unshown.show([ref._id for ref in ready])
    return ready, rest


def _wait_distinct(
    refs: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
) -> tuple[list[Any], list[Any]]:
    global _given, _left_over
    if len(refs) > _SHORT_LIST_ITEMS:
        _given = (id(refs), len(refs), (refs[0]._id, refs[1]._id), (refs[-1]._id, refs[-2]._id))
    ready, rest = _wait_on(refs, num_returns, timeout, fetch_local)
    if rest:
        _left_over = (id(rest), len(rest), rest[0]._id, rest[-1]._id)
    return ready, rest


def _is_left_over(refs: Sequence[Any]) -> bool:
    """Returns whether a list is what the last `wait` left over. A list changed in the middle is taken for it,
    too: what is no ref there is found when it is looked at."""
    identity, length, first, last = _left_over
    if id(refs) == identity:
        return len(refs) == length and is_ref(refs[0]) and is_ref(refs[-1]) \
            and refs[0]._id == first and refs[-1]._id == last  # fmt: skip
    identity, length, firsts, lasts = _given
    return id(refs) == identity and _SHORT_LIST_ITEMS < len(refs) < length and is_ref(refs[0]) and is_ref(refs[-1]) \
        and refs[0]._id in firsts and refs[-1]._id in lasts  # fmt: skip


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancels a task (``ray.cancel``): queued, or running (by ``KeyboardInterrupt`` inside it).

    Args:
        ray_waitable: a ref of the task, or its generator.
        force: kill the worker that runs it.
        recursive: also the tasks that it submitted.

    Raises:
        TypeError: not a ref, such as an actor's handle (see `kill`).
        ValueError: ``force`` on an actor's method.

    Example:
        >>> import time
        >>> ref = ray.remote(time.sleep).remote(60)
        >>> ray.cancel(ref)
        >>> try:
        ...     ray.get(ref)
        ... except ray.exceptions.TaskCancelledError:
        ...     print("cancelled")
        cancelled
    """
    ray_waitable = ours(ray_waitable)
    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if not isinstance(ray_waitable, ObjectRef):
        raise TypeError(f"ray.cancel() only supported for object refs. For actor handles, got: {type(ray_waitable)}.")
    engine = ray_waitable._engine
    if force and task_of(ray_waitable._id) & ACTOR_BIT:
        raise ValueError("force=True is not supported for actor tasks.")
    engine.cancel(ray_waitable, bool(force), bool(recursive))


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """Kills an actor at once (``ray.kill``); ``atexit`` handlers don't run.

    Args:
        actor: its handle.
        no_restart: False: ``max_restarts`` may bring it back.

    Raises:
        ValueError: not an actor's handle.

    Example:
        >>> actor = ray.remote(type("Idle", (), {})).remote()
        >>> ray.kill(actor)
    """
    adopt = foreign_handles.get(type(actor))
    if adopt is not None:
        actor = ActorHandle(*adopt(actor))
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}.")
    actor._ray_ref._engine.kill(actor._ray_spec.actor_id, bool(no_restart))


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """Returns a handle of a named actor (``ray.get_actor``). It doesn't keep the actor alive: that is for the
    handles of whoever made it, or for ``lifetime="detached"``.

    Args:
        name: the ``name=`` that the actor was made with.
        namespace: where to look for it; None: the caller's own namespace.

    Raises:
        ValueError: no live actor has that name in the namespace, or it is empty or None.
        TypeError: the name or the namespace is no string.

    Example:
        >>> Named = ray.remote(type("Named", (), {"who": lambda self: "me"}))
        >>> kept = Named.options(name="doc example").remote()
        >>> ray.get(ray.get_actor("doc example").who.remote())
        'me'
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if not isinstance(namespace, (str, type(None))):
        raise TypeError(f"namespace must be None or a string, got {namespace!r}.")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    ref, spec = current().actor_named(plain(name), plain(namespace or ""))
    return ActorHandle(ref, spec)


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Returns the names of live named actors (``ray.util.list_named_actors``).

    Args:
        all_namespaces: those of every namespace, as dicts of ``namespace`` and ``name``.
    """
    engine = current()
    if all_namespaces:
        return [{"namespace": space, "name": name} for space, name in engine.actor_names(None)]
    return [name for _, name in engine.actor_names(engine.context().namespace)]


def free(object_refs: Any, local_only: bool = False) -> None:
    """Frees values although refs exist (``ray.internal.free``); asking for them is an `ObjectFreedError`.

    Args:
        object_refs: a ref, or several.
        local_only: accepted for Ray's sake.

    Raises:
        TypeError: one is not a ref.

    Example:
        >>> ref = ray.put(b"bytes")
        >>> ray.free(ref)
        >>> try:
        ...     ray.get(ref)
        ... except ray.exceptions.ObjectFreedError:
        ...     print("gone")
        gone
    """
    refs = [object_refs] if isinstance(object_refs, ObjectRef) else list(object_refs)
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"Attempting to call `free` on the value {ref!r}, which is not an ray.ObjectRef.")
    if refs:
        refs[0]._engine.free(refs)


def get_gpu_ids() -> list[Any]:
    """Returns the GPUs that the running task was given (``ray.get_gpu_ids``).

    Numbers; strings out of ``CUDA_VISIBLE_DEVICES`` if that was set when the runtime started.

    Example:
        >>> ray.get_gpu_ids()
        []
    """
    return list(current().context().gpu_ids)


def show_in_dashboard(message: str, key: str = "", dtype: str = "text") -> None:
    """Accepted for Ray programs; the message goes to the task's output.

    Args:
        message: what to print.
        key: accepted for Ray's sake.
        dtype: accepted for Ray's sake.

    Example:
        >>> ray.get(ray.remote(lambda: ray.show_in_dashboard("half done")).remote())
    """
    print(message)
