"""Shows errors of tasks in a notebook: the user's frames, with cell, line and source.

Frames of libraries are one line a run of them; `Last` keeps them all. IPython asks an exception for
``_render_traceback_`` (but not a `SyntaxError`); `install` gives raynb's exceptions one, and lends one to
others that came through raynb, whose own frames say nothing: an interrupt that ended a wait, a value that
cannot be pickled, a group with errors of tasks. The remote frames come from the worker's text, whose file
names are those that the kernel gave its cells, so their source is at hand here.
"""

from __future__ import annotations

import itertools
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from raynb.base.process import package
from raynb.exceptions import RayError, RayTaskError
from raynb.jupyter.output.frames import Frame, folded, is_ours, is_stdlib, library_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_FILE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')
_TASK = re.compile(
    r"^ray::(?P<name>.*?)\(\)"
    r"(?: \(pid=(?P<pid>\d+), ip=[^,)]*(?:, actor_id=(?P<actor>\w+), repr=(?P<repr>.*))?\))?$"
)
_MEMBER = re.compile(r"^(?P<bars>(?:  \| )+)(?P<rest>.*)$")
_OF_ARGUMENT = "  At least one of the input arguments for this task could not be computed:"
_ALL = "(all of them: %raynb error --full)"
try:
    BaseExceptionGroup_: Any = BaseExceptionGroup  # type: ignore[name-defined, unused-ignore]
except NameError:  # Python 3.10
    BaseExceptionGroup_ = ()
_CONTEXT_LINES = 2  # lines shown before and after the one that failed
_BAR = "-" * 75


def install(shell: InteractiveShell) -> None:
    """Makes the shell show raynb's errors, and interrupts of its waits, this way."""
    RayError._render_traceback_ = lambda self: last.shown(Renderer(shell), self)  # type: ignore[attr-defined]
    show = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        error: Any = exc_tuple[1] if exc_tuple is not None else sys.exc_info()[1]
        ours = isinstance(error, RayError) or _holds_ours(error)
        if ours and isinstance(error, (SyntaxError, BaseExceptionGroup_)):
            # IPython takes the one for an error in the cell itself, and prints the other with all its frames.
            shell._get_exc_info(exc_tuple)  # makes it `sys.last_value`, which `%debug` is about
            shell._showtraceback(type(error), error, last.shown(Renderer(shell), error))
            return
        if type(error) is SyntaxError and _has_our_frames(error):  # of a cell that is to run elsewhere
            shell.showsyntaxerror()
            return
        if not _comes_through_us(error):
            show(exc_tuple, *args, **kwargs)
            return
        error._render_traceback_ = lambda: last.shown(Renderer(shell), error)
        try:
            show(exc_tuple, *args, **kwargs)
        finally:
            del error._render_traceback_  # it holds the error: nothing is to stay alive by it

    shell.showtraceback = showtraceback


def uninstall(shell: InteractiveShell) -> None:
    """Undoes `install`."""
    if "_render_traceback_" in RayError.__dict__:
        del RayError._render_traceback_  # type: ignore[attr-defined]
    if getattr(vars(shell).get("showtraceback"), "__module__", "") == __name__:
        del shell.showtraceback


def _comes_through_us(error: BaseException | None) -> bool:
    """Returns whether an error that isn't raynb's has frames of raynb's, or holds errors of tasks."""
    if error is None or isinstance(error, (RayError, SyntaxError, UsageError)):
        return False
    return _holds_ours(error) or _has_our_frames(error)


def _has_our_frames(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename.startswith(package.FOLDER) for frame, _ in frames)


def _holds_ours(error: BaseException | None) -> bool:
    members = getattr(error, "exceptions", ()) if isinstance(error, BaseExceptionGroup_) else ()
    return any(isinstance(member, RayError) or _holds_ours(member) for member in members)


class Last:
    """The error that was shown last, for ``%raynb error``. Thread contract: any thread."""

    def __init__(self) -> None:
        self.short: list[str] = []
        self.full: list[str] = []

    def shown(self, renderer: Renderer, error: BaseException) -> list[str]:
        """Renders an error, and keeps it with all its frames."""
        self.short = renderer.render(error)
        self.full = Renderer(renderer.shell, full=True).render(error)
        return self.short


last = Last()


