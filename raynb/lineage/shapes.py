"""Compares a function or class with what it was when it was read, without reading it again.

A *shape* is made of the objects that a definition consists of. As long as they are the very same, and none of them can
be changed inside, so is its token. A shape doesn't hold its own definition, so that a dropped one can go.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from raynb.keeping.digest import is_importable

_FIXED = frozenset((
    int, float, complex, bool, str, bytes, type(None), CodeType, GetSetDescriptorType, MemberDescriptorType,
))  # fmt: skip
_NAMESPACE: Any = type.__dict__["__dict__"]
_MAX_DEPTH = 6
_OWNER = object()
#: Files of the code of methods that `dataclasses` makes of a class's fields.
_GENERATED = frozenset(("<string>", dataclasses.__file__, reprlib.__file__))


class Loose(Exception):
    """Something in a definition may be changed without its being another object."""


def shape_of(made: Any) -> tuple[Any, ...] | None:
    """Returns the shape of a function or class; None: its code must be read."""
    try:
        return tuple(_class(made, made, 0) if type(made) is type else _function(made, made, 0))
    except Loose:
        return None


def same(one: tuple[object, ...], other: tuple[object, ...] | None) -> bool:
    """Returns whether two shapes are of the same objects; nobody's ``==`` is asked."""
    return other is not None and len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _parts(value: Any, owner: Any, depth: int) -> Iterator[Any]:
    kind = type(value)
    if value is owner:
        yield _OWNER
    elif kind in _FIXED:
        yield value
    elif depth > _MAX_DEPTH:
        raise Loose
    elif kind is FunctionType:
        yield from _function(value, owner, depth + 1)
    elif kind is property:
        for part in (value.fget, value.fset, value.fdel):
            yield from _parts(part, owner, depth + 1)
    elif kind in (staticmethod, classmethod):
        yield kind
        yield from _parts(value.__func__, owner, depth + 1)
    elif kind is tuple:
        yield len(value)
        for item in value:
            yield from _parts(item, owner, depth + 1)
    elif kind is type:
        yield value
        yield from _class(value, owner, depth + 1)
    else:
        raise Loose


def _function(made: FunctionType, owner: object, depth: int) -> Iterator[Any]:
    if made.__dict__ or made.__kwdefaults__:
        raise Loose
    if made.__module__ != "__main__" and is_importable(str(made.__module__), made.__qualname__, made):
        raise Loose  # the file that it is in may be edited
    yield made.__code__
    yield from _parts(made.__defaults__, owner, depth + 1)
    for name, kind in list(made.__annotations__.items()):
        yield name
        yield _OWNER if kind is owner else kind
    for cell in made.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError as error:
            raise Loose from error
        yield from _parts(content, owner, depth + 1)


def _class(made: type, owner: object, depth: int) -> Iterator[Any]:
    if made.__module__ == "builtins":
        return
    if made.__module__ != "__main__":
        raise Loose  # the file that it is in may be edited
    for base in made.__bases__:
        yield from _parts(base, owner, depth + 1)
    own = dict(_NAMESPACE.__get__(made))
    own.pop("__slotnames__", None)  # pickle leaves it there
    fields = own.pop("__dataclass_fields__", None)
    yield own.pop("__dataclass_params__", None)
    yield from (part for item in (fields or {}).items() for part in item)
    for name, member in own.items():
        yield name
        if name == "__annotations__" and type(member) is dict:
            yield from (part for item in list(member.items()) for part in item)
        elif fields is not None and type(member) is FunctionType and member.__code__.co_filename in _GENERATED:
            yield member.__code__
        elif name not in ("__dict__", "__weakref__"):
            yield from _parts(member, owner, depth + 1)
