"""Dask's graphs on raynb's workers (``ray.util.dask``): arrays, data frames, bags, delayed.

    from raynb.util.dask import enable_dask_on_ray
    enable_dask_on_ray()
    frame.groupby("key").value.mean().compute()

Every task of the graph is a remote call; what it depends on are refs, so intermediate results stay in the
object store and are freed when their last reader has them. ``persist`` leaves its results there.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from raynb import api as ray
from raynb.base.sizes import size_of
from raynb.util._private import private

#: Values in a graph of at least so many bytes are put once instead of travelling with each task.
PUT_BYTES = 100_000


@ray.remote
def _run(node: Any, names: tuple[Hashable, ...], own: bool, *values: Any) -> Any:
    _resolve(node)
    result = node(dict(zip(names, values, strict=True)))
    if str(type(result).__module__).partition(".")[0] != "partd":
        return private(result) if own else result
    # A shuffle on disk: the store that made the folder empties it when it goes, which may be after other tasks have
    # written there. What is unpickled does not; so the first one goes before anybody has the other.
    travels = pickle.dumps(result)
    del result
    # partd removes the folder when the process ends that made it, which may be before others read: the caller does it.
    from partd.file import cleanup_files

    cleanup_files.clear()
    return pickle.loads(travels)


def _resolve(part: object) -> None:
    """Puts values in the place of refs inside a node: Dask fuses persisted results into the nodes that read them."""
    from dask._task_spec import DataNode, Task

    inner: Iterable[object] = ()
    if isinstance(part, DataNode):
        if isinstance(part.value, ray.ObjectRef):
            part.value = ray.get(part.value)
    elif isinstance(part, Task):
        inner = (*part.args, *part.kwargs.values())
    elif isinstance(part, dict):
        inner = part.values()
    elif isinstance(part, (list, tuple)):
        inner = part
    for one in inner:
        _resolve(one)


def ray_dask_get(dsk: Mapping[Any, Any], keys: Any, **kwargs: Any) -> Any:
    """Computes keys of a Dask graph: a Dask scheduler, for ``scheduler=ray_dask_get``.

    Args:
        dsk: the graph.
        keys: a key, or nested lists of keys.
        **kwargs: ``ray_persist=True`` returns refs instead of values; ``ray_remote_args`` are options of every
            task, as ``dask.annotate(ray_remote_args=...)`` gives them to some. Others are Dask's own and ignored.

    Returns:
        The results, nested as the keys are. They are the caller's own and may be written to.

    Raises:
        Exception: what a task raised, as its own type.
    """
    persist = bool(kwargs.get("ray_persist"))
    stores: list[ray.ObjectRef[object]] = []
    refs = _submit(dsk, list(_flat(keys)), kwargs.get("ray_remote_args") or {}, persist, stores)
    if persist:
        kept = {key: value if isinstance(value, ray.ObjectRef) else ray.put(value) for key, value in refs.items()}
        return _nested(keys, kept)
    waited = {key: value for key, value in refs.items() if isinstance(value, ray.ObjectRef)}
    try:
        values = dict(zip(waited, ray.get(list(waited.values())), strict=True))
    finally:
        for store in ray.get(ray.wait(stores, num_returns=len(stores), timeout=0)[0]) if stores else ():
            _remove(store)
    return _nested(keys, {**refs, **values})


def ray_dask_get_sync(dsk: Mapping[Any, Any], keys: Any, **kwargs: Any) -> Any:
    """The same as `ray_dask_get`: submitting does not block, so there is nothing to thread (Ray's second name)."""
    return ray_dask_get(dsk, keys, **kwargs)


def _submit(
    dsk: Mapping[Any, Any], wanted: list[Any], options: dict[str, Any], persist: bool,
    stores: list[ray.ObjectRef[object]],
) -> dict[Any, Any]:  # fmt: skip
    """Submits what the wanted keys need, in order; returns key → ref or plain value of the wanted ones."""
    from dask import order
    from dask._task_spec import Alias, DataNode, convert_legacy_graph, cull

    if hasattr(dsk, "__dask_graph__"):  # an expression, in newer Dasks
        dsk = dsk.__dask_graph__()
    annotated = _annotations(dsk)
    graph = cull(convert_legacy_graph(dict(dsk)), wanted)
    readers: dict[Any, int] = {}
    for node in graph.values():
        for key in node.dependencies:
            readers[key] = readers.get(key, 0) + 1
    keep = set(wanted)
    made: dict[Any, Any] = {}
    given_values: dict[Hashable, object] = {}
    own: set[Hashable] = set() if persist else {_behind(graph, key) for key in wanted}
    place = order.order(graph)
    for key in sorted(graph, key=place.__getitem__):
        node = graph[key]
        names = tuple(node.dependencies)
        if isinstance(node, Alias):
            made[key] = made[node.target]
            if node.target in given_values:
                given_values[key] = given_values[node.target]
        elif isinstance(node, DataNode):
            value = given_values[key] = node.value
            large = not isinstance(value, ray.ObjectRef) and size_of(value) >= PUT_BYTES
            made[key] = ray.put(value) if large else value
        else:
            given = {**options, **annotated.get(key, {})}
            task = _run.options(name=_name(key), **given)
            made[key] = task.remote(node, names, key in own, *(made[name] for name in names))
            if _name(key) in _STORES:
                stores.append(made[key])
        for name in names:
            readers[name] -= 1
            if not readers[name] and name not in keep:
                del made[name]  # its readers hold it from here on
    if persist:
        return {key: made[key] for key in wanted}
    return {key: given_values[key] if key in given_values else made[key] for key in wanted}


#: What Dask calls the folder that a shuffle on disk writes to, of bags and of frames.
_STORES = frozenset(("partd", "zpartd"))


def _remove(store: object) -> None:
    """Removes the folder of a shuffle that is over."""
    while (inner := getattr(store, "partd", None)) is not None:
        store = inner
    path = getattr(store, "path", None)
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def _behind(graph: Mapping[Hashable, object], key: Hashable) -> Hashable:
    """Returns the key that a key is another name of."""
    from dask._task_spec import Alias

    while isinstance(node := graph.get(key), Alias):
        key = node.target
    return key


def _annotations(dsk: Mapping[Any, Any]) -> dict[Any, dict[str, Any]]:
    """Returns key → options, of the layers that ``dask.annotate(ray_remote_args=...)`` marks."""
    found: dict[Any, dict[str, Any]] = {}
    for layer in getattr(dsk, "layers", {}).values():
        given = (layer.annotations or {}).get("ray_remote_args")
        if given:
            found.update(dict.fromkeys(layer, given))
    return found


def _name(key: Any) -> str:
    """Returns what views call a task: the key without Dask's token."""
    text = str(key[0] if isinstance(key, tuple) else key)
    head, _, token = text.rpartition("-")
    return head if head and len(token) >= 8 else text


def _flat(keys: Any) -> Iterator[Any]:
    if isinstance(keys, list):
        for key in keys:
            yield from _flat(key)
    else:
        yield keys


def _nested(keys: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(keys, list):
        return tuple(_nested(key, values) for key in keys)
    return values[keys]


class _Enabled:
    """What `enable_dask_on_ray` returns: in force at once; as a ``with`` statement it ends with the block."""

    def __init__(self, shuffle: str | None) -> None:
        import dask
        from dask.base import DaskMethodsMixin

        settings: dict[str, Any] = {"scheduler": ray_dask_get}
        if shuffle is not None:
            settings["dataframe.shuffle.method"] = shuffle  # bags look there, too
        self._config = dask.config.set(settings)
        self._persist, self._method = dask.persist, DaskMethodsMixin.persist
        persist, method = self._persist, self._method

        def persist_refs(*args: Any, **kwargs: Any) -> Any:
            return persist(*args, **{"ray_persist": True, **kwargs})

        def persist_method(collection: Any, **kwargs: Any) -> Any:
            return method(collection, **{"ray_persist": True, **kwargs})

        dask.persist = dask.base.persist = persist_refs
        DaskMethodsMixin.persist = persist_method

    def undo(self) -> None:
        """Restores what `enable_dask_on_ray` replaced."""
        import dask
        from dask.base import DaskMethodsMixin

        dask.persist = dask.base.persist = self._persist
        DaskMethodsMixin.persist = self._method
        self._config.__exit__(None, None, None)

    def __enter__(self) -> _Enabled:
        return self

    def __exit__(self, *exc: object) -> None:
        disable_dask_on_ray()


_enabled: _Enabled | None = None


def enable_dask_on_ray(shuffle: str | None = "tasks", use_shuffle_optimization: bool = True) -> _Enabled:
    """Makes raynb Dask's scheduler, until `disable_dask_on_ray` or the end of a ``with`` block.

    ``persist`` then leaves its results in the object store, as refs.

    Args:
        shuffle: how Dask shuffles frames and bags: ``"tasks"``, ``"disk"``, or None for Dask's own choice.
        use_shuffle_optimization: accepted for Ray's sake.

    Example:
        >>> from raynb.util.dask import enable_dask_on_ray
        >>> import dask
        >>> with enable_dask_on_ray():
        ...     dask.delayed(sum)([1, 2]).compute()
        3
    """
    global _enabled
    if _enabled is None:
        _enabled = _Enabled(shuffle)
    return _enabled


def disable_dask_on_ray() -> None:
    """Gives Dask its own schedulers back."""
    global _enabled
    if _enabled is not None:
        _enabled.undo()
        _enabled = None


__all__ = ["disable_dask_on_ray", "enable_dask_on_ray", "ray_dask_get", "ray_dask_get_sync"]
