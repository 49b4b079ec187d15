"""Cancelling, and what else ends a task from outside: its timeout, the grace after an interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.rows import PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, RUNNING, SUBMITTED_TO_WORKER, TASK_ENDED
from raynb.core.vocabulary import commands as c

if TYPE_CHECKING:
    from raynb.core.machine import Machine


class Cancelling:
    def __init__(self, machine: Machine) -> None:
        self.m = machine

    def cancel(self, task_id: int, force: bool, recursive: bool) -> bool:
        """Cancels one task; returns whether it was unfinished."""
        task = self.m.tasks.table.get(task_id)
        if recursive:
            for child in list(self.m.tasks.children.get(task_id, ())):
                self.cancel(child, force, True)
        if task is None or task.state in TASK_ENDED or task.spec.creates_actor:
            return False
        m = self.m
        m.history.note(m.now, "task", task_id, "cancel asked")
        task.cancelled = True
        if task.state in (PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT):
            if task.spec.actor:
                m.calls.drop_queued(task)
            m.tasks.end_cancelled(task)
        elif task.spec.actor:
            m.out.append(c.Interrupt(task.worker, task_id))
            m.calls.cancel_sent(task)
        elif force and task.state == RUNNING:
            self.doom(task.worker, "TaskCancelledError", "")
        else:
            m.out.append(c.Interrupt(task.worker, task_id))
            if task.state == RUNNING or task.state == SUBMITTED_TO_WORKER:
                m.timer(m.now + m.cancel_grace, "grace", task_id)
        return True

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already ended)."""
        ended = sum(self.m.tasks.scopes.get(scope, {}).values())
        count = 0
        for task_id in sorted(self.m.tasks.open_in.get(scope, ()), reverse=True):
            task = self.m.tasks.table.get(task_id)
            if task is not None and not task.spec.parent:
                count += self.cancel(task_id, False, True)
        return count, ended

    def doom(self, worker_id: int, kind: str, text: str) -> None:
        """Kills a worker for the sake of its running task."""
        worker = self.m.pool.table.get(worker_id)
        if worker is not None and worker.doom is None:
            worker.doom = (kind, text)
            self.m.out.append(c.KillWorker(worker_id))

    def timer(self, what: str, task_id: int) -> None:
        """The time of a task is up: its own, or the grace after an interrupt."""
        task = self.m.tasks.table.get(task_id)
        if task is None:
            return
        if what == "grace" and task.cancelled and task.worker and task.state == RUNNING:
            self.doom(task.worker, "TaskCancelledError", "")
        elif what == "timeout" and task.state == RUNNING:
            seconds = task.spec.options.timeout
            self.doom(task.worker, "TaskTimeoutError",
                      f"{task.spec.options.name} did not finish within its timeout of {seconds} s.")  # fmt: skip
