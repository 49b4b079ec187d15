"""What the cluster's workers tell the driver, written into the rows of the views."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from raynb.base.rows import (
    ALIVE,
    BUSY,
    CANCELLED,
    DEAD,
    FAILED,
    IDLE,
    RUNNING,
    TASK_ENDED,
    ActorRow,
    Output,
    TaskRow,
    WorkerRow,
)
from raynb.engine.logs import Logs
from raynb.engine.row_store import RowStore

_now = time.monotonic


class News:
    """The part of `ClusterEngine` that listens.

    Thread contract: `_take` on the listener's thread; the rest under ``_rows_lock``.
    """

    book: RowStore
    logs_kept: Logs
    on_output: list[Callable[[Output], None]]
    _rows_lock: Any
    _workers: dict[str, WorkerRow]
    _open: dict[int, list[Any]]
    _new_row: Any
    _object_rows: Any

    def _take(self, worker: str, events: list[Any]) -> None:
        handlers: dict[str, Callable[..., None]] = {
            "out": self._printed, "start": self._began, "end": self._ended, "actor": self._actor_changed,
            "submit": self._submitted_there,
        }  # fmt: skip
        with self._rows_lock:
            for kind, *rest in events:
                handlers[kind](*rest)

    def _printed(self, kind: str, task: int, texts: list[str], bundle: Any, scope: int, name: str, actor: int,
                 pid: int) -> None:  # fmt: skip
        self.deliver(Output(kind, task, scope, pid, pid, name, actor, "".join(texts), bundle))

    def deliver(self, output: Output) -> None:
        """Hands a task's output on (listeners only queue it)."""
        self.logs_kept.add(output)
        for listener in list(self.on_output):
            listener(output)

    def _began(self, task: int, pid: int, worker: str, wall: float) -> None:
        known = self._workers.get(worker)
        if known is None:
            known = self._workers[worker] = WorkerRow(pid, pid, started=wall - self.book.wall)
        row: TaskRow | None = self.book.row("tasks", task)
        known.state, known.task = BUSY, task
        self.book.put("workers", known)
        if row is None:
            return
        if row.started and row.state == RUNNING:
            row.attempt += 1  # again: its worker died, or what it raised is retried
        row.worker, row.pid, row.started = pid, pid, wall - self.book.wall
        if row.actor:
            known.actor = row.actor
        self._heard(task)
        if row.state not in TASK_ENDED:
            self.book.move_task(row, RUNNING)

    def _heard(self, task: int) -> None:
        entry = self._open.get(task)
        if entry is not None:
            entry[1] = _now()

    def _ended(self, task: int, state: str, times: tuple[float, ...], kind: str, text: str, size: int) -> None:
        row: TaskRow | None = self.book.row("tasks", task)
        for worker in self._workers.values():
            if worker.task == task:
                worker.state, worker.task = IDLE, 0
                worker.finished += 1
                self.book.put("workers", worker)
        self._open.pop(task, None)
        if row is None or row.state in (FAILED, CANCELLED):
            return
        row.started, row.fetched, row.ran, row.ended = (at - self.book.wall for at in times)
        row.error_type, row.error, row.size = kind, text, size
        self.book.move_task(row, state)
        self._object_rows(row)

    def _actor_changed(self, actor: int, state: str, pid: int, cause: str) -> None:
        row: ActorRow | None = self.book.row("actors", actor)
        if row is not None and row.state != DEAD:
            if state == ALIVE and row.state == ALIVE:
                row.restarts += 1
            row.state, row.pid, row.worker, row.death_cause = state, pid, pid, cause
            self.book.put("actors", row)

    def _submitted_there(self, task: int, told: Any, scope: int, parent: int, actor: int, creates: bool,
                         wall: float) -> None:  # fmt: skip
        name, function, amounts = told
        self._new_row(task, name, function, amounts, scope, parent, actor, creates, wall - self.book.wall)
