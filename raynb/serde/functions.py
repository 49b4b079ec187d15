"""Definitions of functions and classes: pickled once, named by the hash of their bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import cloudpickle

from raynb.base.engine import Packed
from raynb.base.process.waits import time
from raynb.serde import pickling


def definition(function: object, name: str) -> tuple[str, Packed, float]:
    """Returns (key, packed, seconds that pickling took) of a function or class.

    Raises:
        TypeError: it, or something its closure or globals name, cannot be pickled.
    """
    began = time.monotonic()
    try:
        data, buffers, refs = pickling._dump(function)
    except MemoryError:
        raise
    except Exception as error:
        pickling.is_too_deep(error)
        if pickling.struck(function, error):
            raise
        path = pickling._culprit(function, name)
        if path == name:
            raise TypeError(f"Could not serialize {name}: {error}") from error
        needed = "" if name in path else f", needed by {name}"
        raise TypeError(
            f"Could not serialize {path}{needed}: {error}. It cannot travel to a worker: make it where it is used, "
            "or pass what it is made from as an argument."
        ) from error
    packed = Packed(pickling.in_band(Packed(data, buffers)), (), (), refs, began)
    seconds = time.monotonic() - began
    return hashlib.sha1(packed.data, usedforsecurity=False).hexdigest(), packed, seconds


def load(blob: bytes) -> Any:
    """Returns the function or class of a definition."""
    return pickling.unpack(*pickling.unpack_in_band(blob))


def notebook_class(name: str) -> type | None:
    """Returns the notebook's class of that name that was unpickled here last; None: there was none."""
    known = list(cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.values())
    return next((cls for cls in reversed(known) if cls.__module__ == "__main__" and cls.__qualname__ == name), None)


def method(instance: object, name: str) -> Any:
    """Returns a method of an actor: its class's, even if the instance has an attribute of that name (as Ray)."""
    if name in getattr(instance, "__dict__", ()):
        cls = type(instance)
        for base in cls.__mro__:
            if name in base.__dict__:
                return base.__dict__[name].__get__(instance, cls)
    return getattr(instance, name)
