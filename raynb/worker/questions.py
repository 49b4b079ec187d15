"""Handles code of a task that asks the user: `breakpoint` opens a prompt in the notebook; `input` is refused.

A worker has no keyboard. Without this, `input` is an ``EOFError`` without a word, and `breakpoint` a
``BdbQuit``.
"""

from __future__ import annotations

import builtins
import functools
import os
import sys
from collections.abc import Callable
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from raynb.base.process.late_imports import when_imported
from raynb.worker import user_code

if TYPE_CHECKING:
    from raynb.worker.inspection.debugger import Debugging
    from raynb.worker.inspection.session import Debuggable


class Stops(Protocol):
    """The process's debugger, and the task that it would stop: `Desk`."""

    @property
    def debugging(self) -> Debugging:
        """The process's sessions."""

    def running(self) -> Debuggable | None:
        """Returns the task that the calling code belongs to, if it can be debugged."""


_DEBUG = (
    "To stop in it, load the extension in a notebook (`%load_ext raynb`), or run tasks in the kernel itself, "
    "with `%raynb start --local-mode` or raynb.init(local_mode=True)."
)
_NO_KEYBOARD = (
    "{}() cannot ask on a worker, which has no keyboard. Ask in the notebook, and pass the answer "
    "to the task as an argument."
)
_ask = builtins.input
_debug = sys.breakpointhook
_stdin = sys.stdin
_desk: Stops | None = None


def install(desk: Stops) -> None:
    """Replaces `input`, the hook of `breakpoint` and the ``set_trace`` of debuggers in this process."""
    global _desk
    _desk = desk
    refuse_questions()
    sys.breakpointhook = _breakpoint
    for name in ("pdb", "ipdb", "IPython.core.debugger"):
        when_imported(name, "breakpoints", _replace_set_trace)
    when_imported("debugpy._vendored.force_pydevd", "breakpoints", _put_hook_back)


def refuse_questions() -> None:
    """Replaces `input` and `getpass.getpass` in this process."""
    global _stdin
    _stdin = sys.stdin
    builtins.input = _input
    when_imported("getpass", "questions", _replace_getpass)


def _replace_getpass(module: ModuleType) -> None:
    for name in ("getpass", "unix_getpass", "fallback_getpass"):  # a function that travels comes by its own name
        setattr(module, name, _getpass)


def _replace_set_trace(module: ModuleType) -> None:
    module.set_trace = _set_trace  # type: ignore[attr-defined]
    for name, ours in (("post_mortem", _post_mortem), ("runcall", _runcall), ("runeval", _runeval), ("run", _run)):
        if hasattr(module, name):  # not every debugger's module has them all
            setattr(module, name, ours)


def _put_hook_back(module: ModuleType) -> None:
    """debugpy's hook passes every breakpoint as long as no editor is attached."""
    sys.breakpointhook = _breakpoint


def _stops_in_editor(frame: FrameType) -> bool:
    if "pydevd" not in sys.modules:
        return False
    from raynb.worker.inspection import dap

    return dap.stop(frame)


@user_code.calls_user_code
def _input(prompt: object = "", /) -> str:
    """`input`, where only a debugger's user can answer.

    Raises:
        EOFError: always, unless a debugger asks, or the task has put a stream of its own in the place of
            `sys.stdin`.
        RuntimeError: a debugger asks that is not ours.
    """
    if sys.stdin is not _stdin and type(sys.stdin).__module__ != "raynb.worker.inspection.session":
        return _ask(prompt)
    asks = sys._getframe(1).f_globals.get("__name__")
    session = _desk.debugging.here() if _desk is not None and asks in ("cmd", "code", "pdb") else None
    if session is not None:
        line = session.ask(str(prompt), inside=asks != "cmd").rstrip("\n")
        if asks == "code" and line.strip() in ("exit", "exit()", "quit", "quit()"):
            raise EOFError  # leaves `interact`; SystemExit would end the worker
        return line
    if asks == "cmd":  # a debugger, which would take an EOFError for "quit"
        raise RuntimeError(
            "This debugger's own prompt cannot ask for commands on a worker. breakpoint(), pdb.set_trace(), "
            "pdb.runcall() and pdb.post_mortem() can."
        )
    raise EOFError(_NO_KEYBOARD.format("input"))


