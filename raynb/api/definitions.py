"""Definitions of functions and classes, and whether a name means something else by now.

A definition that is sent to workers is recorded under its key, with a fingerprint of its code. Later its
name is looked up where it was defined: a cell that was run again, or a module that was loaded again,
may have put another function there. The same code, run again, is no redefinition.

Thread contract: every function may be called from any thread.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from raynb.api import measured
from raynb.base.engine import Engine, Packed
from raynb.base.process import surroundings
from raynb.base.process.surroundings import Mark
from raynb.serde import functions

#: How many definitions are remembered.
MAX_DEFINITIONS = 10_000


@dataclass(slots=True, frozen=True)
class SentDefinition:
    """One definition as it was sent."""

    module: str
    qualname: str
    print_: str


_Used = tuple[tuple[dict[str, Any], str, Any], ...]


@dataclass(slots=True, frozen=True)
class Definition:
    """A function or class, pickled.

    Attributes:
        key: the hash of its bytes.
        mark: the surroundings in which it was last looked at; each cell of a notebook has its own.
        seconds: of pickling.
        used: what its code names in the notebook: (namespace, name, what stood there).
        watched: the same where it is looked at before each call, else nothing.
        loads: how often modules had been loaded again by then.
    """

    key: str
    packed: Packed
    mark: Mark
    seconds: float
    used: _Used = ()
    watched: _Used = ()
    loads: int = 0


#: Seconds of pickling up to which a definition of the notebook is pickled anew in each cell.
CHEAP_SECONDS = 0.002
#: Bytes of a definition up to which it is pickled anew between two calls of one cell.
SMALL_BYTES = 1_000_000
_MISSING = object()
#: How often modules were loaded again.
_loads = 0

#: Told which definition is used, at its first use in each cell: (key, function or class). Must not raise.
on_use: Callable[[str, Any], None] | None = None


def current(engine: Engine, made: Any, name: str, before: Definition | None, mark: Mark) -> Definition:
    """Returns the definition of a function or class as it is now, and makes it and ``mark`` known to the engine.

    What a notebook's function calls and reads may have been redefined since it was pickled. Once a cell a
    small one is pickled again, and a large one is looked through for names that mean something else now.
    Between two calls of one cell a small one is looked through (`is_stale`).

    Args:
        engine: the runtime.
        made: the function or class.
        name: what errors call it.
        before: its definition so far.
        mark: the surroundings that the call takes along.

    Raises:
        TypeError: it, or something that it names, cannot be pickled.
    """
    found = before
    if found is None or names_another(engine, found.packed) or _may_differ(made, found, mark):
        key, packed, seconds = functions.definition(made, name)
        if before is None or key != before.key:
            record(key, made)
            measured.stored((made,), packed.began)
        used = tuple(_used(made, {}))
        watched = used if len(packed.data) <= SMALL_BYTES else ()
        found = Definition(key, packed, mark, seconds, used, watched, _loads)
    engine.define(found.key, found.packed.data, found.packed.contained)
    if mark.key:
        engine.define(mark.key, mark.blob)
    if on_use is not None:
        on_use(found.key, made)
    return found


def is_stale(found: Definition | None) -> bool:
    """Returns whether a name in a small function's code means something else since it was pickled."""
    if found is None:
        return False
    try:
        for space, word, value in found.watched:
            if space[word] is not value:
                return True
    except KeyError:
        return True
    return False


def modules_were_loaded_again() -> None:
    """Has what the notebook defines pickled anew at its next use.

    ``%autoreload`` gives functions and classes new insides; the names that a definition uses then mean the same
    objects as before, and what it holds of them is old.
    """
    global _loads
    _loads += 1


def _may_differ(made: Any, before: Definition, mark: Mark) -> bool:
    if getattr(made, "__module__", None) != "__main__":
        return False
    if before.mark is mark:
        return surroundings.look is not None and is_stale(before)
    if before.seconds <= CHEAP_SECONDS or before.loads != _loads:
        return True
    return any(space.get(word, _MISSING) is not value for space, word, value in before.used)


