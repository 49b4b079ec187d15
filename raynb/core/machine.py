"""The machine: `Machine.handle` takes each event and returns the commands that follow from it.

Thread contract: none of its own; `engine/loop/loop.py`, under its lock, is the only caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raynb.base.config import Config
from raynb.base.spec import CPU, TaskSpec
from raynb.core.actors.calls import Calls
from raynb.core.actors.table import Actors
from raynb.core.history import SUBMITTED, History
from raynb.core.objects.streams import Streams
from raynb.core.objects.table import Objects
from raynb.core.scheduling.groups import Groups
from raynb.core.scheduling.memory import MemoryPolicy
from raynb.core.scheduling.pool import WorkerPool
from raynb.core.scheduling.resources import Resources
from raynb.core.scheduling.scaling import scale, workers_for
from raynb.core.scheduling.scheduler import Scheduler
from raynb.core.scheduling.worker_health import WorkerHealth
from raynb.core.step import Step
from raynb.core.tasks.cancelling import Cancelling
from raynb.core.tasks.finishing import Finishing
from raynb.core.tasks.lineage import Lineage
from raynb.core.tasks.requests import Requests
from raynb.core.tasks.retries import Retries
from raynb.core.tasks.table import Tasks
from raynb.core.tasks.unasked import Unasked
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.records import Actor, Task, Worker
from raynb.core.vocabulary.spelling import Spelling

TICK_SECONDS = 0.05  # seconds between ticks while something may need one
TOGETHER_MAX_TASKS = 64  # so many are entered before they are queued: they are in the processor's cache still


class Machine:
    """All tables and decisions of one runtime."""

    def __init__(self, config: Config, total: dict[str, int], nonce: int = 0) -> None:
        self.config = config
        step = self.step = Step()
        spelling = self.spelling = Spelling(nonce)
        history = self.history = History(config.finished_tasks_kept)
        resources = self.resources = Resources(total)
        workers: dict[int, Worker] = {}
        actors: dict[int, Actor] = {}
        # Each policy is made of those before it, which it calls; what calls the other way is connected below.
        self.objects = objects = Objects(step, history, spelling)
        unasked = Unasked(objects.table, step, spelling)
        self.tasks = tasks = Tasks(step, history, spelling, objects, unasked)
        self.lineage = lineage = Lineage(tasks, objects, history)
        self.scheduler = scheduler = Scheduler(step, tasks, resources, config.prefetch_seconds)
        self.retries = retries = Retries(step, history, tasks, scheduler, config.retry_pause)
        self.calls = calls = Calls(step, spelling, workers, actors, tasks, objects, retries)
        self.actors = Actors(step, history, spelling, config, actors, workers, resources, tasks, objects, lineage,
                             scheduler, retries, calls)  # fmt: skip
        self.worker_health = WorkerHealth(step, history, workers, actors, tasks, scheduler)
        self.requests = Requests(step, workers, actors, tasks, objects, scheduler)
        self.pool = WorkerPool(step, history, workers, resources, tasks, objects, scheduler, retries, calls,
                               self.actors, self.requests, self.worker_health,
                               config.max_workers or 4096)  # fmt: skip
        self.pool.keep = workers_for(total.get(CPU, 0))
        self.cancelling = Cancelling(step, history, workers, tasks, calls, config.cancel_grace)
        self.streams = Streams(step, tasks, objects, scheduler, self.pool, self.cancelling)
        self.groups = Groups(step, resources, tasks, self.actors, scheduler, self.cancelling)
        self.memory = MemoryPolicy(self.pool, self.actors, self.cancelling, history)
        self.finishing = Finishing(step, workers, tasks, objects, self.streams, lineage, retries, scheduler, self.pool,
                                   self.actors, calls)  # fmt: skip
        self._connect(unasked)
        self._handlers = self._make_handlers()

    def _connect(self, unasked: Unasked) -> None:
        """Gives each policy what it calls in policies that are made of it."""
        tasks, calls, actors, pool, streams = self.tasks, self.calls, self.actors, self.pool, self.streams
        self.objects.connect(
            argument_ready=tasks.argument_ready, request_ready=self.requests.object_ready,
            unreferenced=actors.unreferenced, error_freed=unasked.freed, kept=self.lineage.table,
            forget=self.lineage.forget, reconstruct=self.lineage.reconstruct,
        )  # fmt: skip
        tasks.connect(
            enqueue=self.scheduler.enqueue, enqueue_call=calls.enqueue, call_ready=calls.arguments_ready,
            call_ended=calls.ended, open_stream=streams.open, end_stream=streams.ended,
            creation_failed=actors.creation_failed, creation_ended=actors.check_ending, kept=self.lineage.table,
        )  # fmt: skip
        self.scheduler.connect(
            idle=pool.idle, take_idle=pool.take_idle, lease=pool.busy, want=pool.want, place_actor=actors.placed
        )
        self.retries.connect(enqueue_call=calls.enqueue)
        calls.connect(actor_left=actors.left, finish_ending=actors.finish_ending)
        actors.connect(move_worker=pool.move, retire=pool.retire, taken=pool.taken)
        self.worker_health.connect(start=pool.start)
        self.requests.connect(
            block=pool.block, unblock=pool.unblock, handed_back=pool.handed_back, refill=pool.refill,
            stream_request_dropped=streams.request_dropped,
        )  # fmt: skip
        pool.connect(stream_reader_gone=streams.worker_gone)

    def _make_handlers(self) -> dict[type, Callable[[Any], None]]:
        """Returns event → what applies it."""
        return {
            e.Submitted: self._submitted,
            e.ActorSubmitted: lambda ev: self.actors.submitted(ev.actor, ev.spec),
            e.ObjectStored: self._stored,
            e.TasksFinished: self.finishing.finished,
            e.ItemYielded: self.streams.yielded,
            e.ItemConsumed: self.streams.consumed,
            e.NextItemAsked: self.streams.asked,
            e.StreamDropped: lambda ev: self.streams.drop(ev.task, ev.index, ev.dropped),
            e.WorkerReady: lambda ev: self.pool.ready(ev.worker, ev.pid),
            e.WorkerDied: self.pool.died,
            e.WorkerSilent: self.worker_health.silent,
            e.Withdrawn: self._withdrawn,
            e.Requested: self.requests.asked,
            e.RequestDropped: lambda ev: self.requests.dropped(ev.worker, ev.request),
            e.Released: lambda ev: self.objects.released(ev.worker, ev.ids),
            e.RefsChanged: lambda ev: self.objects.refs_changed(ev.changes, ev.came),
            e.ViewsDied: lambda ev: self.objects.views_died(ev.ids),
            e.CancelAsked: self._cancel,
            e.KillAsked: lambda ev: self.actors.kill(ev.actor, ev.no_restart),
            e.ExitAsked: lambda ev: self.actors.exit_asked(self.pool.table.get(ev.worker)),
            e.FreeAsked: lambda ev: self.objects.free_now(ev.ids),
            e.ObjectLost: lambda ev: self.objects.lost(ev.id, ev.why, ev.value),
            e.ObjectMoved: lambda ev: self.objects.relocate(ev.id, ev.value),
            e.MemoryMeasured: self.memory.measured,
            e.Ticked: self._ticked,
            e.BundleReserved: self.groups.reserve,
            e.BundleReturned: lambda ev: self.groups.give_back(ev.group),
            e.FramesKept: lambda ev: self.pool.frames.keep(ev.seconds),
            e.Started: self._started, e.ShutdownAsked: self._shutdown,
            e.CpusChanged: lambda ev: scale(ev, self.resources, self.pool, self.scheduler),
            **self.cancelling.handlers(),
        }

    def handle(self, event: Any) -> list[c.Command]:
        """Applies one event to the tables and returns the commands that follow from it."""
        step = self.step
        step.now = event.now
        self._handlers[type(event)](event)
        if self.calls.stirred:
            self.calls.send_ready()
        out = step.out
        if out:
            step.out = []
        return out

    # -- events --------------------------------------------------------------------------------
    def _submitted(self, event: e.Submitted) -> None:
        specs = event.specs
        if len(specs) == 1:
            self._enter(specs)
            return
        for at in range(0, len(specs), TOGETHER_MAX_TASKS):
            self._enter(specs[at : at + TOGETHER_MAX_TASKS])

    def _enter(self, specs: Sequence[TaskSpec | e.ObjectStored]) -> None:
        """Enters tasks and puts in their order, and queues the tasks in theirs.

        Those without refs as arguments are entered first, and queued together: the history then says once, not for
        each, what happened to them ("1,000 actor calls": 1 %). A task that takes refs is entered when all before it
        are queued, for one of those may fail at that.
        """
        entered: list[Task] = []
        for spec in specs:
            if type(spec) is not TaskSpec:
                self._stored(spec)  # type: ignore[arg-type]
                continue
            if spec.deps and entered:
                self._queue(entered)
            entered.append(self.tasks.submitted(spec))
        self._queue(entered)

    def _queue(self, entered: list[Task]) -> None:
        tasks, calls = self.tasks, self.calls
        if len(entered) == 1:
            self.history.add(self.step.now, SUBMITTED, entered[0].spec.task_id)
        else:
            self.history.add_many(self.step.now, SUBMITTED, [task.spec.task_id for task in entered])
        for task in entered:
            if task.spec.actor:
                calls.submitted(task)
            else:
                tasks.enqueue(task)
        entered.clear()

    def _stored(self, event: e.ObjectStored) -> None:
        obj = self.objects.new(event.id, event.caller, event.scope)
        if event.caller:
            self.objects.lent.setdefault(event.caller, set()).add(event.id)
        self.objects.set_value(obj, event.value, event.size, event.contained)

    def _cancel(self, event: e.CancelAsked) -> None:
        self.cancelling.cancel(event.task, event.force, event.recursive)

    def _withdrawn(self, event: e.Withdrawn) -> None:
        self.pool.handed_back(event.worker, event.tasks)
        self.pool.refill(event.worker)  # the first of its line may be among them: a cancelled one
        self.scheduler.pump()

    def _started(self, event: e.Started) -> None:
        for _ in range(event.workers):
            self.pool.start()

    def _ticked(self, event: e.Ticked) -> None:
        self._fire_timers()
        self.pool.tick()

    def _shutdown(self, event: e.ShutdownAsked) -> None:
        self.pool.stopping = True
        self.tasks.unasked.stopping()

    # -- time ----------------------------------------------------------------------------------
    def _fire_timers(self) -> None:
        while (due := self.step.due()) is not None:
            what, identity = due
            if what == "start":
                self.worker_health.again()
            elif what == "replace":
                self.pool.replace()
            elif what == "abandoned":
                self.actors.abandoned(identity)
            elif what == "orderly":
                self.pool.overdue(identity)
            elif what == "unread":
                self.streams.unread(identity)
            elif what == "call":
                self.calls.send_more(identity)
            elif what == "queue":
                self.scheduler.unpark(identity)
            elif what == "unasked":
                self.tasks.unasked.timer(identity)
            else:
                self.cancelling.timer(what, identity)

    def next_tick(self) -> float | None:
        """Returns when the next timer is due (monotonic seconds); None without timers."""
        timers = self.step.timers
        due = timers[0][0] if timers else None
        if self.pool.crowded():
            soon = self.step.now + TICK_SECONDS
            due = soon if due is None else min(due, soon)
        return due

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what happened) of a task, object, actor or worker id."""
        return self.history.story(identity)
