"""Parts of pandas' frames whose own pickling does more than is needed."""

from __future__ import annotations

from typing import Any

from raynb.serde import tables

#: Where pandas keeps the classes of these parts; so named, nothing needs to import pandas.
MODULES = ("pandas", "pandas.arrays", "pandas.core.arrays.arrow.array", "pandas.core.arrays.string_arrow",
           "pandas.core.indexes.base")  # fmt: skip


class _Whole:
    """Arrow's chunks, of which there is only one: putting them together needs no copy."""

    __slots__ = ("_chunk",)

    def __init__(self, chunk: object) -> None:
        self._chunk = chunk

    def combine_chunks(self) -> Any:
        """Returns the one chunk."""
        return self._chunk


def reduce(part: object) -> Any:
    """Returns a better reduction than pandas' own, None where there is none."""
    if type(part).__name__ == "Index":
        return _reduce_index(part)
    return _reduce_column(part)


def _reduce_index(index: Any) -> Any:
    """Takes an index for what it is. pandas gives what is read to the constructor for all cases, which goes
    through all of them."""
    kind, data, name = type(index), getattr(index, "_data", None), index.name
    if data is None or not hasattr(kind, "_simple_new"):  # another pandas
        return None
    twin = kind._simple_new(data, name)
    if type(twin) is not kind or twin._data is not data or twin.dtype != index.dtype:
        return None
    return made_index, (kind, data, name)


def made_index(kind: Any, data: Any, name: Any) -> Any:
    """Makes an index of what it consists of."""
    return kind._simple_new(data, name)


def _reduce_column(column: object) -> Any:
    """Returns pandas' own reduction of a column, without the copy that pandas makes of its memory;
    None where that copy does something: it puts chunks together, and leaves out what a slice doesn't show.
    """
    chunks: Any = getattr(column, "__dict__", {}).get("_pa_array")
    if getattr(chunks, "num_chunks", 0) != 1:
        return None
    chunk = chunks.chunk(0)
    if tables.is_cut(chunk):
        return None
    twin = object.__new__(type(column))  # pandas decides what its state is; only the copy is left out
    twin.__dict__.update(column.__dict__, _pa_array=_Whole(chunk))
    return twin.__reduce_ex__(5)
