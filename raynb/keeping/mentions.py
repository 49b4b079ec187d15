"""What code names beside its globals: modules that it imports, and environment variables. Pure.

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
_READERS = frozenset(("environ", "environb", "getenv", "getenvb"))
_MAX_NAME = 200


@functools.lru_cache(maxsize=4_096)
def imports_of(code: CodeType) -> tuple[str, ...]:
    """Returns the modules that a code object imports itself, not the code objects in it."""
    if _IMPORT not in code.co_code[::2]:
        return ()
    found = [str(one.argval) for one in dis.get_instructions(code) if one.opcode == _IMPORT and one.argval]
    return tuple(dict.fromkeys(found))


def environment_of(code: CodeType) -> list[str]:
    """Returns texts in a code object that name environment variables: those that there are, and where the code
    reads the environment all that could be one."""
    reads = not _READERS.isdisjoint(code.co_names)
    texts = dict.fromkeys(_texts(code.co_consts))
    texts.pop("_", None)  # the shell's word for the command that it has started, and everybody's separator
    return sorted(text for text in texts if text in os.environ or (reads and text.isidentifier()))


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