def _used(made: Any, seen: dict[int, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yields what the notebook's functions among ``made`` and all that they call name in the notebook."""
    clothes = _INSIDE.get(type(made).__name__)
    made = getattr(made, clothes, made) if clothes else made
    if not isinstance(made, (FunctionType, type)) or id(made) in seen or made.__module__ != "__main__":
        return
    seen[id(made)] = made
    if isinstance(made, type):
        for member in vars(made).values():
            yield from _used(getattr(member, "__func__", None) or getattr(member, "fget", None) or member, seen)
    if not isinstance(made, FunctionType):
        return
    space = made.__globals__
    for word in sorted(_names(made.__code__)):
        if word in space:
            yield space, word, space[word]
            yield from _used(space[word], seen)


def _names(code: CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inner)


_sent: dict[str, SentDefinition] = {}

_PLAIN: tuple[Any, ...] = (bool, int, float, complex, str, bytes, type(None))
_WRAPPERS = (staticmethod, classmethod)

#: Where `remote` keeps what it was given.
_INSIDE = {"RemoteFunction": "_function", "ActorClass": "_cls"}


def record(key: str, made: Any) -> None:
    """Remembers which function or class a definition's key stands for."""
    module, qualname = getattr(made, "__module__", None), getattr(made, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or "<" in qualname:
        return  # a lambda, or made inside a function: its name doesn't say which it is
    _sent[key] = SentDefinition(module, qualname, fingerprint(made))
    while len(_sent) > MAX_DEFINITIONS:
        _sent.pop(next(iter(_sent)), None)


def names_another(engine: Engine, packed: Packed) -> bool:
    """Returns whether a pickled definition names refs of another runtime: the globals and closures that
    they come from may hold new ones by now, so it is pickled again."""
    return any(ref._engine is not engine for ref in packed.contained)


def redefined(key: str) -> str:
    """Returns the name of a definition that is another by now; empty when it isn't, or nobody knows.

    Args:
        key: of the function or class (``TaskRow.function``, ``ActorRow.definition``).
    """
    was = _sent.get(key)
    if was is None:
        return ""
    found = _look_up(was.module, was.qualname)
    if found is None or fingerprint(found) == was.print_:
        return ""
    return was.qualname


def _look_up(module: str, qualname: str) -> FunctionType | type | None:
    """Returns the function or class of that name, without its `remote` clothes; None: no such."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        holder = getattr(found, "__dict__", None)
        if holder is None or part not in holder:
            return None
        found = holder[part]
        clothes = _INSIDE.get(type(found).__name__)
        found = getattr(found, clothes, found) if clothes else found
    return found if isinstance(found, (FunctionType, type)) else None


def fingerprint(made: Any) -> str:
    """Returns a text that is equal for two definitions with the same code and defaults; where in a
    cell or file they are written doesn't count."""
    parts = _of_class(made) if isinstance(made, type) else _of_function(made)
    return hashlib.sha1(repr(parts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _of_function(made: Any) -> Any:
    code = getattr(made, "__code__", None)
    if not isinstance(code, CodeType):
        return type(made).__name__
    defaults = [*(made.__defaults__ or ()), *sorted((made.__kwdefaults__ or {}).items())]
    return _of_code(code), [_of_value(value) for value in defaults]


def _of_code(code: CodeType) -> Any:
    consts = tuple(_of_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount,
            code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags, consts)  # fmt: skip


def _of_class(made: type) -> Any:
    members = []
    for name, value in sorted(vars(made).items()):
        inner = value.fget if type(value) is property else value.__func__ if type(value) in _WRAPPERS else value
        if isinstance(inner, FunctionType):
            members.append((name, _of_function(inner)))
        elif not (name.startswith("__") and name.endswith("__")):
            members.append((name, _of_value(value)))
    return [base.__qualname__ for base in made.__mro__[1:]], members


def _of_value(value: Any) -> Any:
    """Plain values by what they are, all others by their type: an address says nothing."""
    for plain in _PLAIN:
        if issubclass(type(value), plain):
            return plain.__repr__(value)
    return type(value).__qualname__