@user_code.calls_user_code
def _getpass(prompt: str = "Password: ", stream: object = None, **_: object) -> str:
    """`getpass.getpass`, which nobody can answer.

    Raises:
        EOFError: always.
    """
    raise EOFError(_NO_KEYBOARD.format("getpass"))


@user_code.calls_user_code
def _breakpoint(*args: object, **kwargs: object) -> Any:
    """`breakpoint`; a debugger that is named by ``PYTHONBREAKPOINT`` is called.

    Raises:
        RuntimeError: nobody can debug here.
    """
    named = os.environ.get("PYTHONBREAKPOINT", "")
    if named and not named.startswith("ray."):  # Ray names its own in every worker
        return _debug(*args, **kwargs)
    return _stop(sys._getframe(1))


@user_code.calls_user_code
def _set_trace(*args: object, **kwargs: object) -> Any:
    """``pdb.set_trace``, and that of ipdb and IPython."""
    return _stop(sys._getframe(1))


@user_code.calls_user_code
def _post_mortem(t: TracebackType | BaseException | None = None, *args: object, **kwargs: object) -> Any:
    """``pdb.post_mortem``, and that of ipdb: of a traceback, an exception, or the one that is being handled."""
    handled = sys.exc_info()[1]
    failed = handled if t is None or (handled is not None and t is handled.__traceback__) else t
    if failed is None or (isinstance(failed, BaseException) and failed.__traceback__ is None):
        raise ValueError("A valid traceback must be passed if no exception is being handled")
    return _stop(sys._getframe(1), failed)


@user_code.calls_user_code
def _runcall(func: Callable[..., object], /, *args: object, **kwargs: object) -> Any:
    """``pdb.runcall``: stops at the first line of a function, and returns what it returns."""
    return _traced(sys._getframe(1), functools.partial(func, *args, **kwargs))


@user_code.calls_user_code
def _runeval(expression: object, globals: object = None, locals: object = None) -> Any:
    """``pdb.runeval``: stops at an expression, and returns its value."""
    return _evaluated(sys._getframe(1), eval, expression, globals, locals)


@user_code.calls_user_code
def _run(statement: object, globals: object = None, locals: object = None) -> None:
    """``pdb.run``: stops at the first line of a statement."""
    _evaluated(sys._getframe(1), exec, statement, globals, locals)


def _evaluated(frame: FrameType, evaluate: Callable[..., Any], source: Any, globals: Any, locals: Any) -> Any:
    space = sys.modules["__main__"].__dict__ if globals is None else globals  # as pdb chooses
    code = compile(source, "<string>", evaluate.__name__) if isinstance(source, str) else source
    return _traced(frame, functools.partial(evaluate, code, space, space if locals is None else locals))


@user_code.calls_user_code
def _traced(frame: FrameType, call: Callable[[], object]) -> Any:
    returned: list[Any] = []
    _stop(frame, call=lambda trace: returned.append(trace(call)))
    return returned[0] if returned else call()  # the person lets the task run on


@user_code.calls_user_code
def _stop(frame: FrameType, failed: BaseException | TracebackType | None = None, call: Any = None) -> None:
    if failed is None and call is None and _stops_in_editor(frame):
        return
    if _desk is None or not _desk.debugging.stop(frame, failed, call):
        why = f"nobody can answer its prompt. {_DEBUG}"
        if _desk is not None and _desk.running() is None:
            why = "this thread or process belongs to no task that runs, so no cell could show its prompt."
        raise RuntimeError(f"breakpoint() cannot stop here: {why}")
