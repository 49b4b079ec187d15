"""Values to Python objects: bytes inside messages, locations in the store, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.base.engine import Packed
from raynb.base.spec import Value
from raynb.serde import pickling
from raynb.serde.errors import load_error

#: The value of a task that returned None: the most frequent one.
NONE = pickling.in_band(pickling.pack(None))

Read = Callable[[Any, int], tuple[Any, Any]]


class Failed:
    """A loaded value that is an error; `get` raises it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def load(value: Value, object_id: int, read: Read) -> Any:
    """Returns the object, or `Failed` with the error to raise.

    Args:
        value: bytes or a location, see `raynb.base.spec.Value`.
        object_id: whose value it is; the pin of a zero-copy read is kept under it.
        read: ``(location, object id) -> (stream, buffers)`` of the process's store.
    """
    if type(value) is bytes:
        return pickling.load_in_band(value)
    if value is not None and value[0] in ("exc", "err"):
        return Failed(load_error(value))
    data, buffers = read(value, object_id)
    return pickling.unpack(data, buffers)


def size_of(packed: Packed) -> int:
    """Returns the bytes of a pickled value, its buffers included."""
    return pickling.nbytes(packed)
