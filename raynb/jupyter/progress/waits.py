"""A bar for every wait of a cell: ``get``, ``wait``, ``await``, loops of them, executors.

The engine reports when the main thread really waits (`raynb.base.engine.on_wait`); noting that costs
under a microsecond. While a cell runs, a thread of ours looks four times a second whether the cell
is waiting, and for how long, and draws what its tasks have come to.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.rows import CANCELLED, FAILED, FINISHED
from raynb.jupyter.notebook import unfinished
from raynb.jupyter.output.registry import Cell
from raynb.jupyter.progress.bar import Bar, Count

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between two looks at the running cell.
INTERVAL_SECONDS = 0.25

#: Of a wait for at most so many objects, each one's task is looked at.
MAX_REFS = 500

#: Where the main thread's innermost frame is while it waits for futures or in an event loop.
_WAITING_IN = ("concurrent/futures/_base.py", "/threading.py", "/selectors.py", "/queue.py")


def _nothing() -> None:
    """Does nothing: the end of a wait without a bar."""


class Waits:
    """Watches the waits of the main thread.

    Args:
        notebook: the notebook.

    Thread contract: `begin` and its end are called by the thread that waits; the rest is ours.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.current: tuple[Any, int, float] | None = None  # (waiter, missing at first, since)
        self._latest: tuple[Any, int, float] | None = None  # the same of the cell's last wait, also when it is over
        self._begun = 0  # waits of the running cell so far
        self._asked = 0  # what they were missing, together
        self.pausing = False  # a bar of the magics' own is shown
        self._main = threading.main_thread().ident
        self._runs = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the bar
        self._bar: Bar | None = None
        self._last = Count(0, 0.0)

    def install(self) -> None:
        """Starts watching."""
        engines.on_wait = self.begin
        shell = self.notebook.shell
        self._old_start = shell.displayhook.start_displayhook
        shell.displayhook.start_displayhook = self._start_displayhook
        shell.events.register("pre_run_cell", self._cell_begins)
        self.notebook.cells.on_end.insert(0, self.cell_ends)
        self._thread = threading.Thread(target=self._serve, name="raynb-progress", daemon=True)
        self._thread.start()

    def uninstall(self) -> None:
        """Stops watching."""
        if engines.on_wait == self.begin:
            engines.on_wait = None
        shell = self.notebook.shell
        shell.displayhook.start_displayhook = self._old_start
        try:
            shell.events.unregister("pre_run_cell", self._cell_begins)
        except ValueError:  # somebody cleared the shell's events
            pass
        self._stopped = True
        self._runs.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def begin(self, waiter: Any) -> Callable[[], None]:
        """Enters a wait (the engine's ``on_wait``); returns the function to call at its end."""
        if threading.get_ident() != self._main:
            return _nothing
        self.current = (waiter, waiter.left, time.monotonic())
        if waiter.left:  # else it is not known for how many, as of `concurrent.futures.wait`: the cell's tasks count
            self._latest = self.current
            self._begun += 1
            self._asked += waiter.left
        router = self.notebook.router
        if self.notebook.cells.is_redirected():
            router.redirections.asked(waiter.keys)
        router.main_waits = True
        return self._end

    def _end(self) -> None:
        self.current = None
        self.notebook.router.main_waits = False

    def _start_displayhook(self) -> None:
        self.notebook.router.drain()
        self._old_start()

    def _cell_begins(self, info: object) -> None:
        self._latest = None
        self._begun = self._asked = 0
        self._runs.set()

    # -- our thread ----------------------------------------------------------------------------
    def _serve(self) -> None:
        while not self._stopped:
            self._runs.wait()
            self._runs.clear()
            cell = self.notebook.cells.running()
            if cell is not None and not self._stopped:
                self._watch(cell)
            if self.notebook.breakpoints is not None and not self._stopped:
                self.notebook.breakpoints.look()  # a task may have stopped just before the cell's end

    def _watch(self, cell: Cell) -> None:
        """Draws the bar of one cell until it has ended."""
        waited = 0
        with self._lock:
            self._bar = Bar(self.notebook, cell.scope)
        while self._goes_on(cell):
            time.sleep(INTERVAL_SECONDS)
            if self.notebook.breakpoints is not None:
                self.notebook.breakpoints.look()
            count = None if self.pausing else self._look(cell)
            waited = waited + 1 if count is not None else 0
            if count is None or waited * INTERVAL_SECONDS < self.notebook.config.progress_delay:
                continue
            with self._lock:
                if self._goes_on(cell) and self._bar is not None:
                    self._last = count
                    self._bar.show(count)

    def _goes_on(self, cell: Cell) -> bool:
        return not (cell.ended or self._stopped) and self.notebook.cells.running() is cell

    def cell_ends(self, cell: Cell, result: object) -> None:
        """Leaves the bar, if one is shown, at its last state, while the cell still counts as running."""
        with self._lock:
            bar, self._bar = self._bar, None
            if bar is None or not bar.shown or bar.scope != cell.scope:
                return
            error = getattr(result, "error_in_exec", None)
            over = "interrupted" if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)) else "stopped"
            bar.end(self._final(cell), over)

    def _final(self, cell: Cell) -> Count:
        """Returns what the cell's waits have come to, when it ends."""
        if self._latest is not None and self._begun == 1:
            return self._count_of_wait(self._latest)
        count = self._count_of(cell)
        if count is not None and count.ended == count.total:
            return count
        # A loop over some of the cell's tasks, or over those of other cells: what it waited for has ended.
        left = max(0, self.current[0].left) if self.current is not None else 0
        return Count(max(self._asked, 1), self._last.began, done=self._asked - left)

    def in_event_loop(self) -> bool:
        """Returns whether the main thread's event loop sleeps, so that it can be given something to do."""
        frame: FrameType | None = sys._current_frames().get(self._main or 0)
        return frame is not None and frame.f_code.co_filename.endswith("/selectors.py")

    def _look(self, cell: Cell) -> Count | None:
        """Returns how far the cell's wait is, or None when it doesn't wait for tasks."""
        waiting = self.current if self.current is not None and self.current[1] else None
        if waiting is not None and self._begun == 1:
            return self._count_of_wait(waiting)
        count = self._count_of(cell)
        if waiting is None:
            if count is None or count.ended == count.total or not _blocked(self._main):
                return None
            return count
        # One wait after the other is a loop: how many more will come is not known, the cell's tasks are.
        if count is not None and count.ended < count.total:
            return count
        return self._count_of_wait(waiting)

    @staticmethod
    def _count_of_wait(waiting: tuple[Any, int, float]) -> Count:
        """Returns how far one wait is: it counts what is waited for, and which of it failed."""
        waiter, missing, since = waiting
        count = Count(missing, since)
        engine = engines.driver()
        keys = getattr(waiter, "keys", ())
        if engine is not None and 0 < len(keys) <= MAX_REFS:
            states = [row.state for row in engine.rows(tasks=[ids.task_of(key) for key in keys]).tasks]
            count.failed, count.cancelled = states.count(FAILED), states.count(CANCELLED)
            if len(states) == missing:
                count.done = states.count(FINISHED)
                return count
        count.done = max(0, missing - max(0, waiter.left) - count.failed - count.cancelled)
        return count

    @staticmethod
    def _count_of(cell: Cell) -> Count | None:
        engine = engines.driver()
        if engine is None:
            return None
        counts: dict[str, int] = engine.scope_counts(cell.scope)
        total = sum(counts.values())
        if not total:
            return None
        left = unfinished(counts)
        failed, cancelled = counts.get(FAILED, 0), counts.get(CANCELLED, 0)
        done = counts.get(FINISHED, 0)
        assert done + failed + cancelled + left == total
        return Count(total, cell.began, done, failed, cancelled)


def _blocked(thread: int | None) -> bool:
    """Returns whether a thread is waiting for a future, a lock or an event loop."""
    frame: FrameType | None = sys._current_frames().get(thread or 0)
    return frame is not None and frame.f_code.co_filename.endswith(_WAITING_IN)
