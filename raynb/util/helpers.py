"""Going through results as they come (``ray.util.as_completed``, ``map_unordered``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from raynb import api as ray


def as_completed(
    refs: Sequence[Any], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Yields results as they are ready, instead of all at the end as ``get`` does.

    Args:
        refs: object refs.
        chunk_size: how many to wait for at a time.
        yield_obj_refs: yield the refs instead of their values.
        **kwargs: passed to ``wait`` (``fetch_local``, ``timeout``).

    Raises:
        ValueError: ``chunk_size`` is below 1, or ``num_returns`` was given.

    Example:
        >>> square = ray.remote(lambda x: x * x)
        >>> sorted(ray.util.as_completed([square.remote(x) for x in range(4)]))
        [0, 1, 4, 9]
    """
    _check(chunk_size, kwargs)
    rest = list(refs)
    while rest:
        ready, rest = ray.wait(rest, num_returns=min(chunk_size, len(rest)), **kwargs)
        yield from ready if yield_obj_refs else ray.get(ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Calls a remote function on each item and yields the results as they are ready.

    Args:
        fn: a remote function of one argument.
        items: the inputs, taken one by one; may be endless.
        backpressure_size: how many calls are unfinished at most; None: no limit.
        chunk_size: how many results to wait for at a time.
        yield_obj_refs: yield the refs instead of their values.
        **kwargs: passed to ``wait`` (``fetch_local``, ``timeout``).

    Raises:
        ValueError: a size is below 1, or ``num_returns`` was given.

    Example:
        >>> square = ray.remote(lambda x: x * x)
        >>> sorted(ray.util.map_unordered(square, range(4)))
        [0, 1, 4, 9]
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, kwargs)
    pending: list[Any] = []
    for item in items:
        pending.append(fn.remote(item))
        if backpressure_size is not None and len(pending) >= backpressure_size:
            ready, pending = ray.wait(pending, num_returns=min(chunk_size, len(pending)), **kwargs)
            yield from ready if yield_obj_refs else ray.get(ready)
    yield from as_completed(pending, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check(chunk_size: int, kwargs: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in kwargs:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")
