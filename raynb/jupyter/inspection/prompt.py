"""The debugger's prompt of a worker, in the notebook.

A task that reaches ``breakpoint()`` waits on its worker. Its prompt opens in the cell that waits for tasks;
if none does, the submitting cell says who waits where, and ``%raynb debug`` opens it.
"""

from __future__ import annotations

import linecache
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from raynb.api.terminal.breakpoints import NOTICE_AFTER_SECONDS, PROMPT, QUITS, Answer, ask, command, converse
from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine, Inspection
from raynb.base.rows import Breakpoint
from raynb.base.text import printable
from raynb.exceptions import RayError, RuntimeGoneError
from raynb.jupyter.inspection.local_breakpoints import LocalBreakpoints
from raynb.jupyter.inspection.stack_text import name_cells_in_warnings
from raynb.jupyter.output.tracebacks import Renderer

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from raynb.jupyter.notebook import Notebook

SOURCE_MAX_CHARACTERS = 2_000_000  # characters of cells that are sent along


def sources_of(shell: InteractiveShell) -> dict[str, tuple[str, str]]:
    """Returns (``In[5]``, text) of the notebook's cells by the file names that the kernel gave them."""
    found: dict[str, tuple[str, str]] = {}
    name_of = getattr(shell.compile, "format_code_name", lambda name: None)
    left = SOURCE_MAX_CHARACTERS
    for name, entry in reversed(list(linecache.cache.items())):
        if len(entry) == 4 and entry[1] is None and entry[2]:
            text = "".join(entry[2])
            left -= len(text)
            if left < 0:
                break
            found[name] = ((name_of(name) or ("", name))[1], text)
    return found


def reader(shell: InteractiveShell) -> Callable[[str], str]:
    """Returns what asks the person at the notebook for a line."""
    kernel = getattr(shell, "kernel", None)
    return input if kernel is None else lambda prompt: str(kernel.raw_input(prompt))


