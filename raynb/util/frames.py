"""Data frames in parallel: ``apply``, ``groupby(...).apply`` and ``map_batches`` over blocks of rows.

    from raynb.util import frames
    frames.apply(df, price, axis=1)
    frames.groupby(df, "city").apply(fit)
    frames.map_batches(df, clean, batch_size=50_000)

A frame is cut into blocks of rows, each block is put once, and a task works on it; the results are put together
as the serial call would. Words are Ray Data's where it has them (``map_batches``, ``batch_format``). pandas frames,
and polars frames for ``map_batches``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from raynb import api as ray

#: Blocks a CPU slot, so that slow blocks do not leave the other slots idle at the end.
BLOCKS_PER_CPU = 4
FORMATS = ("default", "pandas", "numpy", "pyarrow", "polars")


def apply(
    frame: Any, func: Callable[..., Any], *, axis: int = 1, args: tuple[Any, ...] = (), blocks: int | None = None,
    num_cpus: float | None = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """Calls a function for every row of a pandas frame, or every value of a Series: ``DataFrame.apply(axis=1)``.

    Args:
        frame: a pandas DataFrame or Series.
        func: called with each row, as by pandas.
        axis: 1: rows. A DataFrame's columns (0) are few; pandas' own ``apply`` is the place for them.
        args: further positional arguments of ``func``.
        blocks: how many blocks of rows; default: four for each CPU slot.
        num_cpus: CPU slots of each task.
        **kwargs: further keywords of ``func``, or of pandas' ``apply`` (``raw``, ``result_type``).

    Returns:
        What pandas' ``apply`` returns.

    Raises:
        TypeError: not a pandas frame.
        ValueError: ``axis`` is not 1 for a DataFrame, or ``blocks`` is below 1.

    Example:
        >>> import pandas as pd
        >>> from raynb.util import frames
        >>> frames.apply(pd.DataFrame({"a": [1, 2]}), lambda row: row.a * 2).tolist()
        [2, 4]
    """
    _only_pandas(frame, "apply", "frames.map_batches(frame, lambda batch: batch.map_rows(func))")
    if axis not in (1, "columns") and hasattr(frame, "columns"):
        raise ValueError(f"frames.apply works on rows (axis=1), got axis={axis!r}; use frame.apply for columns.")
    if len(frame) < 2:
        return _apply_block(frame, func, args, kwargs)
    put = [_task(_apply, num_cpus).remote(block, func, args, kwargs) for block in _blocks(frame, blocks)]
    return _joined(ray.get(put))


def map_batches(
    frame: Any, fn: Callable[..., Any], *, batch_size: int | None = None, batch_format: str = "default",
    fn_args: tuple[Any, ...] = (), fn_kwargs: dict[str, Any] | None = None, num_cpus: float | None = None,
) -> Any:  # fmt: skip
    """Calls a function with each batch of rows, and puts the results together in order (Ray Data's ``map_batches``).

    Args:
        frame: a pandas or polars DataFrame.
        fn: takes a batch, returns a batch: a frame, a dict of arrays, or an Arrow table.
        batch_size: rows of a batch; default: a quarter of the rows that a CPU slot has to do.
        batch_format: what ``fn`` gets: ``"default"`` (the frame's own kind), ``"pandas"``, ``"polars"``,
            ``"numpy"`` (a dict of arrays) or ``"pyarrow"``.
        fn_args, fn_kwargs: further arguments of ``fn``.
        num_cpus: CPU slots of each task.

    Returns:
        A frame of the kind that was given.

    Raises:
        TypeError: neither a pandas nor a polars frame.
        ValueError: an unknown ``batch_format``, or a ``batch_size`` below 1.

    Example:
        >>> import pandas as pd
        >>> from raynb.util.frames import map_batches
        >>> list(map_batches(pd.DataFrame({"v": [1, 2]}), lambda batch: batch * 2)["v"])
        [2, 4]
    """
    if batch_format not in FORMATS:
        raise ValueError(f"batch_format is one of {', '.join(FORMATS)}, got {batch_format!r}.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is a number of rows, at least 1, got {batch_size!r}.")
    kind = _kind(frame)
    rows = len(frame)
    count = None if batch_size is None else max(1, -(-rows // batch_size))
    starts = None if batch_size is None else [i * batch_size for i in range(count or 1)]
    refs = [
        _task(_map, num_cpus).remote(block, fn, batch_format, fn_args, fn_kwargs or {}, kind)
        for block in _blocks(frame, count, starts)
    ]
    return _joined(ray.get(refs))


class GroupBy:
    """The result of `groupby`: groups of a pandas frame, to be applied in parallel."""

    def __init__(
        self, frame: Any, by: Any, blocks: int | None, num_cpus: float | None, options: dict[str, Any]
    ) -> None:
        self._frame = frame
        self._by = by
        self._blocks = blocks
        self._num_cpus = num_cpus
        self._options = options

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function with the rows of each group: ``DataFrame.groupby(...).apply``.

        Args:
            func: called with a frame of each group's rows.
            args, kwargs: further arguments, as of pandas' ``apply``.

        Returns:
            What pandas' ``apply`` returns.

        Raises:
            ValueError: ``blocks`` of `groupby` is below 1.
        """
        frame, options = self._frame, self._options
        groups = frame.groupby(self._by, **options)
        numbers = groups.ngroup().fillna(-1).to_numpy(dtype="int64")  # NaN: rows whose key is missing
        count = int(groups.ngroups)
        if count < 2:
            return groups.apply(func, *args, **kwargs)
        refs = [
            _task(_apply_groups, self._num_cpus).remote(frame[rows], self._by, options, func, args, kwargs)
            for rows in _rows_of_groups(numbers, count, _number_of_blocks(self._blocks, count))
        ]
        joined = _joined(ray.get(refs))
        if not options.get("group_keys", True):
            rows = frame.index[numbers >= 0]
            if len(joined) == len(rows) and joined.index.is_unique and set(joined.index) == set(rows):
                return joined.reindex(rows)  # as pandas does when func keeps the rows
        return joined


def groupby(
    frame: Any, by: Any, *, blocks: int | None = None, num_cpus: float | None = None, **options: Any
) -> GroupBy:
    """Groups the rows of a pandas frame by names of columns: ``groupby(frame, "city").apply(fit)``.

    Args:
        frame: a pandas DataFrame.
        by: a column's name, or a list of them.
        blocks: how many tasks share the groups; default: four for each CPU slot.
        num_cpus: CPU slots of each task.
        **options: of pandas' ``groupby``: ``sort``, ``group_keys``, ``dropna``, ``observed``.

    Returns:
        The groups, whose ``apply`` runs in parallel.

    Raises:
        TypeError: ``by`` is not names of columns, or a polars frame.
        ValueError: ``as_index=False``, which numbers the groups of each task anew.

    Example:
        >>> import pandas as pd
        >>> from raynb.util.frames import groupby
        >>> frame = pd.DataFrame({"k": [1, 1, 2], "v": [1, 2, 3]})
        >>> list(groupby(frame, "k").apply(lambda group: group["v"].sum()))
        [3, 3]
    """
    _only_pandas(frame, "groupby", "frame.group_by(...).map_groups(func)")
    names = by if isinstance(by, list) else [by]
    if not all(isinstance(name, str) and name in frame.columns for name in names):
        raise TypeError(f"frames.groupby takes names of columns, got by={by!r}; the frame has {list(frame.columns)}.")
    if options.get("as_index") is False:
        raise ValueError("frames.groupby has no as_index=False; call .reset_index() on the result.")
    return GroupBy(frame, by, blocks, num_cpus, options)


# -- on the workers ----------------------------------------------------------------------------
def _apply_block(block: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if hasattr(block, "columns"):
        return block.apply(func, axis=1, args=args, **kwargs)
    return block.apply(func, args=args, **kwargs)


@ray.remote
def _apply(block: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _apply_block(block, func, args, kwargs)


@ray.remote
def _map(block: Any, fn: Any, wanted: str, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str) -> Any:
    return _as_kind(fn(_as_batch(block, wanted), *args, **kwargs), kind)


@ray.remote
def _apply_groups(
    block: Any, by: Any, options: dict[str, Any], func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return block.groupby(by, **options).apply(func, *args, **kwargs)


def _as_batch(block: Any, wanted: str) -> Any:
    kind = _kind(block)
    if wanted in ("default", kind):
        return block
    if wanted == "pandas":
        return block.to_pandas()
    if wanted == "polars":
        import polars

        return polars.from_pandas(block)
    if wanted == "pyarrow":
        if kind == "polars":
            return block.to_arrow()
        import pyarrow

        return pyarrow.Table.from_pandas(block)
    return {name: block[name].to_numpy() for name in block.columns}


def _as_kind(made: Any, kind: str) -> Any:
    """Returns a batch as a frame of a kind."""
    if isinstance(made, dict) or type(made).__module__.startswith("pyarrow"):
        if kind == "polars":
            import polars

            return polars.DataFrame(made)
        import pandas

        return pandas.DataFrame(made) if isinstance(made, dict) else made.to_pandas()
    found = _kind(made)
    if found == kind:
        return made
    if kind == "pandas":
        return made.to_pandas()
    import polars

    return polars.from_pandas(made)


# -- blocks ------------------------------------------------------------------------------------
def _kind(frame: Any) -> str:
    for base in type(frame).__mro__:
        name = base.__module__.partition(".")[0]
        if name in ("pandas", "polars"):
            return name
    raise TypeError(f"raynb.util.frames works on pandas and polars frames, got {type(frame).__qualname__}.")


def _only_pandas(frame: Any, name: str, instead: str) -> None:
    """Raises `TypeError` for a frame that only `map_batches` takes."""
    if _kind(frame) == "polars":
        raise TypeError(f"frames.{name} works on pandas frames, got a polars one: use {instead}.")


def _task(function: Any, num_cpus: float | None) -> Any:
    return function if num_cpus is None else function.options(num_cpus=num_cpus)


def _number_of_blocks(asked: int | None, most: int) -> int:
    if asked is not None and asked < 1:
        raise ValueError(f"blocks must be at least 1, got {asked!r}.")
    return min(most, asked or max(1, int(ray.cluster_resources().get("CPU", 1))) * BLOCKS_PER_CPU)


def _blocks(frame: Any, count: int | None, starts: list[int] | None = None) -> Iterator[ray.ObjectRef[Any]]:
    """Yields refs of blocks of rows, in order, each put when it is asked for."""
    rows = len(frame)
    if starts is None:
        number = _number_of_blocks(count, max(rows, 1))
        starts = [rows * i // number for i in range(number)]
    for begin, end in zip(starts, [*starts[1:], rows], strict=True):
        yield ray.put(frame.iloc[begin:end] if _kind(frame) == "pandas" else frame[begin:end])


def _rows_of_groups(numbers: Any, count: int, blocks: int) -> Iterator[Any]:
    """Yields a mask of rows for each block: whole groups, in the order of their numbers, about as many rows each."""
    import numpy as np

    sizes = np.bincount(numbers[numbers >= 0], minlength=count)
    ends = np.cumsum(sizes)
    block_of_group = np.minimum((ends - sizes) * blocks // max(int(ends[-1]), 1), blocks - 1)
    block_of_row = np.where(numbers >= 0, block_of_group[numbers], -1)
    for block in np.unique(block_of_group):
        yield block_of_row == block


def _joined(parts: list[Any]) -> Any:
    if _kind(parts[0]) == "polars":
        import polars

        return polars.concat(parts)
    import pandas

    return pandas.concat(parts)


__all__ = ["GroupBy", "apply", "groupby", "map_batches"]
