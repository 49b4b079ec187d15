"""Dask's graphs on raynb's workers (``ray.util.dask``): arrays, data frames, bags, delayed.

    from raynb.util.dask import enable_dask_on_ray
    enable_dask_on_ray()
    frame.groupby("key").value.mean().compute()

Every task of the graph is a remote call; what it depends on are refs, so intermediate results stay in the
object store and are freed when their last reader has them. ``persist`` leaves its results there.
"""

from __future__ import annotations

import atexit
import logging
import pickle
import shutil
import sys
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from raynb import api as ray
from raynb.base.process import trace
from raynb.base.sizes import size_of
from raynb.util._private import private

#: Values in a graph of at least so many bytes are put once instead of travelling with each task.
PUT_BYTES = 100_000


@ray.remote
def _run(node: Any, names: tuple[Hashable, ...], own: bool, *values: Any) -> Any:
    result, _ = _computed(node, names, values)
    return private(result) if own and not _is_store(result) else result


@ray.remote
def _run_store(node: Any, names: tuple[Hashable, ...], *values: Any) -> tuple[Any, str | None]:
    """The same for a task that may make the store of a shuffle on disk; returns the folder made for it, too."""
    return _computed(node, names, values)


def _computed(node: Any, names: tuple[Hashable, ...], values: tuple[Any, ...]) -> tuple[Any, str | None]:
    """Returns (the result, the folder that partd made for it, which is the caller's to remove)."""
    _resolve(node)
    result = node(dict(zip(names, values, strict=True)))
    path = _path(result) if _is_store(result) else None
    partd = sys.modules.get("partd.file")
    if path is None or partd is None or path not in partd.cleanup_files:  # the user's own folder stays
        return result, None
    # partd removes the folder when the process ends that made it, which may be before others read.
    partd.cleanup_files.remove(path)
    # The store that made the folder empties it when it goes, which may be after other tasks have written there. What
    # is unpickled does not; so the first one goes before anybody has the other.
    travels = pickle.dumps(result)
    del result
    return pickle.loads(travels), path


def _is_store(value: object) -> bool:
    return str(type(value).__module__).partition(".")[0] == "partd"


def _path(store: object) -> str | None:
    """Returns the folder that a store writes to."""
    while (inner := getattr(store, "partd", None)) is not None:
        store = inner
    path = getattr(store, "path", None)
    return path if isinstance(path, str) else None