class Breakpoints:
    """The tasks that wait at breakpoints, in their order.

    Thread contract: `paused` from any thread; `serve` in the main thread.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._local = LocalBreakpoints(notebook)
        self._pending: deque[Breakpoint] = deque()
        self._announced: dict[tuple[int, int], object] = {}  # (worker, session) → who has told of it
        self._let_go: set[int] = set()  # tasks that stop no more, on whichever worker they are tried again
        self._passed: dict[int, Breakpoint] = {}  # cells that were told that nobody can answer
        self._busy = False

    def install(self) -> None:
        """Starts listening to runtimes."""
        self._unname = name_cells_in_warnings(self.notebook.shell)
        self._local.install()
        engines.on_change.append(self.engine_changed)
        self.engine_changed(engines.driver())

    def uninstall(self) -> None:
        """Stops listening."""
        self._unname()
        self._local.uninstall()
        if self.engine_changed in engines.on_change:
            engines.on_change.remove(self.engine_changed)
        engine = engines.driver()
        inspection = engine.inspection if engine is not None else None
        if inspection is not None and self.paused in inspection.on_pause:
            inspection.on_pause.remove(self.paused)

    def engine_changed(self, engine: DriverEngine | None) -> None:
        """Listens to the breakpoints of a new runtime, whose workers and sessions count from one again."""
        self._pending.clear()
        self._announced.clear()
        self._let_go.clear()
        inspection = engine.inspection if engine is not None else None
        if inspection is not None and self.paused not in inspection.on_pause:
            inspection.on_pause.append(self.paused)

    # -- a task stops --------------------------------------------------------------------------
    def paused(self, point: Breakpoint) -> None:
        """Enqueues a task that waits at a breakpoint (the engine's ``on_pause``). Never blocks."""
        if point.task in self._let_go:
            self._command(point, "release")
            return
        cell = self.notebook.cells.running() or self.notebook.router.cell(point.scope)
        if cell is not None and cell.batch:
            self._pass_by(point)
            return
        self._pending.append(point)
        self.look()

    def _pass_by(self, point: Breakpoint) -> None:
        """Lets a task go on whose prompt nobody can answer."""
        if self._passed.setdefault(point.scope, point) is point:  # several threads may come here at once
            self.notebook.router.show_text(
                point.scope, "stderr",
                f"raynb: breakpoint() in {printable(point.name)} at {self._place(point)} was passed: "
                "this front end cannot ask for commands.\n",
            )  # fmt: skip
        self._command(point, "release")

    def _place(self, point: Breakpoint) -> str:
        renderer = Renderer(self.notebook.shell)
        renderer.coloured = False
        return renderer.place(point.file, point.line)

    def look(self) -> None:
        """Opens the prompt where the main thread waits for tasks; else the cell says who waits. Any thread."""
        if not self._pending or self._busy:
            return
        engine = engines.driver()
        waits = self.notebook.waits
        running = self.notebook.cells.running()
        if running is not None and running.batch:  # its front end cannot ask for commands
            return
        waiting = waits.current if waits is not None else None
        if waiting is not None and engine is not None and engine.inspection is not None:
            engine.inspection.interrupt_wait(waiting[0], self.serve)
            return
        if running is not None and waits is not None and waits.in_event_loop():
            kernel = getattr(self.notebook.shell, "kernel", None)
            if kernel is not None and getattr(kernel, "io_loop", None) is not None:
                kernel.io_loop.add_callback(self._serve_in_loop)
                return
        for point in list(self._pending):
            if running is not None and time.time() - point.since <= NOTICE_AFTER_SECONDS:
                continue
            me = object()  # several threads may come here at once
            if self._announced.setdefault((point.worker, point.session), me) is me:
                how = "`%raynb debug` opens it"
                if running is not None:  # it does something else, and no magic can run before its end
                    how = ("its prompt opens as soon as the running cell waits for tasks (get, wait, await, result); "
                           f"after that cell {how}")  # fmt: skip
                self.notebook.router.show_text(
                    point.scope, "stderr",
                    f"raynb: {printable(point.name)} waits at a breakpoint, {self._place(point)}; {how}.\n",
                )  # fmt: skip

    def _serve_in_loop(self) -> None:
        if self.notebook.cells.running() is not None:
            self.serve()

    # -- the prompt ----------------------------------------------------------------------------
    def waiting(self) -> list[Breakpoint]:
        """Returns the tasks that wait for a prompt."""
        engine = engines.driver()
        inspection = engine.inspection if engine is not None else None
        return [point for point in list(self._pending) if inspection is not None and inspection.waits(point)]

    def serve(self, task: int | None = None) -> bool:
        """Opens the prompts of the tasks that wait, one after the other; returns whether there was one.

        Args:
            task: the id of the only one that is meant.
        """
        if self._busy or threading.current_thread() is not threading.main_thread():
            return False
        self._busy = True
        waits = self.notebook.waits
        paused = waits is not None and waits.pausing  # a bar of the magics' own may be shown
        found = False
        try:
            if waits is not None:
                waits.pausing = True
            while True:
                point = next((p for p in self._pending if task is None or p.task == task), None)
                if point is None:
                    return found
                self._pending.remove(point)
                found = True
                self._debug(point)
        finally:
            self._busy = False
            if waits is not None:
                waits.pausing = paused

    def _debug(self, point: Breakpoint) -> None:
        engine = engines.driver()
        if engine is None or engine.inspection is None:
            return
        inspection = engine.inspection
        if not inspection.waits(point):
            inspection.over(point)  # its task is being cancelled
            return
        self.notebook.router.drain()
        more = f" {len(self._pending)} more wait at breakpoints." if self._pending else ""
        print(f"{printable(point.name)} (worker {point.worker}) is at a breakpoint, {self._place(point)}.{more} "
              "c: go on, q: cancel the task, q!: all of its cell, h: help.")  # fmt: skip

        def first() -> Answer:
            return self._ask(point, "open", sources_of(self.notebook.shell))

        def say(prompt: str, line: str) -> Answer | None:
            if prompt == PROMPT and line.strip() in (*QUITS, "q!"):
                self._quit(engine, inspection, point, line.strip() == "q!")
                return None
            return self._ask(point, "line", line)

        try:
            if converse(reader(self.notebook.shell), first, say) == "interrupted":
                self._let_go.add(point.task)
                self._command(point, "release")
                print("\nThe task goes on, and stops at no more breakpoints.")
        except RayError as error:
            print(str(error))
        finally:
            inspection.over(point)

    def _quit(self, engine: DriverEngine, inspection: Inspection, point: Breakpoint, whole_cell: bool) -> None:
        points = [point]
        if whole_cell:
            points += [p for p in self._pending if p.scope == point.scope]
        for p in points:
            if p in self._pending:
                self._pending.remove(p)
            inspection.quit(p)
        if whole_cell:
            engine.cancel_scope(point.scope)

    @staticmethod
    def _command(point: Breakpoint, what: str, payload: object = None) -> None:
        command(_engine(), point, what, payload)

    def _ask(self, point: Breakpoint, what: str, payload: object) -> Answer:
        return ask(_engine(), point, what, payload)


def _engine() -> DriverEngine:
    engine = engines.driver()
    if engine is None or engine.inspection is None:
        raise RuntimeGoneError("The runtime of the task at the breakpoint was shut down.")
    return engine
