"""Writes the browser's types of the view messages from `raynb.jupyter.views.messages`. ``--check`` only
says whether they are fresh."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

from raynb.jupyter.views import messages

TARGET = Path(__file__).resolve().parents[1] / "labextension" / "src" / "ui" / "messages.ts"

HEAD = """\
/**
 * The messages between the kernel and the views.
 * Written by scripts/make_messages.py from raynb/jupyter/views/messages.py: don't edit.
 */
"""

SHORT_FIELDS, WIDTH = 2, 120  # what is no longer is written on one line

PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", object: "unknown"}


def spelled(kind: Any, top: str = "") -> str:
    """Returns a Python type in TypeScript.

    Args:
        kind: the type.
        top: the alias that is being spelled out, so that it isn't spelled as itself.

    Raises:
        TypeError: the messages use a type that this script doesn't know.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is typing.Literal:
        named = [name for name, alias in messages.UNIONS.items() if alias is kind and name != top]
        return named[0] if named else " | ".join(f"'{one}'" for one in inside)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(spelled(one) for one in inside)
    if origin is list:
        item = spelled(inside[0])
        return f"({item})[]" if " " in item else f"{item}[]"
    if origin is dict:
        return f"Record<string, {spelled(inside[1])}>"
    if inspect.isclass(kind) and kind in messages.EXPORTED:
        return kind.__name__
    raise TypeError(f"make_messages knows no TypeScript for {kind!r}")


def interface(kind: Any) -> str:
    """Returns one message or row as an interface."""
    lines = []
    own = kind.__dict__.get("__doc__") or ""
    if own and not own.startswith(f"{kind.__name__}("):
        text = " ".join(own.split())
        lines.append(f"/** {text} */")
    optional = getattr(kind, "__optional_keys__", frozenset())
    fields = [
        f"{name}{'?' if name in optional else ''}: {spelled(inside)}"
        for name, inside in typing.get_type_hints(kind).items()
    ]
    short = f"export interface {kind.__name__} {{ {'; '.join(fields)} }}"
    if len(fields) <= SHORT_FIELDS and len(short) <= WIDTH:
        return "\n".join([*lines, short])
    return "\n".join([*lines, f"export interface {kind.__name__} {{", *(f"  {field};" for field in fields), "}"])


def whole() -> str:
    """Returns the text of the file."""
    parts = [HEAD, f"export const VERSION = {messages.VERSION};\n"]
    parts += [f"export type {name} = {spelled(kind, name)};\n" for name, kind in messages.UNIONS.items()]
    parts += [interface(kind) + "\n" for kind in messages.EXPORTED]
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" in sys.argv:
        fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == whole()
        print("fresh" if fresh else f"{TARGET.name} is stale: run python scripts/make_messages.py")
        sys.exit(not fresh)
    TARGET.write_text(whole(), encoding="utf-8")
