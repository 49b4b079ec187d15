"""The cells that ran: each one's scope number, its prompt number, and where its output goes.

A cell's scope is its execution count, so ``In[5]`` is scope 5. Cells that are run without a
history (a front end's own requests) have no number of their own; theirs start at 2**32.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.base import scope as scopes

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: First scope of cells without a prompt number.
UNNUMBERED = 1 << 32

#: How many cells are remembered.
MAX_CELLS = 5_000


@dataclass(slots=True)
class Cell:
    """One run of a cell.

    Attributes:
        scope: what its tasks carry.
        parent: the request that ran it (Jupyter's parent message), or None in a terminal.
        batch: nobody watches (nbconvert, nbval): output that comes late is lost.
        began: `time.monotonic` of its start.
        source: the cell, as it was typed.
        is_callback: not a cell, but a widget's callback (``on_click``) while it runs.
    """

    scope: int
    parent: dict[str, Any] | None = None
    batch: bool = False
    began: float = 0.0
    ended: bool = False
    source: str = ""
    is_callback: bool = False
    token: Any = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The cell's name, such as ``In[5]``."""
        return cell_name(self.scope)


def cell_name(scope: int) -> str:
    """Returns the cell's name as Jupyter writes it: ``In[5]``."""
    if not scope:
        return "outside cells"
    return f"In[{scope}]" if scope < UNNUMBERED else "In[ ]"


class Cells:
    """The cells that ran, and the one that runs.

    Args:
        shell: the InteractiveShell.

    Thread contract: `begin` and `end` are called by the thread that runs the cell; the rest may be
    called from any thread.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self._known: dict[int, Cell] = {}
        self._stack: list[Cell] = []
        self._unnumbered = itertools.count(UNNUMBERED)
        self._lock = threading.Lock()
        self.on_end: list[Callable[[Cell, Any], None]] = []
        self._ending: Cell | None = None
        self._streams: tuple[Any, Any, Any] = (None, None, None)  # at the start of the outermost cell
        #: ``ipywidgets.Output`` widgets that are entered now, the innermost last.
        self.widgets: list[Any] = []
        # Since 9.x IPython counts a cell before it tells that it starts.
        run = getattr(type(shell).run_cell_async, "__wrapped__", type(shell).run_cell_async)
        self._counted_first = "execution_count" in run.__code__.co_varnames + run.__code__.co_cellvars

    def attach(self) -> None:
        """Listens to the shell, and takes the cell that loads the extension as begun."""
        self.shell.events.register("pre_run_cell", self.begin)
        self.shell.events.register("post_run_cell", self.end)
        self.shell.events.register("pre_execute", self.callback_begins)
        self.shell.events.register("post_execute", self.callback_ends)
        if self._loading_inside_a_cell():
            self._enter(self._number(stored=True), self._parent(), "")

    def detach(self) -> None:
        """Undoes `attach`. The running cell's scope is left at 0."""
        for event, function in (
            ("pre_run_cell", self.begin), ("post_run_cell", self.end),
            ("pre_execute", self.callback_begins), ("post_execute", self.callback_ends),
        ):  # fmt: skip
            with contextlib.suppress(ValueError):  # somebody cleared the shell's events
                self.shell.events.unregister(event, function)
        scopes.set_running(0)

    # -- hooks of IPython ----------------------------------------------------------------------
    def begin(self, info: object) -> None:
        """Enters a cell that begins (IPython's ``pre_run_cell``)."""
        stored = bool(getattr(info, "store_history", True))
        self._enter(self._number(stored), self._parent(), getattr(info, "raw_cell", "") or "")

    def end(self, result: object) -> None:
        """Ends the running cell (IPython's ``post_run_cell``)."""
        cell = self._leave()
        if cell is None:
            return
        self._ending = cell
        for function in list(self.on_end):
            function(cell, result)
        self._ending = None
        cell.ended = True
        cell.source = ""
        if self._in_main():
            scopes.set_running(self._stack[-1].scope if self._stack else 0)

    def callback_begins(self) -> None:
        """IPython's ``pre_execute``: also before a message of a widget is handled.

        Until the callback ends it has a scope of its own, so that the output of tasks that it waits for
        goes where its own output goes.
        """
        if not self._in_main():
            return
        parent = self._parent() or {}
        if (parent.get("header") or {}).get("msg_type") != "comm_msg":
            return
        self._forget_callbacks()
        if not self._stack:
            self._push(Cell(next(self._unnumbered), parent, began=time.monotonic(), is_callback=True))

    def callback_ends(self) -> None:
        """Ends a callback (IPython's ``post_execute``), also after a message of a widget."""
        if self._in_main() and self._stack and self._stack[-1].is_callback:
            self._forget_callbacks()
            scopes.set_running(self._stack[-1].scope if self._stack else 0)

    def _forget_callbacks(self) -> None:
        """Ends callbacks: the end of one that raised was never reported."""
        while self._stack and self._stack[-1].is_callback:
            self._stack.pop().ended = True

    @contextlib.contextmanager
    def again(self, cell: Cell, source: str) -> Iterator[Cell]:
        """Makes what runs inside part of a cell that has ended: its tasks, its output and its text are that cell's.

        Args:
            source: the cell, as it was typed.
        """
        made = Cell(cell.scope, cell.parent, cell.batch, time.monotonic(), source=source)
        with self._lock:
            self._known.setdefault(cell.scope, cell)
        self._push(made)
        try:
            yield made
        finally:
            self._stack.remove(made)
            scopes.set_running(self._stack[-1].scope if self._stack else 0)

    # -- looking -------------------------------------------------------------------------------
    def get(self, scope: int) -> Cell | None:
        """Returns the cell of a scope, or None when it is unknown or was forgotten, or a callback that has ended."""
        return self._known.get(scope) or next((cell for cell in tuple(self._stack) if cell.scope == scope), None)

    def runs(self, scope: int) -> bool:
        """Returns whether a scope is that of a cell, or a callback, that the main thread runs or ends now."""
        ending = self._ending
        return (ending is not None and ending.scope == scope) or any(cell.scope == scope for cell in tuple(self._stack))

    def redirected(self, kind: str) -> Any:
        """Returns what the running cell has put in the place of where its output goes, or None.

        Args:
            kind: of output, as in `raynb.base.rows.Output`.
        """
        if not self._stack:
            return None
        at = _STREAMS.get(kind, 2)
        now = self._surroundings()[at]
        if now is not self._streams[at]:
            return now
        return self.widgets[-1] if self.widgets else None

    def is_redirected(self) -> bool:
        """Returns whether the running cell's output goes elsewhere, at least a part of it."""
        if not self._stack:
            return False
        now = self._surroundings()
        return bool(self.widgets) or any(one is not other for one, other in zip(now, self._streams, strict=True))

    def places(self) -> tuple[Any, ...]:
        """Returns where the running cell's output goes now: two answers are the same places or not."""
        return (*self._surroundings(), *self.widgets[-1:])

    def _surroundings(self) -> tuple[Any, Any, Any]:
        return sys.stdout, sys.stderr, getattr(self.shell, "display_pub", None)

    def running(self) -> Cell | None:
        """Returns the innermost cell that the main thread runs now."""
        stack = self._stack
        return stack[-1] if stack else None

    def latest(self) -> Cell | None:
        """Returns the cell that ran last, or runs."""
        with self._lock:
            return next(reversed(self._known.values()), None)

    # -- inside --------------------------------------------------------------------------------
    def _enter(self, scope: int, parent: dict[str, Any] | None, source: str) -> None:
        cell = Cell(scope, parent, _is_batch(parent), time.monotonic(), source=source)
        with self._lock:
            self._known.pop(scope, None)
            self._known[scope] = cell
            while len(self._known) > MAX_CELLS:
                del self._known[next(iter(self._known))]
        if self._in_main():
            if self._stack and self._stack[-1].is_callback and self._stack[-1].parent is not parent:
                self._forget_callbacks()
            self._push(cell)
        else:  # a subshell: its cells have a scope of their own beside the main one's
            cell.token = scopes.enter(scope)
            _beside.cell = cell

    def _push(self, cell: Cell) -> None:
        if not self._stack:
            self._streams = self._surroundings()
        self._stack.append(cell)
        scopes.set_running(cell.scope)

    def _leave(self) -> Cell | None:
        if self._in_main():
            return self._stack.pop() if self._stack else None
        cell = getattr(_beside, "cell", None)
        _beside.cell = None
        if cell is not None:
            with contextlib.suppress(ValueError):  # ended in another context than it began in
                scopes.leave(cell.token)
            cell.token = None
        return cell

    def _number(self, stored: bool) -> int:
        if not stored:
            return next(self._unnumbered)
        return int(self.shell.execution_count) - (1 if self._counted_first else 0)

    def _parent(self) -> dict[str, Any] | None:
        get_parent = getattr(self.shell, "get_parent", None)
        return get_parent() if get_parent is not None else None

    def _loading_inside_a_cell(self) -> bool:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == "run_cell_async":
                return True
            frame = frame.f_back
        return False

    @staticmethod
    def _in_main() -> bool:
        return threading.current_thread() is threading.main_thread()


#: Kind of output → its place among the surroundings of a cell; displays are the third.
_STREAMS = {"stdout": 0, "stderr": 1}

_beside = threading.local()


def _is_batch(parent: dict[str, Any] | None) -> bool:
    """Returns whether the request came from a front end that runs notebooks unattended.

    Those say that they cannot answer questions (``allow_stdin`` is false); people's front ends can.
    """
    content = (parent or {}).get("content")
    return isinstance(content, dict) and content.get("allow_stdin") is False
