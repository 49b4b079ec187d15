"""Tasks that run again: after an error, a crash, a restart, or because they were handed back unstarted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raynb.base.rows import PENDING_NODE_ASSIGNMENT
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import WorkerDied
from raynb.core.vocabulary.records import MAX_SPARED_DEATHS, Task, Worker

if TYPE_CHECKING:
    from raynb.core.history import History
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.table import Tasks

BACKOFF_FIRST_SECONDS = 0.05  # seconds before the retry after a second crash, doubled each time
BACKOFF_MAX_SECONDS = 10.0

#: What follows when an attempt has raised.
FAIL, AGAIN, CANCEL = "fail", "again", "cancel"


def after_error(retries: int, retryable: bool, cancelled: bool) -> str:
    """Returns `FAIL`, `AGAIN` or `CANCEL` for a task that raised something else than its cancellation.

    Args:
        retries: how many are left; -1: without end.
        retryable: its ``retry_exceptions`` covers what it raised.
        cancelled: somebody has cancelled it. That takes its further attempts, so the error is not its end.
    """
    if not (retryable and retries):
        return FAIL
    return CANCEL if cancelled else AGAIN


def less_one(retries: int) -> int:
    """Returns how many retries are left after one more attempt; -1 (without end) stays."""
    return retries - 1 if retries > 0 else retries


def crashed_at(tasks: Sequence[Task], current: int) -> int:
    """Returns which of the tasks that a dead worker was sent has crashed (its place); -1: none had begun.

    Those before it had ended, but their results, which may be made again, had not been sent. A worker that says it
    ran something else had not begun with any of these; that is believed a few times a task.

    Args:
        current: the task that it ran, by its own account; 0: unknown.
    """
    for place, task in enumerate(tasks):
        if task.spec.task_id == current:
            return place
    if current and tasks and tasks[0].spared < MAX_SPARED_DEATHS:
        tasks[0].spared += 1
        return -1
    return 0


class Retries:
    """Decides whether a failed task runs again, and when.

    Rules: deaths of a worker before it began with a task don't count (up to a limit); other crashes and errors that
    may be retried use up ``max_retries``; repeated crashes wait ever longer (`BACKOFF_MAX_SECONDS`).
    """

    def __init__(self, step: Step, history: History, tasks: Tasks, scheduler: Scheduler, pause: float) -> None:
        self._step = step
        self._history = history
        self._tasks = tasks
        self._scheduler = scheduler
        self._pause = pause  # seconds before the second retry after an exception, and each further one

    def connect(self, *, enqueue_call: Callable[[Task], None]) -> None:
        """Sets what queues an actor's call again."""
        self._enqueue_call = enqueue_call

    def revive(self, creation: Task) -> None:
        """Queues an actor's creation task again, for a restart."""
        creation.spec.attempt += 1
        self._tasks.table[creation.spec.task_id] = creation
        self._tasks.move(creation, PENDING_NODE_ASSIGNMENT)

    def again(self, task: Task, why: str) -> None:
        """Queues a failed task for one more attempt."""
        task.retries = less_one(task.retries)
        task.spec.attempt += 1
        self._history.record(self._step.now, "task", task.spec.task_id, f"retry {task.spec.attempt}: {why[:200]}")
        self.requeue(task)

    def after_exception(self, task: Task, why: str) -> None:
        """One more attempt of a task that raised: the first at once, further ones after a pause, so that a few
        outlast a hiccup of something outside (Ray pauses for a second, too)."""
        task.raised += 1
        if task.raised > 1:
            task.not_before = self._step.now + self._pause
        self.again(task, why)

    def requeue(self, task: Task, front: bool = False) -> None:
        """Queues a task again: a retry, or one that was handed back unstarted."""
        if task.cancelled:
            self._tasks.end_cancelled(task)
            return
        task.worker = 0
        self._tasks.move(task, PENDING_NODE_ASSIGNMENT)
        if task.spec.actor:
            self._enqueue_call(task)
        else:
            self._scheduler.enqueue(task, front)

    def crashed(self, task: Task, worker: Worker, event: WorkerDied) -> None:
        """Retries a task whose worker died under it, or fails it with the cause."""
        name = task.spec.options.name
        if task.cancelled and (worker.kill_reason is None or worker.kill_reason[0] == "TaskCancelledError"):
            self._tasks.end_cancelled(task)
            return
        kind, text = worker.kill_reason or ("OutOfMemoryError" if event.oom else "WorkerCrashedError", "")
        if kind == "TaskTimeoutError" or not task.retries:
            text = text or (
                f"The worker (pid {worker.pid}) running {name} died unexpectedly: {event.reason}. "
                f"It was attempt {task.spec.attempt + 1}."
            )
            self._tasks.fail(task, ("err", kind, (text,)))
            return
        task.deaths += 1
        if task.deaths > 1:
            task.not_before = self._step.now + min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (task.deaths - 2))
            if task.spec.options.max_retries < 0 and (task.deaths == 3 or task.deaths % 5 == 0):
                self._step.out.append(c.Warn(
                    f"{name} has crashed its worker {task.deaths} times ({event.reason}); it is tried again, "
                    "less and less often, because of max_retries=-1.", task.spec.scope))  # fmt: skip
        self.again(task, event.reason)
