"""Completes the magics: their options, ``%raynb``'s commands, and refs and handles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from raynb.base.ref import ObjectRef
from raynb.jupyter.notebook import Notebook

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_LINE = re.compile(r"^\s*(%%?)(\w+)\s+(.*)$", re.DOTALL)
_FLAG = re.compile(r"--[a-z][a-z-]*")
_TAKES_REFS = frozenset({"get", "wait", "cancel"})
_TAKES_HANDLES = frozenset({"kill", "on"})


def suggestions(
    prefix: str, name: str, rest: str, parsers: dict[str, Any], namespace: dict[str, Any]
) -> list[str]:
    """Returns what may stand at the end of a magic's line.

    Args:
        prefix: ``%`` or ``%%``.
        name: the magic.
        rest: what follows the name, up to the cursor.
        parsers: ``prefix + name`` → its argument parser.
        namespace: the notebook's.
    """
    word = "" if rest != rest.rstrip() else (rest.split() or [""])[-1]
    if name == "raynb" and prefix == "%":
        return _of_command(word, rest)
    parser = parsers.get(prefix + name)
    if parser is None:
        return []
    if word.startswith("-"):
        return _starting(word, _flags(parser))
    if name in _TAKES_REFS:
        return _starting(word, (key for key, value in list(namespace.items()) if _is_ref(key, value)))
    if name in _TAKES_HANDLES:
        return _starting(
            word, (key for key, value in list(namespace.items()) if hasattr(value, "__ray_call__"))
        )
    return []


def _of_command(word: str, rest: str) -> list[str]:
    """Returns ``%raynb``'s commands, or the options and views of the command that stands there."""
    from raynb.jupyter.magics.line import COMMANDS

    if len(rest.split()) <= (1 if word else 0):
        return _starting(word, COMMANDS)
    command = rest.split()[0]
    if word.startswith("-"):
        return _starting(word, _flags_of_command(command))
    if command == "dashboard":
        from raynb.jupyter.views.dashboard import Dashboard

        return _starting(word, Dashboard.TABS)
    return []


def _flags_of_command(command: str) -> set[str]:
    """Returns the options that the help of ``%raynb`` names for a command, and those of its parser."""
    from raynb.jupyter.magics.line import COMMANDS, LineMagics

    parser = getattr(COMMANDS.get(command), "parser", None)
    found = set(_flags(parser)) if parser else set()
    for line in (LineMagics.raynb.__doc__ or "").splitlines():
        for part in line.split("%raynb ")[1:]:
            # The description stands after two spaces and may name options of other magics.
            usage = part.partition("  ")[0]
            if usage.split()[0] == command:
                found.update(_FLAG.findall(usage))
    return found


def _flags(parser: Any) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]


def _is_ref(name: str, value: object) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(value, ObjectRef):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], ObjectRef)


def _starting(word: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(word))


def magic_parsers(shell: InteractiveShell) -> dict[str, Any]:
    """Returns ``%name`` and ``%%name`` → argument parser, of the magics that have one."""
    found = {}
    for kind, prefix in (("line", "%"), ("cell", "%%")):
        for name, function in shell.magics_manager.magics[kind].items():
            parser = getattr(function, "parser", None)
            if parser is not None:
                found[prefix + name] = parser
    return found


def complete_options(notebook: Notebook) -> Callable[[], None]:
    """Adds the completions to the shell; returns a function that removes them."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    completer = notebook.shell.Completer

    @context_matcher()
    def raynb_matcher(context: Any) -> Any:
        found = _LINE.match(context.line_with_cursor[: context.cursor_position])
        names: list[str] = []
        if found:
            shell = notebook.shell
            names = suggestions(found[1], found[2], found[3], magic_parsers(shell), shell.user_ns)
        return {
            "completions": [SimpleCompletion(text=name, type="param") for name in names],
            "suppress": bool(names),
        }

    completer.custom_matchers.append(raynb_matcher)

    def remove() -> None:
        if raynb_matcher in completer.custom_matchers:
            completer.custom_matchers.remove(raynb_matcher)

    return remove
