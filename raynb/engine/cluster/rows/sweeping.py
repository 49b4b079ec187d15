"""Finds the ends of tasks that no worker reports any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray import exceptions as theirs

from raynb.base.rows import CANCELLED, FAILED, FINISHED, TASK_ENDED, TaskRow
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.rows.submitted import Rows
from raynb.exceptions import TaskCancelledError

_now = time.monotonic
MAX_UNREAD = 10_000  # rows that wait to be written, at the most
SWEEP_MAX_TASKS = 1000  # tasks that one look goes through
QUIET_SECONDS = 2.0  # seconds without news after which a task's ref itself is asked


class Sweeper:
    """Ends the rows of silent tasks: cancelled in Ray's queue, or their worker died.

    Thread contract: `look` on the listener's thread.
    """

    def __init__(self, rows: Rows, failed: Callable[[TaskRow], None], over: Callable[[int], None],
                 was_cancelled: Callable[[BaseException, int], bool],
                 is_cancelled: Callable[[int], bool]) -> None:  # fmt: skip
        """``over`` is called with the number of a call that has ended (see `NamedLater`); ``was_cancelled`` says of an
        error and its task whether it only tells where a cancellation met it, ``is_cancelled`` whether there was one."""
        self._rows = rows
        self._failed = failed
        self._over = over
        self._was_cancelled = was_cancelled
        self._is_cancelled = is_cancelled

    def look(self) -> None:
        """Asks Ray about tasks without a report for a while; writes rows only if there are too many, or one has ended.

        """
        if self._rows.unread() >= MAX_UNREAD:
            self._rows.read_all()
        silent = self._silent(_now() - QUIET_SECONDS)
        if not silent:
            return
        try:
            asked = [entry[0] for _, entry in silent]
            ready, _ = rays.wait(asked, num_returns=len(asked), timeout=0, fetch_local=False)
            stored = rays.stored(ready)
        except theirs.RayError:
            return
        there = set(ready)
        for task, entry in silent:
            if entry[0] not in there:
                continue
            if entry[0] in stored and len(entry) == 2:
                # A worker has made it, and its report is on the way: the value would come here for nothing.
                entry[1] = _now()
                entry.append(True)
            else:
                self._end_silent(task, entry[0], entry[0] in stored)

    def _silent(self, before: float) -> list[tuple[int, list[object]]]:
        """Returns the open tasks of which nothing was heard since, with their entries."""
        try:
            oldest = next(iter(self._rows.open.values()), None)
        except RuntimeError:  # another thread submits in this moment
            return []
        if oldest is None or oldest[1] >= before:
            return []
        silent = [(task, entry) for task, entry in self._rows.open.copy().items() if entry[1] < before]
        return silent[:SWEEP_MAX_TASKS]

    def _end_silent(self, task: int, native: object, stored: bool) -> None:
        kind, text, state = "", "", FINISHED
        try:
            if not stored:  # what Ray itself says of a death or a cancellation is here, and small
                rays.get(native, timeout=1.0)
        except theirs.GetTimeoutError:
            return
        except BaseException as raised:
            carried = bridge.failure_in(raised)
            if carried is not None:
                kind, text = carried.described  # as its worker reports it, whose word may be on its way
            else:
                error = bridge.translate(raised)
                if self._was_cancelled(error, task):
                    error = TaskCancelledError(rays.hex_of(native))
                kind, text = type(error).__name__, str(error)
            mine = carried is None or self._is_cancelled(task)  # else it is the error of a task that it waited for
            state = CANCELLED if mine and kind == TaskCancelledError.__name__ else FAILED
        with self._rows.lock:
            self._rows.open.pop(task, None)
            self._over(rays.number_of(native))
            row: TaskRow | None = self._rows.row_store.row("tasks", task)
            if row is not None and row.state not in TASK_ENDED:
                row.ended, row.error_type, row.error = _now(), kind, text
                self._rows.row_store.move_task(row, state)
                self._failed(row)
                if kind == "OutOfMemoryError":  # Ray's notice of these deaths names no process
                    for worker in self._rows.workers.values():
                        if worker.id == row.worker:
                            self._rows.worker_gone(worker, text)
