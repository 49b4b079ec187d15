"""How errors of tasks look in a notebook: the user's frames only, with cell, line and source.

IPython asks an exception for ``_render_traceback_`` (but not a `SyntaxError`); `install` gives
raynb's exceptions one, and lends one to an interrupt that ended a wait of ours: where in raynb it
struck says nothing. The remote frames come from the worker's text, whose file names are those that
the kernel gave its cells, so their source is at hand here.
"""

from __future__ import annotations

import asyncio
import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from typing import Any

from raynb.exceptions import RayError, RayTaskError

_FILE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')
_TASK = re.compile(r"^ray::(?P<name>.*?)\(\) \(pid=(?P<pid>\d+), .*\)$")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_CONTEXT = 2  # lines shown before and after the one that failed
_BAR = "-" * 75


def install(shell: Any) -> None:
    """Makes the shell show raynb's errors, and interrupts of its waits, this way."""
    RayError._render_traceback_ = lambda self: Renderer(shell).render(self)  # type: ignore[attr-defined]
    show = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        error: Any = exc_tuple[1] if exc_tuple is not None else sys.exc_info()[1]
        if isinstance(error, RayError) and isinstance(error, SyntaxError):
            # IPython takes it for an error in the cell itself and shows no frames.
            shell._showtraceback(type(error), error, Renderer(shell).render(error))
            return
        if not _ends_a_wait(error):
            show(exc_tuple, *args, **kwargs)
            return
        error._render_traceback_ = lambda: Renderer(shell).render(error)
        try:
            show(exc_tuple, *args, **kwargs)
        finally:
            del error._render_traceback_  # it holds the error: nothing is to stay alive by it

    shell.showtraceback = showtraceback


def uninstall(shell: Any) -> None:
    """Undoes `install`."""
    if "_render_traceback_" in RayError.__dict__:
        del RayError._render_traceback_  # type: ignore[attr-defined]
    if getattr(vars(shell).get("showtraceback"), "__module__", "") == __name__:
        del shell.showtraceback


def _ends_a_wait(error: Any) -> bool:
    """Returns whether somebody pressed stop while raynb's own code was waiting."""
    if not isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename.startswith(_PACKAGE) for frame, _ in frames)


class Renderer:
    """Renders exceptions for one shell.

    Args:
        shell: the InteractiveShell, for the names of its cells and its colours.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.coloured = str(getattr(shell, "colors", "")).lower() not in ("nocolor", "")

    def render(self, error: BaseException) -> list[str]:
        """Returns the lines of an error, as IPython's ``structured_traceback`` does."""
        name = self.type_name(error)
        head = f"{name}{'Traceback (most recent call last)':>{max(75 - len(name), 35)}}"
        lines = [self.red(_BAR), self.red(name) + head[len(name) :]]
        lines.extend(self._local(error))
        lines.extend(self.remote(error))
        return lines

    def remote(self, error: BaseException) -> list[str]:
        """Returns the worker's part and the error's own line."""
        lines: list[str] = []
        if isinstance(error, RayTaskError):
            *body, last = _split_last(error.traceback_str)
            lines.extend(self._worker_text(body))
            lines.append(self._final(last))
            lines.extend(hints(error))
        else:
            text = str(error)
            lines.append(self._final(f"{type(error).__name__}: {text}" if text else type(error).__name__))
        return lines

    def message(self, error: BaseException) -> tuple[str, str, list[str]]:
        """Returns (name, value, lines) for an error that is shown in a cell without being raised."""
        cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
        return type(cause).__name__, str(cause), [self.red(_BAR), *self.remote(error)]

    @staticmethod
    def type_name(error: BaseException) -> str:
        cause = error.cause if isinstance(error, RayTaskError) else None
        return type(cause).__name__ if cause is not None else type(error).__name__

    # -- parts ---------------------------------------------------------------------------------
    def _local(self, error: BaseException) -> Iterator[str]:
        for frame in traceback.extract_tb(error.__traceback__):
            if is_users(frame.filename):
                yield self.frame(frame.filename, frame.lineno or 0, frame.name, frame.line or "")

    def _worker_text(self, body: list[str]) -> Iterator[str]:
        at = 0
        while at < len(body):
            line = body[at]
            at += 1
            found, task = _FILE.match(line), _TASK.match(line)
            if found:
                source = ""
                if at < len(body) and body[at].startswith("    "):
                    source = body[at].strip()
                    at += 1
                yield self.frame(found["file"], int(found["line"]), found["name"], source)
            elif task:
                yield f"In task {self.green(task['name'])} (pid {task['pid']}):"
            elif line.strip():
                yield line

    def frame(self, filename: str, number: int, function: str, source: str) -> str:
        """Returns one frame: where, and the lines around it."""
        where = self.place(filename, number)
        inside = "" if function == "<module>" else f", in {self.green(function)}"
        return "\n".join([f"{where}{inside}", *self._source(filename, number, source), ""])

    def place(self, filename: str, number: int) -> str:
        """Returns ``Cell In[5], line 3`` or ``File ~/work.py:3``."""
        compiler = getattr(self.shell, "compile", None)
        name_of = getattr(compiler, "format_code_name", None)
        named = name_of(filename) if name_of is not None else None
        if named is not None:
            return f"{named[0]} {self.green(named[1])}, line {number}"
        home = os.path.expanduser("~")
        short = "~" + filename[len(home) :] if filename.startswith(home + os.sep) else filename
        return f"File {self.green(short)}:{number}"

    def _source(self, filename: str, number: int, source: str) -> Iterator[str]:
        lines = linecache.getlines(filename)
        if not 0 < number <= len(lines):
            if source:
                yield f"{self.red('---->')} {number} {source}"
            return
        first, last = max(1, number - _CONTEXT), min(len(lines), number + _CONTEXT)
        for at in range(first, last + 1):
            text = lines[at - 1].rstrip("\n")
            if at == number:
                arrow = "-" * max(1, 6 - len(str(at)) - 1) + "> "
                yield f"{self.red(arrow + str(at))} {text}".rstrip()
            else:
                yield f"{at:>7} {text}".rstrip()

    def _final(self, text: str) -> str:
        name, colon, rest = text.partition(":")
        return f"{self.red(name)}{colon}{rest}"

    def red(self, text: str) -> str:
        return f"\x1b[31m{text}\x1b[39m" if self.coloured else text

    def green(self, text: str) -> str:
        return f"\x1b[32m{text}\x1b[39m" if self.coloured else text


