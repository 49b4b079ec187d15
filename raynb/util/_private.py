"""Values that arrive as the receiver's own: writable, shared with nobody.

What `get` returns is read-only, because everybody reads the same memory. Code written for
``multiprocessing``, joblib and ``concurrent.futures`` expects arrays of its own, which it may write to.
"""

from __future__ import annotations

import pickle
from typing import Any

from raynb.base.engine import Packed
from raynb.serde import pickling
from raynb.serde.refs import record_ref

_PLAIN = frozenset((int, float, bool, str, bytes, type(None), complex))


class Private:
    """A value on its way; what is read is the value itself, in memory of the reader's own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def packed(self) -> Packed:
        """Returns the value's pickle."""
        return pickling.pack(self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = self.packed()
        for ref in packed.contained:
            record_ref(ref)
        return _own, (packed.data, *(pickle.PickleBuffer(_bytes_of(buffer)) for buffer in packed.buffers))


def private(value: Any) -> Any:
    """Returns what to send in a value's place."""
    return value if type(value) in _PLAIN else Private(value)


class Pickled(Private):
    """A value on its way that is pickled already.

    Attributes:
        size: bytes of the pickle.
    """

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self._packed = super().packed()
        self.size = pickling.nbytes(self._packed)

    def packed(self) -> Packed:
        """Returns the value's pickle, made when this was."""
        return self._packed


class Repeated(Private):
    """A value on its way to a reader that makes several of it, each of its own: what is read is a `Copies`."""

    def __reduce__(self) -> tuple[Any, ...]:
        _, given = super().__reduce__()
        return Copies, given


class Copies:
    """The pickle of a value, in the store; makes the value as often as it is needed."""

    def __init__(self, data: Any, *buffers: Any) -> None:
        self._given = (data, *buffers)

    def another(self) -> Any:
        """Returns the value, shared with nobody."""
        return _own(*self._given)


def _bytes_of(buffer: Any) -> Any:
    return buffer if isinstance(buffer, (memoryview, pickle.PickleBuffer)) else bytes(buffer)


def _own(data: Any, *buffers: Any) -> Any:
    return pickling.unpack(data, [bytearray(buffer) for buffer in buffers])
