"""Reads objects of a store by value, for comparisons."""

from __future__ import annotations

from raynb.base.spec import Location
from raynb.store import Store


def copied(store: Store, location: Location) -> tuple[bytes, list[bytes]]:
    """Returns copies of an object's stream and buffers; no view of it is left."""
    data, buffers = store.read(location)
    return bytes(data), [bytes(buffer) for buffer in buffers]
