"""Finds what objects hold, without their classes' own code: only that of Python, numpy and pandas is run.

Thread contract: any thread.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from collections import defaultdict, deque
from types import MemberDescriptorType
from typing import Any

_POINTER = struct.calcsize("P")
_FIELDS: dict[str, Any] = {**vars(defaultdict), **vars(deque)}


def is_a(kind: type, package: str, names: tuple[str, ...]) -> bool:
    """Returns whether a class is one of these of a package, or made of one; the package is not loaded for it."""
    loaded = sys.modules.get(package)
    bases = tuple(vars(loaded).get(name, type(None)) for name in names) if loaded is not None else ()
    return issubclass(kind, bases)


def hides(kind: type) -> bool:
    """Returns whether objects of a class have more than attributes and slots: fields of a class in C."""
    members = [item for base in kind.__mro__ if "__slots__" in vars(base) for item in vars(base).values()]
    fields = sum(type(item) is MemberDescriptorType for item in members)
    fields += (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return kind.__itemsize__ > 0 or kind.__basicsize__ > object.__basicsize__ + fields * _POINTER


def rebuilt_by(value: object, kind: type) -> tuple[object, ...] | None:
    """Returns what the first class of Python's own that an object is made of says to rebuild it; None: it has none."""
    for base in kind.__mro__:
        if base is not object and module_of(base).partition(".")[0] in sys.stdlib_module_names:
            for name, arguments in (("__reduce_ex__", (4,)), ("__reduce__", ()), ("__getnewargs__", ())):
                if name in vars(base):
                    try:
                        found = vars(base)[name](value, *arguments)
                    except Exception:  # it says that it cannot be rebuilt
                        return None
                    return found if type(found) is tuple else None
    return None


def module_of(kind: type) -> str:
    """Returns the name of a type's module; types of Cython may have something else there."""
    found: object = kind.__module__
    return found if type(found) is str else "builtins"


def slots_of(value: object) -> dict[str, object]:
    """Returns what an object has in ``__slots__``, past its class's own code."""
    found: dict[str, object] = {}
    for base in type(value).__mro__:
        for name, member in vars(base).items() if "__slots__" in vars(base) else ():
            if type(member) is MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # not set
                    found[f"{base.__name__}.{name}"] = member.__get__(value)
    return found


def items_of(value: object) -> object:
    """Returns what a container of a class of its own holds, past that class's code; None: it is none."""
    if isinstance(value, dict):
        factory = _FIELDS["default_factory"].__get__(value) if isinstance(value, defaultdict) else None
        return [factory, dict(dict.items(value))]
    if isinstance(value, deque):
        return [_FIELDS["maxlen"].__get__(value), *deque.__iter__(value)]
    plain: Any
    for plain in (list, tuple, set, frozenset):
        if isinstance(value, plain):
            return plain(plain.__iter__(value))
    return None
