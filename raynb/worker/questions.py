"""What asks a person something in a task: it says that nobody can answer there, and what to do.

A worker has no keyboard. Without this, `input` is an ``EOFError`` without a word, and `breakpoint` a
``BdbQuit``.
"""

from __future__ import annotations

import builtins
import os
import sys
from typing import Any

_DEBUG = (
    "To stop in it, run tasks in the kernel itself, with `%raynb start --local-mode` or "
    "raynb.init(local_mode=True), or call the function without .remote()."
)
_ask = builtins.input
_debug = sys.breakpointhook
_stdin = sys.stdin


def install() -> None:
    """Replaces `input` and the hook of `breakpoint` in this process."""
    global _stdin
    _stdin = sys.stdin
    builtins.input = _input
    sys.breakpointhook = _breakpoint


def _input(prompt: object = "", /) -> str:
    """`input`, where nobody can answer.

    Raises:
        EOFError: always, unless the task has put a stream of its own in the place of `sys.stdin`.
        RuntimeError: a debugger asks.
    """
    if sys.stdin is not _stdin:
        return _ask(prompt)
    if sys._getframe(1).f_globals.get("__name__") == "cmd":  # pdb, which would take an EOFError for "quit"
        raise RuntimeError(f"A debugger cannot ask for commands on a worker, which has no keyboard. {_DEBUG}")
    raise EOFError(
        "input() cannot ask on a worker, which has no keyboard. Ask in the notebook, and pass the answer "
        "to the task as an argument."
    )


def _breakpoint(*args: Any, **kwargs: Any) -> Any:
    """`breakpoint`, where no debugger can ask; one named by ``PYTHONBREAKPOINT`` is called.

    Raises:
        RuntimeError: always, unless a debugger is named.
    """
    if os.environ.get("PYTHONBREAKPOINT"):
        return _debug(*args, **kwargs)
    raise RuntimeError(f"breakpoint() cannot stop on a worker, which has no keyboard. {_DEBUG}")
