"""Following the tasks of one cell to their end: progress, the first failure, stopping the rest."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any

from raynb import api
from raynb.exceptions import RuntimeGoneError, TaskCancelledError
from raynb.jupyter.cells.submission import Submitted
from raynb.jupyter.progress.bar import Bar, Count, line_bundle

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between two pictures of a bar.
INTERVAL = 0.2

#: Seconds after which the bar of a loop in the background moves on though no item has ended.
TICK = 1.0


class Watch:
    """What has become of a cell's tasks.

    Args:
        notebook: where to show it.
        scope: the cell.
        done: the tasks.
        stop_on_error: cancel the rest at the first failure.

    Thread contract: callbacks of futures come on any thread; counts change under a lock.
    """

    def __init__(self, notebook: Notebook, scope: int, done: Submitted, stop_on_error: bool = False) -> None:
        self.notebook = notebook
        self.scope = scope
        self.tasks = done
        self.stop_on_error = stop_on_error
        self.count = Count(total=sum(done.items), began=time.monotonic())
        self.first_error: BaseException | None = None
        self.finished = threading.Event()
        self._lock = threading.Lock()
        self._pending = len(done.status)
        self._shown_at = 0.0
        self._display_id = ""
        self._quiet = False  # failures are raised by the caller instead

    def begin(self, quiet: bool) -> None:
        """Starts following; ``quiet``: whoever waits raises the first failure."""
        self._quiet = quiet
        if not self.tasks.status:  # ``%%everywhere`` while only actors have workers
            self.finished.set()
        firsts = self.tasks.firsts or [[]] * len(self.tasks.items)
        for ref, items, outputs in zip(list(self.tasks.status), self.tasks.items, firsts, strict=True):
            future = ref.future()
            future.add_done_callback(functools.partial(self._ended, items, outputs))

    def in_background(self, progress: bool) -> None:
        """Follows without waiting: shows the bar (of loops) and the first failure in the cell."""
        if progress and self.notebook.shows_bars(self.scope):
            self._display_id = f"raynb-each-{id(self):x}"
        self.begin(quiet=False)
        if self._display_id:
            self._show(False)
            threading.Thread(target=self._tick, name="raynb-each", daemon=True).start()

    # -- callbacks -----------------------------------------------------------------------------
    def _ended(self, items: int, outputs: list[Any], future: Any) -> None:
        error = _error_of(future)
        status = future.result() if error is None else None
        if outputs and isinstance(status, tuple):  # some items of the task failed, and it went on
            failed, first_failed = status
            outputs[first_failed].future().add_done_callback(
                lambda known: self._count(items, failed, _error_of(known))
            )
        else:
            self._count(items, items, error)

    def _count(self, items: int, failed: int, error: BaseException | None) -> None:
        """Counts a task of so many items, of which ``failed`` failed if there is an error."""
        first = False
        with self._lock:
            self._pending -= 1
            last = not self._pending
            if error is None:
                self.count.done += items
            elif isinstance(error, TaskCancelledError):
                self.count.cancelled += items
            else:
                self.count.failed += failed
                self.count.done += items - failed
                first = self.first_error is None
                self.first_error = self.first_error or error
        if first and error is not None:
            self._failed(error)
        if self._display_id and (last or time.monotonic() - self._shown_at > INTERVAL):
            self._show(True)
        if last:
            self.tasks.status.clear()
            self.tasks.firsts.clear()
            self.finished.set()

    def _tick(self) -> None:
        """Moves the bar on while nothing ends."""
        while not self.finished.wait(TICK):
            if time.monotonic() - self._shown_at > TICK:
                self._show(True)

    def _failed(self, error: BaseException) -> None:
        if self.stop_on_error:
            threading.Thread(target=self.cancel, name="raynb-stop", daemon=True).start()
        if not self._quiet:
            self.notebook.show_failure(self.scope, error)

    def cancel(self) -> None:
        """Cancels what has not ended."""
        for ref in list(self.tasks.status):
            try:
                api.cancel(ref)
            except RuntimeGoneError:
                return

    def _show(self, update: bool) -> None:
        self._shown_at = time.monotonic()
        count = self.count
        bundle = line_bundle(count.text(time.monotonic()), count.share(), self._display_id, bool(count.failed))
        self.notebook.router.show_rich(self.scope, "update_display" if update else "display", bundle)


def _error_of(future: Any) -> BaseException | None:
    if future.cancelled():
        return TaskCancelledError()
    error: BaseException | None = future.exception()
    return error


def wait_for(notebook: Notebook, watch: Watch) -> None:
    """Waits until a cell's tasks have ended, with a bar; raises the first failure.

    Raises:
        RayTaskError: a task failed.
        KeyboardInterrupt: the cell was interrupted.
    """
    watch.begin(quiet=True)
    bar = Bar(notebook, watch.scope)
    if notebook.waits is not None:
        notebook.waits.pausing = True  # this bar counts items, which is better than tasks
    over = "stopped"
    try:
        while not watch.finished.wait(INTERVAL):
            if notebook.breakpoints is not None:
                notebook.breakpoints.serve()
            bar.show(watch.count)
            if watch.first_error is not None and watch.stop_on_error:
                watch.cancel()
    except KeyboardInterrupt:
        over = "interrupted"
        raise
    finally:
        bar.end(watch.count, over)
        if notebook.waits is not None:
            notebook.waits.pausing = False
    if watch.first_error is not None:
        raise watch.first_error
