"""Reads the type of a pickled value, without unpickling it: nothing is imported, and no code of the value's runs.

The stream is read with made-up classes in place of those that it names. What a function makes is not known, but for
the few that stand for a type; then there is no answer, rather than a wrong one.
"""

from __future__ import annotations

import builtins
import io
import itertools
import pickle
from typing import Any, ClassVar

#: Longer streams are only looked at where they begin.
MAX_STREAM_BYTES = 1 << 16

#: What the first steps of a stream make, where that is the whole value's type.
_BEGINNINGS = {b"]": "list", b"}": "dict", b"\x8f": "set", b"X": "str", b"\x8d": "str", b"B": "bytes", b"\x8e": "bytes",
               b"\x96": "bytearray"}  # fmt: skip

#: Functions that make what their first argument names.
_OF_A_CLASS = {"_reconstruct", "_reconstructor", "__newobj__", "__newobj_ex__", "made_index"}

#: Functions that make a value of one type.
_MAKERS = {("raynb.serde.arrays", "*"): "ndarray", ("numpy.core.numeric", "_frombuffer"): "ndarray",
           ("numpy._core.numeric", "_frombuffer"): "ndarray",
           ("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"): "Timestamp",
           ("numpy.core.multiarray", "scalar"): "numpy scalar", ("numpy._core.multiarray", "scalar"): "numpy scalar",
           ("raynb.serde.refs", "*"): "ObjectRef"}  # fmt: skip

#: Modules whose names are classes although they are spelled small.
_SMALL = {"collections", "datetime", "uuid", "decimal", "fractions", "array"}


class _Made:
    """A value of a made-up class; takes whatever the stream does to it."""

    kind = ""

    def __new__(cls, *args: object, **kwargs: object) -> _Made:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Ignores the item."""

    def extend(self, items: object) -> None:
        """Ignores the items."""

    def add(self, item: object) -> None:
        """Ignores the item."""

    def __call__(self, *args: object) -> Any:
        return _class("")()

    def __hash__(self) -> int:
        return id(self)


def _class(name: str) -> type[_Made]:
    return type("_" + name, (_Made,), {"kind": name})


class _Function:
    """A function that the stream calls."""

    def __init__(self, module: str, name: str) -> None:
        self.name = name
        self.kind = _MAKERS.get((module, name)) or _MAKERS.get((module, "*")) or ""

    def __call__(self, *args: object) -> Any:
        first = args[0] if args else None
        if self.name in _OF_A_CLASS and isinstance(first, type) and issubclass(first, _Made):
            return first()
        if self.name in ("_make_skeleton_class", "_make_skeleton_enum") and len(args) > 1:
            return _class(str(args[1]))
        return _class(self.kind)()


_Steps: Any = pickle._Unpickler  # in Python: the only one whose steps can be changed


class _Reader(_Steps):  # type: ignore[misc]
    stack: list[Any]
    append: Any

    def _new(self) -> None:
        arguments = self.stack.pop()
        kind = self.stack.pop()
        known = isinstance(kind, type) and issubclass(kind, _Made)
        self.append(kind(*arguments) if known else _class("")())

    dispatch: ClassVar[dict[int, Any]] = {**_Steps.dispatch, pickle.NEWOBJ[0]: _new}

    def find_class(self, module: str, name: str) -> Any:
        """Returns a made-up class or function of that name; imports nothing."""
        last = name.rpartition(".")[2]
        if (module, name) in _MAKERS or (module, "*") in _MAKERS:
            return _Function(module, name)
        if module in _SMALL or last[:1].isupper() or last == "ndarray" or type(getattr(builtins, last, None)) is type:
            return _class(last)
        return _Function(module, last)

    def persistent_load(self, pid: object) -> Any:
        """Returns a made-up value in place of a ref."""
        return _class("")()


def kind_of(stream: bytes | memoryview) -> str:
    """Returns the name of a pickled value's type; empty where it is not known."""
    if len(stream) > MAX_STREAM_BYTES:
        return _beginning(bytes(stream[:64]))
    try:
        found = _Reader(io.BytesIO(bytes(stream)), buffers=itertools.repeat(b"")).load()
    except Exception:  # a step that made-up classes cannot take: the type stays unknown
        return ""
    if isinstance(found, _Made):
        return found.kind
    if isinstance(found, (type, _Function)):
        return "class" if isinstance(found, type) else "function"
    return type(found).__name__


def _beginning(head: bytes) -> str:
    at = 2 if head[:1] == b"\x80" else 0
    if head[at : at + 1] == b"\x95":  # a frame
        at += 9
    return _BEGINNINGS.get(head[at : at + 1], "")
