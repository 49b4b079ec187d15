"""About how many bytes a value has, without running any code of the value's.

Sizes are bookkeeping: they stand in a timeline. A property that computes, a proxy that loads, or a
lazy module that raises must not take part. So attributes are looked up on types only, never on
values; containers are walked by the builtin classes' own methods; and only libraries known to count
without computing are asked.
"""

from __future__ import annotations

import itertools
import logging
import sys
from types import GetSetDescriptorType, MethodDescriptorType, ModuleType
from typing import Any

from raynb.base.process import shelter, trace

#: Libraries whose classes know their size, and what they call it.
_KNOWN = {
    "numpy": ("nbytes",),
    "pandas": ("memory_usage", "nbytes"),
    "polars": ("estimated_size",),
    "pyarrow": ("nbytes",),
    "torch": ("nbytes",),
    "cupy": ("nbytes",),
    "jaxlib": ("nbytes",),
    "xarray": ("nbytes",),
}
_SCALARS = (int, float, complex, bool, type(None), type)
_SAMPLE_ITEMS = 64  # of a container's items
_MAX_DEPTH = 4


def own_count(value: object) -> int | None:
    """Returns the bytes of a value that counts them itself (an array, a frame, a text); None: it is of another kind."""
    kind = type(value)
    if kind in (bytes, bytearray, str, memoryview):
        return size_of(value)
    return _size_by_library(value, kind)


def size_of(value: Any, depth: int = 0) -> int:
    """Returns about how many bytes a value has; cheap, exact for arrays and frames. Never raises."""
    kind = type(value)
    if issubclass(kind, memoryview):
        return int(memoryview.nbytes.__get__(value))
    for plain in (bytes, bytearray, str):
        if issubclass(kind, plain):
            return plain.__len__(value) if plain is not str else str.__sizeof__(value)
    if issubclass(kind, _SCALARS) or issubclass(kind, ModuleType):
        return 32
    known = _size_by_library(value, kind)
    if known is not None:
        return known
    if issubclass(kind, (list, tuple, set, frozenset, dict)):
        return _container_size(value, depth) if depth < _MAX_DEPTH else _own_size(value, kind)
    size = _own_size(value, kind)
    if depth < _MAX_DEPTH and not callable(value):
        attributes = attributes_of(value)
        if attributes:
            size += _container_size(attributes, depth)
    return size


def _own_size(value: object, kind: type) -> int:
    """Returns what the nearest builtin class says: ``object``'s answer is wrong for classes with a variable part."""
    for base in kind.__mro__:
        asked = base.__dict__.get("__sizeof__")
        if type(asked) is MethodDescriptorType:
            return int(asked(value))
    return 32


def _size_by_library(value: object, kind: type) -> int | None:
    """Returns what a known library says of a value of its own; None: nobody's, or it doesn't say."""
    for base in kind.__mro__:
        names = _KNOWN.get(str(base.__module__).partition(".")[0])
        if names is None:
            continue
        for name in names:
            asked = next((cls.__dict__[name] for cls in base.__mro__ if name in cls.__dict__), None)
            if asked is None:
                continue
            try:
                total = asked.__get__(value, base)
                if callable(total):
                    total = total(deep=False) if name == "memory_usage" else total()
                return int(total.sum() if hasattr(total, "sum") else total)
            except Exception as error:  # half-made, or of another version; then it is a value like others
                shelter.pass_on(error)
                trace.swallowed(f"asking a {kind.__name__} for its size", error, logging.DEBUG)
        return None
    return None


def attributes_of(value: object) -> dict[str, Any] | None:
    """Returns an instance's own attributes, past any ``__getattribute__`` of its class."""
    for base in type(value).__mro__:
        slot = base.__dict__.get("__dict__")
        if slot is not None:
            found: Any = slot.__get__(value) if type(slot) is GetSetDescriptorType else None
            return found if type(found) is dict else None
    return None


def _container_size(value: Any, depth: int) -> int:
    kind = next(base for base in (list, tuple, set, frozenset, dict) if issubclass(type(value), base))
    count = kind.__len__(value)
    parts: Any
    if kind is dict:
        parts = dict.values(value)
    elif kind in (list, tuple) and count > _SAMPLE_ITEMS:
        parts = kind.__getitem__(value, slice(None, None, count // _SAMPLE_ITEMS))
    else:
        parts = kind.__iter__(value)
    sample = list(itertools.islice(parts, _SAMPLE_ITEMS))
    inside = sum(size_of(part, depth + 1) for part in sample)
    own = sys.getsizeof(value) if type(value) is kind else kind.__sizeof__(value)
    return own + (inside * count // len(sample) if sample else 0)
