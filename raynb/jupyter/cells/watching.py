"""Follows the tasks of one cell to their end: progress, the first failure, cancelling the rest."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynb import api
from raynb.base.ref import ObjectRef
from raynb.exceptions import RuntimeGoneError, TaskCancelledError
from raynb.jupyter.cells.submission import SubmittedCell
from raynb.jupyter.on_worker.results import VALUE, CellEnd, LoopEnd
from raynb.jupyter.progress.bar import Bar, Count, line_bundle

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between two pictures of a bar.
INTERVAL_SECONDS = 0.2

#: Seconds after which the bar of a loop in the background moves on though no item has ended.
TICK_SECONDS = 1.0


@dataclass(slots=True)
class Again:
    """A cell that was submitted again: its tasks, and what is done when they have ended."""

    watch: Watch
    finish: Callable[[], None]


class Watch:
    """Follows a cell's tasks to their end.

    Args:
        notebook: where to show it.
        scope: the cell.
        done: the tasks.
        stop_on_error: cancel the rest at the first failure.
        strict: a cell or an item none of whose names come back has failed.

    Thread contract: callbacks of futures come on any thread; counts change under a lock.
    """

    def __init__(self, notebook: Notebook, scope: int, done: SubmittedCell, stop_on_error: bool = False,
                 strict: bool = False) -> None:  # fmt: skip
        self.notebook = notebook
        self.strict = strict
        #: What became of the names of a cell that isn't a loop.
        self.end = CellEnd()
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
        self._reported: set[str] = set()  # names that cannot come back
        self._quiet = False  # failures are raised by the caller instead

    def begin(self, quiet: bool) -> None:
        """Starts following; ``quiet``: the waiting caller raises the first failure."""
        self._quiet = quiet
        if not self.tasks.status:  # ``%%everywhere`` while only actors have workers
            self.finished.set()
        returns = self.tasks.returns or [[]] * len(self.tasks.items)
        for ref, items, refs in zip(list(self.tasks.status), self.tasks.items, returns, strict=True):
            future = ref.future()
            future.add_done_callback(functools.partial(self._ended, items, refs))

    def in_background(self, progress: bool) -> None:
        """Follows without waiting: shows the bar (of loops) and the first failure in the cell."""
        if progress and self.notebook.shows_bars(self.scope):
            self._display_id = f"raynb-each-{id(self):x}"
        self.notebook.follow(self.finished)
        self.begin(quiet=False)
        if self._display_id:
            self._show(False)
            threading.Thread(target=self._tick, name="raynb-each", daemon=True).start()

    # -- callbacks -----------------------------------------------------------------------------
    def _ended(self, items: int, returns: list[Any], future: Any) -> None:
        error = _error_of(future)
        status = future.result() if error is None else None
        if isinstance(status, CellEnd):
            self.end = status
            self._names_ended(status, returns)
        elif isinstance(status, LoopEnd):
            self._items_ended(items, status, returns)
        else:
            self._count(items, items, error)

    def _names_ended(self, end: CellEnd, returns: list[Any]) -> None:
        """A cell has ended, and not all of its names came back.

        Where nobody watches it has failed if something cannot come back, nothing else did, and it has no
        value either. A name that it did not bind is no failure: a plain cell ends well without it, too.
        """
        outputs = list(self.tasks.outputs)
        stuck = [name for name in end.stuck if name in outputs]
        missing = len(stuck) + sum(name in outputs for name in end.unbound)
        if self.strict and stuck and missing == len(outputs) and self.tasks.value is None:
            self._then_count(returns[outputs.index(stuck[0])], 1, 1)
            return
        for name in end.stuck:
            if name in outputs:
                self._say_stuck(name, returns[outputs.index(name)])
        self._count(1, 0, None)

    def _items_ended(self, items: int, end: LoopEnd, returns: list[Any]) -> None:
        """Some items of a task failed, and it went on; or some of their outputs cannot come back."""
        lost = end.lost if self.strict else 0
        if lost or end.failed:
            self._then_count(returns[end.place if end.failed else end.lost_place], items, end.failed + lost)
        for name, place in end.stuck:
            if name != VALUE and not lost:
                self._say_stuck(name, returns[place])
        if not (lost or end.failed):
            self._count(items, 0, None)

    def _then_count(self, ref: Any, items: int, failed: int) -> None:
        ref.future().add_done_callback(lambda known: self._count(items, failed, _error_of(known)))

    def _say_stuck(self, name: str, ref: Any) -> None:
        """Says once in the cell that an output cannot come back."""
        with self._lock:
            if name in self._reported:
                return
            self._reported.add(name)
        ref.future().add_done_callback(
            lambda known: self.notebook.show_stuck(self.scope, name, _error_of(known) or TypeError("it is lost"))
        )

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
        if self._display_id and (last or time.monotonic() - self._shown_at > INTERVAL_SECONDS):
            self._show(True)
        if last:
            self.tasks.status.clear()
            self.tasks.returns.clear()
            self.finished.set()

    def _tick(self) -> None:
        """Redraws the bar while no task ends."""
        while not self.finished.wait(TICK_SECONDS):
            if time.monotonic() - self._shown_at > TICK_SECONDS:
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
        self.notebook.router.show_latest(self.scope, "update_display" if update else "display", self._line)

    def _line(self) -> dict[str, Any]:
        count = self.count
        now = time.monotonic()
        gone = "" if count.ended >= count.total else count.gone(now)
        return line_bundle(count.text(now), count.share(), self._display_id, bool(count.failed), gone)


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
    wait_for_all(notebook, watch.scope, [watch], begin=True)
    if watch.first_error is not None:
        raise watch.first_error


def wait_for_all(notebook: Notebook, scope: int, watches: Sequence[Watch], begin: bool = False) -> None:
    """Waits until the tasks that are watched have ended, with one bar in the cell of a scope.

    Args:
        begin: nobody follows them yet; their failures are raised by the caller.

    Raises:
        KeyboardInterrupt: that cell was interrupted.
    """
    router = notebook.router
    status = [ref for watch in watches for ref in list(watch.tasks.status)]
    router.redirections.asked([ref._id for ref in status if isinstance(ref, ObjectRef)])
    router.main_waits = True
    for watch in watches if begin else ():
        watch.begin(quiet=True)
    bar = Bar(notebook, scope)
    if notebook.waits is not None:
        notebook.waits.pausing = True  # this bar counts items, which is better than tasks
    over = "stopped"
    try:
        while unfinished := [watch for watch in watches if not watch.finished.is_set()]:
            if unfinished[0].finished.wait(INTERVAL_SECONDS):
                continue
            if notebook.breakpoints is not None:
                notebook.breakpoints.serve()
            bar.show(_together(watches))
            for watch in unfinished:
                if watch.first_error is not None and watch.stop_on_error:
                    watch.cancel()
    except KeyboardInterrupt:
        over = "interrupted"
        raise
    finally:
        router.main_waits = False
        bar.end(_together(watches), over)
        if notebook.waits is not None:
            notebook.waits.pausing = False


def _together(watches: Sequence[Watch]) -> Count:
    """Returns the sum of the watches' counts."""
    counts = [watch.count for watch in watches]
    if len(counts) == 1:
        return counts[0]
    found = Count(sum(count.total for count in counts), min((count.began for count in counts), default=0.0))
    for count in counts:
        found.done += count.done
        found.failed += count.failed
        found.cancelled += count.cancelled
    return found


def bind_values(notebook: Notebook, watch: Watch, outputs: dict[str, Any]) -> None:
    """Binds the values of a cell that has ended; of those that cannot come back, the refs stay.

    Raises:
        RayTaskError: an item of a loop failed, or nothing can come back.
    """
    all_stuck = all(name in watch.end.stuck for name in outputs)
    for name, refs in outputs.items():
        if all_stuck or name not in watch.end.stuck:
            notebook.shell.push({name: api.get(refs)})


def forget_unbound(notebook: Notebook, watch: Watch, outputs: dict[str, Any], before: dict[str, Any]) -> None:
    """After a wait: names that the cell did not bind are in the notebook what they were before, or are not there."""
    namespace = notebook.shell.user_ns
    for name in (*watch.end.kept, *watch.end.unbound):
        ref = outputs.pop(name, None)
        if name in before:
            notebook.shell.push({name: before[name]})
        elif name in watch.end.unbound and namespace.get(name) is ref:
            del namespace[name]