def _resolve(part: object) -> None:
    """Puts values in the place of refs inside a node: Dask fuses persisted results into the nodes that read them."""
    from dask._task_spec import DataNode, Task

    inner: Iterable[object] = ()
    if isinstance(part, DataNode):
        if isinstance(part.value, ray.ObjectRef):
            part.value = ray.get(part.value)
    elif isinstance(part, Task):
        # A ref that the user has given to a delayed function arrives as its value, as that of a remote function.
        part.args = tuple(ray.get(one) if isinstance(one, ray.ObjectRef) else one for one in part.args)
        part.kwargs = {
            name: ray.get(one) if isinstance(one, ray.ObjectRef) else one for name, one in part.kwargs.items()
        }
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

    Example:
        >>> import dask
        >>> from raynb.util.dask import ray_dask_get
        >>> dask.delayed(sum)([1, 2]).compute(scheduler=ray_dask_get)
        3
    """
    persist = bool(kwargs.get("ray_persist"))
    folders: list[ray.ObjectRef[str | None]] = []
    refs = _submit(dsk, list(_flat(keys)), kwargs.get("ray_remote_args") or {}, persist, folders)
    if persist:
        kept = {key: value if isinstance(value, ray.ObjectRef) else ray.put(value) for key, value in refs.items()}
        if folders:
            waits = (list(dict.fromkeys(kept.values())), folders)
            threading.Thread(target=_remove_after, args=waits, name="raynb-dask", daemon=True).start()
        return _nested(keys, kept)
    waited = {key: value for key, value in refs.items() if isinstance(value, ray.ObjectRef)}
    try:
        values = dict(zip(waited, ray.get(list(waited.values())), strict=True))
    finally:
        _remove_now(folders)
    return _nested(keys, {**refs, **values})


def ray_dask_get_sync(dsk: Mapping[Any, Any], keys: Any, **kwargs: Any) -> Any:
    """The same as `ray_dask_get`: submitting does not block, so there is nothing to thread (Ray's second name).

    Args:
        dsk: the graph.
        keys: a key, or nested lists of keys.
        **kwargs: as of `ray_dask_get`.

    Returns:
        The results, nested as the keys are.

    Example:
        >>> import dask
        >>> from raynb.util.dask import ray_dask_get_sync
        >>> dask.delayed(max)([1, 2]).compute(scheduler=ray_dask_get_sync)
        2
    """
    return ray_dask_get(dsk, keys, **kwargs)


def _submit(
    dsk: Mapping[Any, Any], wanted: list[Any], options: dict[str, Any], persist: bool,
    folders: list[ray.ObjectRef[str | None]],
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
    results = {_behind(graph, key) for key in wanted}
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
            values = [made[name] for name in names]
            if _name(key) in _STORES and key not in results:
                task = _run_store.options(name=_name(key), **{**given, "num_returns": 2})
                made[key], folder = task.remote(node, names, *values)
                folders.append(folder)
            else:
                task = _run.options(name=_name(key), **given)
                made[key] = task.remote(node, names, key in results and not persist, *values)
        for name in names:
            readers[name] -= 1
            if not readers[name] and name not in keep:
                del made[name]  # its readers hold it from here on
    if persist:
        return {key: made[key] for key in wanted}
    return {key: given_values[key] if key in given_values else made[key] for key in wanted}


#: What Dask calls the folder that a shuffle on disk writes to, of bags and of frames.
_STORES = frozenset(("partd", "zpartd"))


#: Folders of shuffles whose results, which are kept, are still on their way.
_open: set[str] = set()


def _paths(folders: Iterable[ray.ObjectRef[str | None]]) -> Iterator[str]:
    """Yields the folders that were made; a store that could not be made has none."""
    for folder in folders:
        try:
            path = ray.get(folder)
        except Exception as error:
            trace.swallowed("the store of a shuffle on disk was not made", error, logging.DEBUG)
        else:
            if path is not None:
                yield path


def _remove_now(folders: list[ray.ObjectRef[str | None]]) -> None:
    """Removes the folders of shuffles that are over; the caller raises what went wrong before."""
    try:
        for path in _paths(ray.wait(folders, num_returns=len(folders), timeout=0)[0]) if folders else ():
            shutil.rmtree(path, ignore_errors=True)
    except Exception as error:
        trace.swallowed("removing the folders of shuffles on disk", error, logging.DEBUG)


def _remove_after(kept: list[ray.ObjectRef[object]], folders: list[ray.ObjectRef[str | None]]) -> None:
    """Removes the folders of shuffles when what is kept is there, or can come no more: a thread's target."""
    paths: list[str] = []
    try:
        for path in _paths(folders):
            paths.append(path)
            _open.add(path)
        ray.wait(kept, num_returns=len(kept))
    except Exception as error:
        trace.swallowed("waiting for the end of shuffles on disk", error, logging.DEBUG)
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        _open.discard(path)


@atexit.register
def _remove_open() -> None:
    for path in list(_open):
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
    """The result of `enable_dask_on_ray`: in force at once; as a ``with`` statement it ends with the block."""

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

    Returns:
        A context manager whose end is `disable_dask_on_ray`.

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
    """Gives Dask its own schedulers back.

    Example:
        >>> from raynb.util.dask import disable_dask_on_ray
        >>> disable_dask_on_ray()
    """
    global _enabled
    if _enabled is not None:
        _enabled.undo()
        _enabled = None


__all__ = ["disable_dask_on_ray", "enable_dask_on_ray", "ray_dask_get", "ray_dask_get_sync"]
