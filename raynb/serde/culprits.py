"""Finds what in a value cannot be pickled, and who uses it: containers, attributes, closures, globals, classes.

No property and no method of the value runs for it, but for those that pickling calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from raynb.base.sizes import attributes_of

#: Parts of one value that are tried, and how deep.
MAX_PARTS = 1000
MAX_DEPTH = 8

#: Where decorators and `remote` keep what they were given.
_INSIDE = ("__wrapped__", "_function", "_cls", "func")


def find(value: object, path: str, can_pickle: Callable[[Any], bool]) -> str:
    """Returns a text that names the innermost part that cannot be pickled; ``path`` if it is the value itself.

    Args:
        value: what cannot be pickled.
        path: what it is called.
        can_pickle: tries one part.
    """
    seen: set[int] = set()
    for _ in range(MAX_DEPTH):
        seen.add(id(value))
        for name, part in itertools.islice(_parts(value, path), MAX_PARTS):
            if id(part) not in seen and not can_pickle(part):
                value, path = part, name
                break
        else:
            break
    return path


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if issubclass(kind, dict):
        return ((f"{path}[{key!r}]", part) for key, part in value.items())
    if issubclass(kind, (list, tuple)):
        return ((f"{path}[{number}]", part) for number, part in enumerate(value))
    if kind is FunctionType:
        return _parts_of_function(value)
    return _parts_of_class(value) if issubclass(kind, type) else _parts_of_object(value, path)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    user = function.__qualname__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _filled(cell):
            yield f"variable '{name}' of {user}", cell.cell_contents
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield f"the global '{name}' (used by {user})", function.__globals__[name]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from ((f"a default of {user}", value) for value in defaults)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))


def _parts_of_class(cls: type) -> Iterator[tuple[str, Any]]:
    if cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__:
        return  # it travels by name
    for name, member in vars(cls).items():
        if name in ("__dict__", "__weakref__", "__doc__", "__module__"):
            continue
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        elif isinstance(member, property):
            member = member.fget
        yield f"the attribute '{name}' of class {cls.__qualname__}", member
    yield from ((f"the base {base.__qualname__} of class {cls.__qualname__}", base) for base in cls.__bases__)


def _parts_of_object(value: object, path: str) -> Iterator[tuple[str, Any]]:
    attributes = attributes_of(value) or {}
    for word in _INSIDE:
        inner = attributes.get(word)
        if isinstance(inner, (FunctionType, type)):
            yield inner.__qualname__, inner
    yield from ((f"{path}.{name}", part) for name, part in attributes.items())
    if type(value).__module__ == "__main__":
        yield f"class {type(value).__qualname__}", type(value)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