def _split_last(text: str) -> list[str]:
    """Splits a worker's traceback into lines; the error's own text, however long, is the last."""
    lines = text.rstrip("\n").split("\n")
    start = len(lines) - 1
    # The error's own text begins after the last frame's source line.
    for at in range(len(lines) - 1, -1, -1):
        if _FILE.match(lines[at]) or _TASK.match(lines[at]):
            start = at + 1
            if start < len(lines) - 1 and _FILE.match(lines[at]) and lines[start].startswith("    "):
                start += 1
            if start < len(lines) - 1 and lines[start].startswith("  [Previous line repeated"):
                start += 1
            break
    else:
        start = 0
    return [*lines[:start], "\n".join(lines[start:])]


def is_users(filename: str) -> bool:
    """Returns whether a file is the user's, not raynb's, IPython's or Python's own."""
    if filename.startswith((_PACKAGE, "<frozen")):
        return False
    if filename.startswith(_STDLIB) and "site-packages" not in filename:
        return False
    return not any(
        f"{os.sep}{name}{os.sep}" in filename for name in ("IPython", "ipykernel", "traitlets", "tornado")
    )


_STDLIB = sysconfig.get_path("stdlib") + os.sep


def _remedy(name: str) -> str:
    """Returns why a worker doesn't find a module of the kernel's, and what helps."""
    top = name.partition(".")[0]
    file = getattr(sys.modules[top], "__file__", None)
    if not file:
        return "It has no file, it was made in the kernel: write it into one, or define what you need in a cell."
    package = os.path.basename(file) == "__init__.py"
    place = os.path.dirname(file) if package else file
    folder = os.path.dirname(place)
    if folder not in map(os.path.abspath, sys.path):
        return f"Its folder {folder} is not on sys.path any more: add it, workers take the kernel's path over."
    return (
        f"It lies in {folder}, which is on the kernel's sys.path: is 'path' in Raynb.follow, and does the worker's "
        f"machine have that folder? If not, send it: runtime_env={{'py_modules': [{place!r}]}}."
    )


def hints(error: RayTaskError) -> list[str]:
    """Returns what to do about errors that only happen because the code runs elsewhere."""
    cause = error.cause
    if isinstance(cause, ModuleNotFoundError) and cause.name and cause.name.partition(".")[0] in sys.modules:
        return [f"\nThe kernel has the module {cause.name!r}, but the worker cannot find it. {_remedy(cause.name)}"]
    if isinstance(cause, ValueError) and "read-only" in str(cause):
        return [
            "\nArrays that arrive through the object store are read-only: work on a copy, `x = x.copy()`."
        ]
    return []
