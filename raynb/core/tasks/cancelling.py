"""Cancelling, and what else ends a task from outside: its timeout, the grace after an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from raynb.base.rows import PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, RUNNING, SUBMITTED_TO_WORKER, TASK_ENDED
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.records import Worker

if TYPE_CHECKING:
    from raynb.core.actors.calls import Calls
    from raynb.core.history import History
    from raynb.core.tasks.table import Tasks


class Cancelling:
    """Cancels tasks, and ends those that exceed their timeout.

    Rules: a task that waits ends at once; a running one is interrupted, and its worker is killed when `cancel_grace`
    (seconds) is over. Time at a breakpoint does not count towards a timeout.
    """

    def __init__(
        self, step: Step, history: History, workers: Mapping[int, Worker], tasks: Tasks, calls: Calls, grace: float
    ) -> None:  # fmt: skip
        self._step = step
        self._history = history
        self._workers = workers
        self._tasks = tasks
        self._calls = calls
        self._grace = grace  # seconds between an interrupt and the end of the worker
        #: Task at a breakpoint → when it stopped there.
        self.paused: dict[int, float] = {}
        self._lent: dict[int, float] = {}  # task → seconds at breakpoints that its timeout has not got back yet
        self._overdue: dict[int, float] = {}  # task at a breakpoint → seconds that are left of its timeout

    def handlers(self) -> dict[type, Callable[[Any], None]]:
        """Returns the handlers of the events that only concern cancelling."""
        return {
            e.ScopeCancelAsked: self._scope_cancel_asked,
            e.TaskPaused: lambda ev: self.pause(ev.task),
            e.TaskResumed: lambda ev: self.resume(ev.task),
        }

    def _scope_cancel_asked(self, event: e.ScopeCancelAsked) -> None:
        self.cancel_scope(event.scope)

    # -- breakpoints ---------------------------------------------------------------------------
    def pause(self, task_id: int) -> None:
        """Stops the timeout of a task that waits at a breakpoint."""
        if task_id in self._tasks.table:
            self.paused.setdefault(task_id, self._step.now)

    def resume(self, task_id: int) -> None:
        """Runs the timeout of a task that left its breakpoint, with the seconds it had left."""
        since = self.paused.pop(task_id, None)
        left = self._overdue.pop(task_id, None)
        if left is not None:
            self._step.timer(self._step.now + left, "timeout", task_id)
        elif since is not None and self._has_timeout(task_id):
            self._lent[task_id] = self._lent.get(task_id, 0.0) + self._step.now - since

    def _has_timeout(self, task_id: int) -> bool:
        task = self._tasks.table.get(task_id)
        return task is not None and task.spec.options.timeout is not None

    def _stands_still(self, task_id: int) -> bool:
        """Returns whether a timer came too early, because the task is or was at a breakpoint."""
        lent = self._lent.pop(task_id, 0.0)
        since = self.paused.get(task_id)
        if since is not None:
            self._overdue[task_id] = self._step.now - since + lent
        elif lent:
            self._step.timer(self._step.now + lent, "timeout", task_id)
        return since is not None or lent > 0

    # -- cancelling ----------------------------------------------------------------------------
    def cancel(self, task_id: int, force: bool, recursive: bool) -> bool:
        """Cancels one task; returns whether it was unfinished."""
        task = self._tasks.table.get(task_id)
        if recursive:
            for child in list(self._tasks.children.get(task_id, ())):
                self.cancel(child, force, True)
        if task is None or task.state in TASK_ENDED or task.spec.creates_actor:
            return False
        self._history.record(self._step.now, "task", task_id, "cancel asked")
        task.cancelled = True
        if task.state in (PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT):
            if task.spec.actor:
                self._calls.drop_queued(task)
            self._tasks.end_cancelled(task)
        elif task.spec.actor:
            self._step.out.append(c.Interrupt(task.worker, task_id))
            self._calls.cancel_sent(task)
        elif force and task.state == RUNNING:
            self.kill_worker(task.worker, "TaskCancelledError", "")
        else:
            self._step.out.append(c.Interrupt(task.worker, task_id))
            if task.state == RUNNING or task.state == SUBMITTED_TO_WORKER:
                self._step.timer(self._step.now + self._grace, "grace", task_id)
        return True

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already ended)."""
        ended = sum(self._tasks.scopes.get(scope, {}).values())
        count = 0
        for task_id in sorted(self._tasks.open_in.get(scope, ()), reverse=True):
            task = self._tasks.table.get(task_id)
            if task is not None and not task.spec.parent:
                count += self.cancel(task_id, False, True)
        return count, ended

    def kill_worker(self, worker_id: int, kind: str, text: str) -> None:
        """Kills a worker in order to end its running task."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.kill_reason is None:
            worker.kill_reason = (kind, text)
            self._step.out.append(c.KillWorker(worker_id))

    def timer(self, what: str, task_id: int) -> None:
        """Applies a timer of a task: its timeout, or the grace after an interrupt."""
        task = self._tasks.table.get(task_id)
        if task is None or task.state != RUNNING:
            self._lent.pop(task_id, None)
            return
        if what == "grace" and task.cancelled and task.worker:
            self.kill_worker(task.worker, "TaskCancelledError", "")
        elif what == "timeout" and not self._stands_still(task_id):
            seconds = task.spec.options.timeout
            self.kill_worker(task.worker, "TaskTimeoutError",
                      f"{task.spec.options.name} did not finish within its timeout of {seconds} s.")  # fmt: skip
