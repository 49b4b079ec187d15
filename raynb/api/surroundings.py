"""Packs surroundings for the way to workers."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from typing import Any

from raynb.base.process import surroundings
from raynb.base.process.surroundings import Mark
from raynb.serde import pickling


def packed(value: Any) -> bytes:
    """Returns a part of the surroundings as it travels; functions and classes of the notebook by value.

    Raises:
        Exception: something in it cannot be pickled.
    """
    return pickling.in_band(pickling.pack(value))


def unpacked(name: str) -> Any:
    """Returns a part of the surroundings in force that is applied when it is needed; None: there is none."""
    blob = surroundings.pending.get(name)
    return None if blob is None else pickling.load_in_band(blob)


def marked(parts: Mapping[str, bytes]) -> Mark:
    """Returns the mark of parts that are packed; of none, one that says that nothing follows."""
    if not parts:
        return Mark()
    blob = pickle.dumps(dict(parts), 5)
    return Mark(hashlib.sha1(blob, usedforsecurity=False).hexdigest(), blob)
