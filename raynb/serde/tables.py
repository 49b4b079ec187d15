"""Arrow's arrays, batches and tables: a slice is stored without the rest of what it was cut from.

Arrow pickles whole buffers. Ten rows of a table then take the table's size, in the store and on the
way. Where the buffers hold far more than the value shows, the value's part is copied out first;
whatever is whole stays zero-copy. Nothing here imports pyarrow: who has a table has it imported.
"""

from __future__ import annotations

import sys
from typing import Any

#: Where Arrow keeps its classes.
MODULE = "pyarrow.lib"
#: Of a buffer's bytes: Arrow rounds up what it allocates.
SLACK_FACTOR = 1.02
#: Bytes that are not worth a copy.
SPARE_BYTES = 256

_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}


def is_cut(part: Any) -> bool:
    """Returns whether the buffers hold far more than the array, batch or table shows."""
    total: int = part.get_total_buffer_size()
    if total <= SPARE_BYTES:
        return False
    shown: int = part.nbytes
    return total > shown * SLACK_FACTOR + SPARE_BYTES


def reduce(part: object) -> Any:
    """Returns the reduction of an array, batch or table without what it doesn't show; None: its own is good."""
    shrunk = shrink(part) if hasattr(type(part), "get_total_buffer_size") else part
    return None if shrunk is part else shrunk.__reduce_ex__(5)


def shrink(part: object) -> Any:
    """Returns an equal array, batch or table of its own memory; the same where there is nothing to gain."""
    arrow: Any = sys.modules["pyarrow"]
    if isinstance(part, arrow.Array):
        return _shrink_array(arrow, part)
    if not is_cut(part) and not any(str(kind) in _VIEWS for kind in _types(arrow, part)):
        return part
    if isinstance(part, arrow.ChunkedArray):
        # A chunk without rows counts: without any, the type would be all that is left.
        return arrow.chunked_array([_shrink_array(arrow, chunk) for chunk in part.chunks], part.type)
    if isinstance(part, (arrow.RecordBatch, arrow.Table)):
        columns = [shrink(column) for column in part.columns]
        if not columns:  # the number of rows is all there is
            return part
        return type(part).from_arrays(columns, schema=part.schema)
    return part


def _types(arrow: Any, part: Any) -> list[Any]:
    found: list[Any] = [part.type] if isinstance(part, arrow.ChunkedArray) else part.schema.types
    return found


def _shrink_array(arrow: Any, array: Any) -> Any:
    total = array.get_total_buffer_size()
    if str(array.type) in _VIEWS:  # what such an array counts as its own are all the bytes that it may point to
        own = array.cast(getattr(arrow, _VIEWS[str(array.type)])())
        if total > (own.nbytes + 16 * len(array)) * SLACK_FACTOR + SPARE_BYTES:
            return own.cast(array.type)
        return array
    if not is_cut(array):
        return array
    best = array
    for copy in (_joined, _taken):  # neither knows all types; unions shrink by the second one only
        try:
            shrunk = copy(arrow, array)
        except arrow.ArrowNotImplementedError:
            continue
        if shrunk.get_total_buffer_size() < total and shrunk.type == array.type:
            best, total = shrunk, shrunk.get_total_buffer_size()
        if not is_cut(best):
            break
    return best


def _joined(arrow: Any, array: Any) -> Any:
    return arrow.concat_arrays([array, array.slice(0, 0)])  # alone it would be handed back as it is


def _taken(arrow: Any, array: Any) -> Any:
    return array.take(arrow.array(range(len(array)), arrow.int64()))
