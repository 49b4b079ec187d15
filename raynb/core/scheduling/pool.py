"""The worker processes: which are idle, busy, blocked or an actor's; when to start and stop them.

Theory of operation. Each worker is a `Worker` in one state of `WORKER` (all transitions: docs/states.md):

    STARTING ──► IDLE ◄──► BUSY ◄──► BLOCKED        any state ──► DEAD
                  └──────────┴─────► ACTOR

A shape (see scheduler.py) leases an idle worker and sends it tasks. The first task of the worker's queue runs, the
others wait there. A task that waits in `get` blocks its worker and releases its CPUs. A death splits the queue: the
running task has crashed, the others are queued again.

Rules: there are never more than ``most`` workers; about one idle worker per CPU (`keep`) is not stopped, nor are those
whose task has failed lately, if frames are kept for a post-mortem.
Invariant: a worker in `idle` has an empty queue, and belongs to no actor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raynb.base.rows import (
    BLOCKED,
    BUSY,
    DEAD,
    IDLE,
    RUNNING,
    STARTING,
)  # fmt: skip
from raynb.base.spec import CPU
from raynb.core.scheduling.frames import KeptFrames
from raynb.core.scheduling.resources import Amounts, cpu_part
from raynb.core.scheduling.scheduler import UNKNOWN_SECONDS
from raynb.core.step import Step
from raynb.core.tasks.retries import crashed_at
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import WorkerDied
from raynb.core.vocabulary.records import Actor, Env, Task, Worker
from raynb.core.vocabulary.transitions import WORKER

if TYPE_CHECKING:
    from raynb.core.actors.calls import Calls
    from raynb.core.actors.table import Actors
    from raynb.core.history import History
    from raynb.core.objects.table import Objects
    from raynb.core.scheduling.resources import Resources
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.scheduling.worker_health import WorkerHealth
    from raynb.core.tasks.requests import Requests
    from raynb.core.tasks.retries import Retries
    from raynb.core.tasks.table import Tasks

REPLACE_SECONDS = 0.1  # so long after an actor took a worker, when the actor has started, the pool is filled up
IDLE_SECONDS = 1.0  # a worker beyond the CPUs is kept this long, as in Ray
ONE_CPU = ((CPU, 10_000),)
STUCK_FACTOR = 3.0  # prefetched tasks behind a task that runs this many windows are taken back


def _held(actors: Mapping[int, Actor], worker: Worker) -> Amounts:
    if worker.actor:
        return actors[worker.actor].spec.held
    return worker.queue[0].took if worker.queue else ()


class WorkerPool:
    """The table of workers: starts them when tasks need them, leases idle ones, stops those not needed."""

    def __init__(
        self, step: Step, history: History, table: dict[int, Worker], resources: Resources, tasks: Tasks,
        objects: Objects, scheduler: Scheduler, retries: Retries, calls: Calls, actors: Actors, requests: Requests,
        health: WorkerHealth, most: int,
    ) -> None:  # fmt: skip
        self._step = step
        self._history = history
        self._resources = resources
        self._tasks = tasks
        self._objects = objects
        self._scheduler = scheduler
        self._retries = retries
        self._calls = calls
        self._actors = actors
        self._requests, self._health = requests, health
        self.table = table
        self.idle: dict[Env, list[Worker]] = {}
        self.starting: dict[Env, int] = {}
        self.most = most
        self.next_id = 1
        self.keep = 0  # idle workers worth keeping: one a CPU
        self.frames = KeptFrames(step, table)
        self._replacing = False
        self.stopping = False  # the runtime ends: no worker is replaced

    def connect(self, *, stream_reader_gone: Callable[[int], None]) -> None:
        """Sets what drops the waits of a dead worker for items of streams."""
        self._stream_reader_gone = stream_reader_gone

    def move(self, worker: Worker, state: str) -> None:
        """Moves the worker to a state that `WORKER` allows, and records it."""
        if state not in WORKER[worker.state]:
            self._history.impossible("worker", worker.id, worker.state, state)
        worker.state = state
        self._history.record(self._step.now, "worker", worker.id, state)

    # -- starting ------------------------------------------------------------------------------
    def start(self, env: Env = ()) -> Worker:
        """Enters a new worker of an environment and orders its process."""
        worker = Worker(self.next_id, env)
        self.next_id += 1
        worker.started = self._step.now
        self.table[worker.id] = worker
        self.starting[env] = self.starting.get(env, 0) + 1
        self._history.record(self._step.now, "worker", worker.id, STARTING)
        self._step.out.append(c.StartWorker(worker.id, env))
        return worker

    def taken(self) -> None:
        """Sets the timer that replaces a worker which an actor has taken."""
        if not self._replacing:
            self._replacing = True
            self._step.timer(self._step.now + REPLACE_SECONDS, "replace", 0)

    def replace(self) -> None:
        """Starts the kept workers that are missing, within the CPUs, unless starts fail at the moment."""
        self._replacing = False
        if self.stopping or self._health.failures:
            return
        there = sum(1 for worker in self.table.values() if not worker.actor and not worker.retiring)
        for _ in range(min(self.keep - there, self._resources.slots(ONE_CPU), self.most - len(self.table))):
            self.start()

    def want(self, env: Env, count: int) -> None:
        """Starts workers for ``count`` tasks that could run now."""
        if not self._health.may_start(env):
            return
        at_once = max(4, self.keep)
        missing = min(count, at_once) - self.starting.get(env, 0)
        while missing > 0 and len(self.table) < self.most:
            self.start(env)
            missing -= 1
        if missing > 0:
            self._retire_other(env)

    def _retire_other(self, env: Env) -> None:
        """Retires an idle worker of another environment: the pool is full."""
        for other, workers in self.idle.items():
            if other != env and workers:
                self.retire(workers.pop(0))
                return

    def ready(self, worker_id: int, pid: int) -> None:
        """Makes a started worker idle, and assigns it tasks."""
        worker = self.table.get(worker_id)
        if worker is None:
            return
        worker.pid = pid
        self._health.started(worker)
        self._not_starting(worker)
        self._to_idle(worker)
        self._scheduler.pump()

    def _not_starting(self, worker: Worker) -> None:
        left = self.starting.get(worker.env, 0) - 1
        if left > 0:
            self.starting[worker.env] = left
        else:
            self.starting.pop(worker.env, None)

    def _to_idle(self, worker: Worker) -> None:
        self.move(worker, IDLE)
        worker.idle_since = self._step.now
        if not worker.retiring:
            self.idle.setdefault(worker.env, []).append(worker)

    def take_idle(self, env: Env) -> Worker | None:
        """Removes and returns an idle worker of the environment, or None."""
        workers = self.idle.get(env)
        return workers.pop() if workers else None

    def busy(self, worker: Worker, key: int) -> None:
        """Leases the worker to a shape."""
        worker.key = key
        self.move(worker, BUSY)

    def retire(self, worker: Worker) -> None:
        """Asks the worker to leave after what it was sent."""
        worker.retiring = True
        self._step.out.append(c.StopWorker(worker.id))

    def overdue(self, worker_id: int) -> None:
        """Kills a worker that did not leave in time."""
        if worker_id in self.table:
            self._step.out.append(c.KillWorker(worker_id))

    # -- tasks at workers ----------------------------------------------------------------------
    def task_done(self, worker: Worker, task: Task) -> None:
        """Removes a finished task from its worker's line, and releases what the task held."""
        queue = worker.queue
        if queue and queue[0] is task:
            if worker.blocked:  # a thread of it waits on: what the task gave back is taken, so that its end balances
                worker.blocked.clear()
                _acquire_again(self, worker)
            queue.popleft()
        elif task in queue:
            queue.remove(task)
        worker.finished += 1
        self.give_back(task)
        self._scheduler.left(worker, task)

    def give_back(self, task: Task) -> None:
        """Releases the resources of a task that no longer runs."""
        if task.took:
            resources = self._resources
            resources.give(task.took)
            if task.gpus:
                resources.give_gpus(task.took, task.gpus)
                task.gpus = ()
            task.took = ()

    def refill(self, worker_id: int) -> None:
        """Starts the worker's next task, prefetches more, or makes the worker idle."""
        worker = self.table.get(worker_id)
        if worker is None or worker.actor or worker.state == STARTING:
            return
        scheduler = self._scheduler
        if worker.blocked:
            scheduler.pump()
            return
        queue = worker.queue
        shape = scheduler.shapes.get(worker.key)
        if not queue and shape is not None and shape.queue and not scheduler.urgent \
                and not worker.retiring and self._resources.fits(shape.need):  # fmt: skip
            scheduler.fill(worker, shape)
        if queue:
            head = queue[0]
            if head.state != RUNNING:
                scheduler.start(head)
            if shape is not None and shape.queue and scheduler.load[worker.id] < 0.5 * scheduler.prefetch_seconds:
                scheduler.fill(worker, shape)
            return
        scheduler.end_lease(worker)
        if worker.state != IDLE:
            self._to_idle(worker)
        scheduler.pump()

    def handed_back(self, worker_id: int, tasks: tuple[int, ...]) -> None:
        """Queues unstarted tasks that came back at the front, in their order."""
        worker = self.table.get(worker_id)
        if worker is None:
            return
        worker.withdrawing = False
        back = []
        for task_id in tasks:
            task = self._tasks.table.get(task_id)
            if task is None or task.worker != worker_id:
                continue
            if worker.actor:
                self._calls.handed_back(task)
                continue
            if task in worker.queue:
                worker.queue.remove(task)
            self.give_back(task)
            self._scheduler.left(worker, task)
            back.append(task)
        for task in reversed(back):
            self._retries.requeue(task, front=True)

    # -- blocking ------------------------------------------------------------------------------
    def block(self, worker_id: int, request: int, task_id: int) -> None:
        """Marks a worker's task (0: not known) as blocked in `get` or `wait`, and releases its CPUs. A thread that its
        task has left behind blocks nothing: the CPUs are another task's by now."""
        worker = self.table[worker_id]
        if task_id and not worker.actor and all(task.spec.task_id != task_id for task in worker.queue):
            return
        worker.blocked.add(request)
        if len(worker.blocked) == 1:
            if worker.state == BUSY:
                self.move(worker, BLOCKED)
            self._resources.give(cpu_part(_held(self._actors.table, worker)))
        self._scheduler.pump()

    def unblock(self, worker_id: int, request: int) -> None:
        """Ends one wait of a worker's task; with the last one it acquires its CPUs again."""
        worker = self.table.get(worker_id)
        if worker is None or request not in worker.blocked:
            return
        worker.blocked.discard(request)
        if not worker.blocked:
            _acquire_again(self, worker)
            if not worker.actor:
                self.refill(worker_id)
                self._scheduler.follow(worker)

    # -- death ---------------------------------------------------------------------------------
    def died(self, event: WorkerDied) -> None:
        """Removes a dead worker: retries or fails its tasks, restarts its actor, writes off its lends."""
        worker = self.table.pop(event.worker, None)
        if worker is None:
            return
        if not (started := worker.state != STARTING):
            self._not_starting(worker)
        idle = self.idle.get(worker.env)
        if idle and worker in idle:
            idle.remove(worker)
        if worker.blocked:  # what it gave back meanwhile is taken again, so that its end balances
            self._resources.take(cpu_part(_held(self._actors.table, worker)))
            worker.blocked.clear()
        self._requests.worker_gone(worker.id)
        self._stream_reader_gone(worker.id)
        self.move(worker, DEAD)
        worker.exit = event.reason
        tasks = list(worker.queue)
        worker.queue.clear()
        self._scheduler.end_lease(worker)
        for task in reversed(tasks):
            self._scheduler.cost.pop(task.spec.task_id, None)
        if worker.actor:
            self._actors.worker_died(worker, event)
        else:
            self._orphans(worker, tasks, event)
        self._actors.creator_died(worker)
        self._objects.worker_gone(worker.id)
        if not started and not worker.retiring:
            self._health.start_failed(worker, event)
        self._scheduler.pump()

    def _orphans(self, worker: Worker, tasks: list[Task], event: WorkerDied) -> None:
        """Crashes the task that ran on the dead worker, and queues those behind it again."""
        at = crashed_at(tasks, event.current)
        for position, task in reversed(list(enumerate(tasks))):
            self.give_back(task)
            if position == at and task.state != RUNNING:
                self._tasks.move(task, RUNNING)
            if position == at:
                self._retries.crashed(task, worker, event)
            elif task.cancelled:
                self._tasks.end_cancelled(task)
            else:
                self._retries.requeue(task, front=True)

    def tick(self) -> None:
        """Retires idle workers over `keep`, and has tasks that wait behind a long one handed back."""
        now = self._step.now
        total = sum(not w.actor for w in self.table.values())
        for workers in self.idle.values():
            for worker in list(workers):
                if total <= self.keep and not worker.env:
                    break
                if now - worker.idle_since > IDLE_SECONDS and not self.frames.are_on(worker):
                    workers.remove(worker)
                    self.retire(worker)
                    total -= 1
        window = self._scheduler.prefetch_seconds * STUCK_FACTOR
        for worker in self.table.values():
            if len(worker.queue) > 1 and not worker.withdrawing and not worker.actor \
                    and now - worker.queue[0].started > window:  # fmt: skip
                worker.withdrawing = True
                self._scheduler.load[worker.id] = UNKNOWN_SECONDS  # nothing more behind this one
                self._step.out.append(c.Withdraw(worker.id, tuple(t.spec.task_id for t in list(worker.queue)[1:])))

    def crowded(self) -> bool:
        """Returns whether a tick may change something."""
        return any(len(w.queue) > 1 and not w.actor for w in self.table.values()) or (sum(
            not w.actor for w in self.table.values()
        ) > self.keep and any(not self.frames.are_on(w) for ws in self.idle.values() for w in ws))


def _acquire_again(pool: WorkerPool, worker: Worker) -> None:
    """Takes what a blocked worker's task gave back."""
    pool._resources.take(cpu_part(_held(pool._actors.table, worker)))
    if worker.state == BLOCKED:
        pool.move(worker, BUSY)
