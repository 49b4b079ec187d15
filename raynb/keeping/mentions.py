"""Reads the names in code: globals, modules that it imports, and environment variables. Pure.

Thread contract: any thread.
"""

from __future__ import annotations

import dis
import functools
import os
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

_IMPORT = dis.opmap["IMPORT_NAME"]
_IMPORTERS = frozenset(("import_module", "__import__"))
_GLOBALS = frozenset(
    dis.opmap[name] for name in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
    if name in dis.opmap
)  # fmt: skip
_LOAD_NAME, _STORE_NAME = dis.opmap["LOAD_NAME"], dis.opmap["STORE_NAME"]
_READERS = frozenset(("environ", "environb", "getenv", "getenvb"))
_MAX_NAME = 200
_MAX_VARIABLES = 100


@functools.lru_cache(maxsize=4_096)
def imports_of(code: CodeType) -> tuple[str, ...]:
    """Returns the modules that a code object imports itself, not the code objects in it.

    Where it calls `importlib.import_module`, texts in it that could name one are among them.
    """
    found: list[str] = []
    if _IMPORT in code.co_code[::2]:
        found += [str(one.argval) for one in dis.get_instructions(code) if one.opcode == _IMPORT and one.argval]
    if not _IMPORTERS.isdisjoint(code.co_names):
        texts = (text for text in _texts(code.co_consts) if text != "__main__")
        found += [text for text in texts if all(part.isidentifier() for part in text.split("."))]
    return tuple(dict.fromkeys(found))


@functools.lru_cache(maxsize=4_096)
def global_names(code: CodeType) -> frozenset[str]:
    """Returns the names that a function's code, and the code in it, reads or binds in its module.

    The body of a class inside a function looks a name up in the class first; those that it has not bound before count.
    """
    found: set[str] = set()
    own = {"__name__"}
    for one in dis.get_instructions(code):
        if one.opcode in _GLOBALS or (one.opcode == _LOAD_NAME and one.argval not in own):
            found.add(one.argval)
        elif one.opcode == _STORE_NAME:
            own.add(one.argval)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= global_names(const)
    return frozenset(found)


def reads_environment(code: CodeType) -> bool:
    """Returns whether a code object, or one in it, reads environment variables."""
    return any(not _READERS.isdisjoint(part.co_names) for part in all_code(code))


def variables_in(value: object) -> list[str]:
    """Returns the texts that a value is, or holds, and that could name environment variables."""
    texts: list[object] = [value]
    if type(value) is dict:  # of no class of somebody's: no code of a value is run
        texts = [*value, *value.values()]
    elif type(value) is list or type(value) is tuple or type(value) is set or type(value) is frozenset:
        texts = [*value]
    return sorted({text for text in texts if type(text) is str and text.isidentifier()})[:_MAX_VARIABLES]


def environment_of(code: CodeType) -> list[str]:
    """Returns texts in a code object that name environment variables: those that there are, and where the code
    reads the environment all that could be one."""
    reads = reads_environment(code)
    texts = dict.fromkeys(_texts(code.co_consts))
    texts.pop("_", None)  # the shell's word for the command that it has started, and everybody's separator
    return sorted(text for text in texts if is_set(text) or (reads and text.isidentifier()))


def is_set(text: str) -> bool:
    """Returns whether there is an environment variable of this name."""
    try:
        return text in os.environ
    except ValueError:  # no name: half a character cannot be encoded
        return False


@functools.lru_cache(maxsize=4_096)
def line_constant(code: CodeType) -> int:
    """Returns the place of the constant that says in which line a class begins (Python 3.13); -1: there is none."""
    if "__firstlineno__" not in code.co_names:
        return -1
    loaded = [one.arg for one in dis.get_instructions(code) if one.opname.startswith("LOAD_CONST")]
    found = [place for place, const in enumerate(code.co_consts) if type(const) is int and const == code.co_firstlineno]
    return found[0] if found and loaded.count(found[0]) == 1 else -1  # loaded elsewhere, it says more


def all_code(code: CodeType) -> Iterator[CodeType]:
    """Yields a code object and those in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from all_code(const)


def _texts(consts: Iterable[Any]) -> Iterator[str]:
    for const in consts:
        if type(const) is str and 0 < len(const) < _MAX_NAME and "\0" not in const:
            yield const
        elif type(const) in (tuple, frozenset):
            yield from _texts(const)
