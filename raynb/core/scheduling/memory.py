"""Chooses the worker to kill when memory runs out: of the task that outgrew its `memory=`, else by Ray's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.rows import RUNNING
from raynb.base.spec import MEMORY
from raynb.core.vocabulary.events import MemoryMeasured
from raynb.core.vocabulary.records import Task, Worker

if TYPE_CHECKING:
    from raynb.core.actors.table import Actors
    from raynb.core.history import History
    from raynb.core.scheduling.pool import WorkerPool
    from raynb.core.tasks.cancelling import Cancelling

MB = 1 << 20


class MemoryPolicy:
    """Chooses the worker to kill when memory runs out.

    Rules: a task over its own `memory=` is stopped first; when the machine is short, Ray's policy picks one (retriable
    tasks first, the latest of them), one worker at a time.
    """

    def __init__(self, pool: WorkerPool, actors: Actors, cancelling: Cancelling, history: History) -> None:
        self._workers = pool.table
        self._actors = actors.table
        self._cancelling = cancelling
        self._history = history

    def measured(self, event: MemoryMeasured) -> None:
        """Enters the workers' memory (bytes) and CPU shares, and kills one worker if the machine is short."""
        for worker_id, rss in event.rss.items():
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._enter(worker, rss, event.fresh)
                worker.rss = rss
                worker.cpu = event.cpu.get(worker_id, 0.0)
        for worker in list(self._workers.values()):
            limit, name = self._limit(worker)
            if limit and worker.rss > limit and worker.kill_reason is None:
                self._stop(worker, event.now, (
                    f"{name} was stopped: its worker (pid {worker.pid}) used {worker.rss // MB} MiB, "
                    f"more than its memory={limit // MB} MiB."))  # fmt: skip
        if event.pressed:
            self._relieve(event)

    @staticmethod
    def _enter(worker: Worker, rss: int, fresh: int) -> None:
        """Enters a sample in the record of the task that runs there.

        What the worker had before the task is the last sample, or the first one of the task if that is less: the task
        before it may have had more.
        """
        if worker.queue and not worker.actor:
            task = worker.queue[0]
            if task.before < 0:
                task.before = min(worker.rss or fresh or rss, rss)
            task.peak = max(task.peak, rss)

    def _limit(self, worker: Worker) -> tuple[int, str]:
        if worker.actor:
            actor = self._actors[worker.actor]
            held = dict(actor.spec.held).get(MEMORY, 0) // 10_000
            return held, actor.spec.class_name
        if worker.queue:
            options = worker.queue[0].spec.options
            return options.memory, options.name
        return 0, ""

    def _relieve(self, event: MemoryMeasured) -> None:
        """Kills one worker by Ray's policy: the newest retriable task first, else the newest; never the kernel."""
        if any(w.kill_reason and w.kill_reason[0] == "OutOfMemoryError" for w in self._workers.values()):
            return  # one at a time: memory comes back when it is gone
        running = [
            (w, w.queue[0]) for w in self._workers.values()
            if w.queue and w.queue[0].state == RUNNING and w.kill_reason is None
        ]  # fmt: skip
        if not running:
            return
        worker, task = max(running, key=lambda pair: (pair[1].retries != 0, self._age(pair[1]), pair[0].rss))
        top = sorted(self._workers.values(), key=lambda w: -w.rss)[:5]
        who = ", ".join(f"pid {w.pid}: {w.rss // MB} MiB" for w in top)
        self._stop(worker, event.now, (
            f"{task.spec.options.name} was stopped because the machine ran out of memory "
            f"({event.used // MB} of {event.limit // MB} MiB used). Its worker (pid {worker.pid}) used "
            f"{worker.rss // MB} MiB; the largest workers: {who}. Use fewer workers at a time "
            "(num_cpus), smaller pieces, or memory= to reserve."))  # fmt: skip

    def _age(self, task: Task) -> float:
        return task.started

    def _stop(self, worker: Worker, now: float, text: str) -> None:
        self._history.record(now, "worker", worker.id, "stopped: out of memory")
        self._cancelling.kill_worker(worker.id, "OutOfMemoryError", text)
