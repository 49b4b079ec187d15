"""The ends of tasks, as their workers report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raynb.base import ends
from raynb.base.ends import Done
from raynb.base.ids import INDEX_BITS, object_id
from raynb.base.rows import CANCELLED, FAILED, FINISHED
from raynb.base.spec import STREAMING, Value
from raynb.core.objects.table import is_error, is_stored
from raynb.core.step import Step
from raynb.core.tasks import retries
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import TasksFinished
from raynb.core.vocabulary.records import Task, Worker

if TYPE_CHECKING:
    from raynb.core.actors.calls import Calls
    from raynb.core.actors.table import Actors
    from raynb.core.objects.streams import Streams
    from raynb.core.objects.table import Objects
    from raynb.core.scheduling.pool import WorkerPool
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.lineage import Lineage
    from raynb.core.tasks.retries import Retries
    from raynb.core.tasks.table import Tasks


class Finishing:
    """Ends tasks as their workers report it: with values, with an error, or for another attempt.

    Rules: an end counts if the task is at the worker that reports it; else its bytes are freed. What the end makes
    possible follows at once: the worker's next task, the actor's next calls.
    """

    def __init__(
        self, step: Step, workers: Mapping[int, Worker], tasks: Tasks, objects: Objects, streams: Streams,
        lineage: Lineage, retries: Retries, scheduler: Scheduler, pool: WorkerPool, actors: Actors, calls: Calls,
    ) -> None:  # fmt: skip
        self._step = step
        self._workers = workers
        self._tasks = tasks
        self._objects = objects
        self._streams = streams
        self._lineage = lineage
        self._retries = retries
        self._scheduler = scheduler
        self._pool = pool
        self._actors = actors
        self._calls = calls

    def finished(self, event: TasksFinished) -> None:
        """Applies the ends of tasks that a worker reports, in their order."""
        worker_id = event.worker
        worker = self._workers.get(worker_id)
        table = self._tasks.table
        pooled = worker is not None and not worker.actor
        if pooled:
            self._scheduler.hold()
        for done in event.ends:
            task_id, values, flags, _, started, fetched, ran = done
            task = table.get(task_id)
            if task is None or worker is None or task.worker != worker_id:
                self._stale(done)
                continue
            if ran:
                task.started, task.fetched, task.ran = started, fetched, ran
                if not task.spec.actor:
                    self._scheduler.measured(task.spec.options.function, ran - started)
            actor = worker.actor
            if actor:
                self._calls.answered(worker, task)
            else:
                self._pool.task_done(worker, task)
            if not flags:
                self._succeeded(task, values)
                if len(values) > 1 and not actor and any(is_error(value) for value, _, _ in values):
                    self._pool.frames.failed_on(worker)
            else:
                self._ended_with(task, done, worker)
            if not actor:
                self._pool.refill(worker_id)
            elif task_id == actor:
                self._actors.created(task, flags)
                self._calls.send_more(actor)
            elif flags & ends.EXITS:
                self._actors.exiting(actor)
        if pooled:
            self._scheduler.release()  # also where an actor has taken the worker meanwhile
        elif worker is not None:
            self._calls.advance(worker.actor)

    def _ended_with(self, task: Task, done: Done, worker: Worker) -> None:
        """Ends a task that failed, was cancelled, or ended its worker too."""
        flags = done.flags
        if flags & ends.EXITS and not worker.actor:
            worker.retiring = True
        if not flags & ends.FAILED:
            self._succeeded(task, done.values)
            return
        cancelled = flags & ends.CANCELLED
        then = retries.after_error(task.retries, bool(flags & ends.RETRYABLE), task.cancelled)
        if then == retries.CANCEL:
            self._stale(done)
            self._tasks.end_cancelled(task)
            return
        if then == retries.AGAIN:
            self._retries.after_exception(task, done.error[1].rstrip().rpartition("\n")[2])
            return
        value, _, contained = done.values[0]
        if task.cancelled and cancelled:
            value = self._tasks.cancelled_value(task)
        task.error = done.error
        if not (cancelled or worker.actor):
            self._pool.frames.failed_on(worker)
        self._tasks.fail(task, value, CANCELLED if cancelled else FAILED, contained)

    def _succeeded(self, task: Task, values: tuple[tuple[Value, int, tuple[int, ...]], ...]) -> None:
        objects = self._objects
        spec = task.spec
        stored = False
        size = 0
        self._tasks.move(task, FINISHED)
        identity = spec.task_id << INDEX_BITS
        for value, nbytes, contained in values:
            identity += 1
            obj = objects.table.get(identity)
            size += nbytes
            kept = type(value) is tuple and is_stored(value)
            if obj is not None:
                objects.set_value(obj, value, nbytes, contained)
                stored = stored or kept
            elif kept:
                self._step.out.append(c.Free(value, identity))
        task.size += size
        if spec.options.num_returns == STREAMING:
            self._streams.ended(task, None)
        if stored or spec.creates_actor:
            self._lineage.keep(task, stored)
        self._tasks.end(task)

    def _stale(self, done: Done) -> None:
        """Frees the bytes of a result that nobody waits for: the task had failed meanwhile."""
        for index, (value, _, _) in enumerate(done.values, 1):
            if is_stored(value):
                self._step.out.append(c.Free(value, object_id(done.task, index)))
