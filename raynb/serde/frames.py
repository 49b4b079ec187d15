"""Columns of pandas that are made of Arrow's memory: pickled without copying them first."""

from __future__ import annotations

from typing import Any

#: Where pandas keeps the classes of such columns; so named, nothing needs to import pandas.
MODULES = ("pandas.arrays", "pandas.core.arrays.arrow.array", "pandas.core.arrays.string_arrow")
_SLACK = 1.02  # of a buffer's bytes: Arrow rounds up what it allocates
_SPARE = 256


class _Whole:
    """Arrow's chunks, of which there is only one: putting them together needs no copy."""

    __slots__ = ("_chunk",)

    def __init__(self, chunk: Any) -> None:
        self._chunk = chunk

    def combine_chunks(self) -> Any:
        return self._chunk


def reduce_column(column: Any) -> Any:
    """Returns pandas' own reduction of a column, without the copy that pandas makes of its memory;
    None where that copy does something: it puts chunks together, and leaves out what a slice doesn't show.
    """
    chunks: Any = getattr(column, "__dict__", {}).get("_pa_array")
    if getattr(chunks, "num_chunks", 0) != 1:
        return None
    chunk = chunks.chunk(0)
    if chunk.get_total_buffer_size() > chunk.nbytes * _SLACK + _SPARE:
        return None
    twin = object.__new__(type(column))  # pandas decides what its state is; only the copy is left out
    twin.__dict__.update(column.__dict__, _pa_array=_Whole(chunk))
    return twin.__reduce_ex__(5)