class Renderer:
    """Renders exceptions for one shell.

    Args:
        shell: the InteractiveShell, for the names of its cells and its colours.
        full: show frames of libraries too.
    """

    def __init__(self, shell: InteractiveShell, full: bool = False) -> None:
        self.shell = shell
        self.full = full
        self._hinted = False  # how to see folded frames was said
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
            if isinstance(error, BaseExceptionGroup_):
                lines.extend(self._members(error))
        return lines

    def _members(self, group: Any) -> Iterator[str]:
        """Returns the errors of a group, each once, with its own frames."""
        for number, member in enumerate(group.exceptions, 1):
            yield f"  +---------------- {number} ----------------"
            for block in [*self._local(member), *self.remote(member)]:
                yield from (f"  | {line}".rstrip() for line in block.split("\n"))
        yield "  +------------------------------------"

    def message(self, error: BaseException) -> tuple[str, str, list[str]]:
        """Returns (name, value, lines) for an error that is shown in a cell without being raised."""
        cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
        lines = [self.red(_BAR), *self.remote(error)]
        last.short, last.full = lines, [self.red(_BAR), *Renderer(self.shell, full=True).remote(error)]
        return type(cause).__name__, str(cause), lines

    @staticmethod
    def type_name(error: BaseException) -> str:
        """Returns the name of an error's class; of a `RayTaskError`, its cause's."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        return type(cause).__name__ if cause is not None else type(error).__name__

    # -- parts ---------------------------------------------------------------------------------
    def _local(self, error: BaseException) -> Iterator[str]:
        found = [
            Frame(frame.filename, frame.lineno or 0, frame.name, frame.line or "")
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        shown = [f for f in found if not is_ours(f.filename) and (self.full or not is_stdlib(f.filename))]
        yield from self._frames(shown)

    def _frames(self, frames: list[Frame]) -> Iterator[str]:
        """Returns the lines of frames in order; consecutive frames of libraries are one line."""
        first = next((at for at, frame in enumerate(frames) if not library_of(frame.filename)), 0)
        if not self.full:
            frames = frames[first:]  # what runs the user's code (asyncio, threads) has no part in it
        for of_library, run in itertools.groupby(frames, lambda frame: bool(library_of(frame.filename))):
            group = list(run)
            if of_library and not self.full:
                yield self._fold(group)
            else:
                yield from (self.frame(f.filename, f.line, f.function, f.source) for f in group)

    def _fold(self, frames: list[Frame]) -> str:
        text = f"    {folded(frames)}"
        if not self._hinted:
            self._hinted = True
            text = f"{text} {_ALL}"
        return f"{text}\n"

    def _worker_text(self, body: list[str]) -> Iterator[str]:
        at = 0
        frames: list[Frame] = []
        while at < len(body):
            line = body[at]
            at += 1
            found, task = _FILE.match(line), _TASK.match(line)
            if found:
                source = ""
                if at < len(body) and body[at].startswith("    "):
                    source = body[at].strip()
                    at += 1
                if not is_ours(found["file"]):
                    frames.append(Frame(found["file"], int(found["line"]), found["name"], source))
                continue
            yield from self._frames(frames)
            frames = []
            if task:
                failed_before = at < len(body) and body[at] == _OF_ARGUMENT
                at += failed_before
                yield self._task(task, failed_before)
            elif line.strip() and line != "Traceback (most recent call last):":
                yield line
        yield from self._frames(frames)

    def _task(self, task: re.Match[str], failed_before: bool) -> str:
        """Returns ``In task f (pid 5):``, ``In Shard.work of Shard(7) (pid 5, actor 91e2…):`` and the like."""
        name, pid, actor, shown = task["name"], task["pid"], task["actor"], task["repr"] or ""
        if failed_before:
            return f"In task {self.green(name)}, an argument of which failed:"
        if pid is None:
            return f"In task {self.green(name)}:"
        if actor is None:
            return f"In task {self.green(name)} (pid {pid}):"
        whose = "" if " object at 0x" in shown else f" of {self.green(shown)}"
        return f"In {self.green(name)}{whose} (pid {pid}, actor {actor.lstrip('0')}):"

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
        first, last = max(1, number - _CONTEXT_LINES), min(len(lines), number + _CONTEXT_LINES)
        for at in range(first, last + 1):
            text = lines[at - 1].rstrip("\n")
            if at == number:
                arrow = "-" * max(1, 6 - len(str(at)) - 1) + "> "
                yield f"{self.red(arrow + str(at))} {text}".rstrip()
            else:
                yield f"{at:>7} {text}".rstrip()

    def _final(self, text: str) -> str:
        first, *more = text.split("\n")
        name, colon, rest = first.partition(":")
        return "\n".join([f"{self.red(name)}{colon}{rest}", *self._of_members(more)])

    def _of_members(self, lines: list[str]) -> Iterator[str]:
        """The lines after the first of an error's text; of a group's, places are named as those of frames are."""
        folding: list[Frame] = []
        skip = False
        for line in lines:
            member = _MEMBER.match(line)
            found = _FILE.match(member["rest"]) if member else None
            if skip and found is None and member is not None and member["rest"].startswith("    "):
                skip = False  # the source line of a folded frame
                continue
            skip = False
            if member is not None and found is not None:
                if is_ours(found["file"]):
                    skip = True
                elif library_of(found["file"]) and not self.full:
                    folding.append(Frame(found["file"], int(found["line"]), found["name"], ""))
                    skip = True
                else:
                    inside = "" if found["name"] == "<module>" else f", in {self.green(found['name'])}"
                    yield f"{member['bars']}{self.place(found['file'], int(found['line']))}{inside}"
                continue
            if folding:
                yield f"{member['bars'] if member else ''}{self._fold(folding).rstrip()}"
                folding = []
            yield line

    def red(self, text: str) -> str:
        """Returns text in red, where colours are on."""
        return f"\x1b[31m{text}\x1b[39m" if self.coloured else text

    def green(self, text: str) -> str:
        """Returns text in green, where colours are on."""
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
