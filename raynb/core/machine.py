"""The machine: `Machine.handle` takes each event and returns the commands that follow from it.

Thread contract: none of its own; `engine/loop/loop.py`, under its lock, is the only caller.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from raynb.base import ends, ids
from raynb.base.config import Config
from raynb.base.spec import CPU, TaskSpec, Value
from raynb.core.actors.calls import Calls
from raynb.core.actors.table import Actors
from raynb.core.history import History
from raynb.core.objects.streams import Streams
from raynb.core.objects.table import Objects
from raynb.core.scheduling.groups import Groups
from raynb.core.scheduling.memory import MemoryPolicy
from raynb.core.scheduling.pool import WorkerPool
from raynb.core.scheduling.resources import Amounts, Resources, to_floats
from raynb.core.scheduling.scaling import scale, workers_for
from raynb.core.scheduling.scheduler import Scheduler
from raynb.core.scheduling.worker_health import WorkerHealth
from raynb.core.tasks.cancelling import Cancelling
from raynb.core.tasks.lineage import Lineage
from raynb.core.tasks.requests import Requests
from raynb.core.tasks.retries import Retries
from raynb.core.tasks.table import Tasks
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.records import Obj, Task

TICK_SECONDS = 0.05  # seconds between ticks while something may need one


class ImpossibleState(RuntimeError):
    """A transition that no table allows: a bug of raynb. The message holds the story of the id."""


class Machine:
    """All tables and decisions of one runtime."""

    def __init__(self, config: Config, total: dict[str, int], nonce: int = 0) -> None:
        self.config = config
        self.nonce = nonce
        self.now = 0.0
        self.out: list[c.Command] = []
        self.cancel_grace = config.cancel_grace
        self.death_window = config.actor_death_window
        self.death_limit = config.actor_death_limit
        self.workers_lent: dict[int, set[int]] = {}  # worker → objects it may name
        self.timers: list[tuple[float, int, str, int]] = []
        self._timer_count = 0
        self.history = History(config.finished_tasks_kept)
        self.resources = Resources(total)
        self.objects = Objects(self)
        self.tasks = Tasks(self)
        self.retries = Retries(self)
        self.cancelling = Cancelling(self)
        self.lineage = Lineage(self.tasks, self.objects, self.history)
        self.streams = Streams(self)
        self.requests = Requests(self)
        self.scheduler = Scheduler(self, config.prefetch_seconds)
        self.pool = WorkerPool(self, config.max_workers or 4096)
        self.pool.keep = workers_for(total.get(CPU, 0))
        self.actors = Actors(self)
        self.calls = Calls(self)
        self.groups = Groups(self)
        self.memory = MemoryPolicy(self.pool, self.actors, self.cancelling, self.history)
        self.worker_health = WorkerHealth(self)
        self.stopping = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Submitted: self._submitted,
            e.ActorSubmitted: lambda ev: self.actors.submitted(ev.actor, ev.spec),
            e.ObjectStored: self._stored,
            e.TasksFinished: self.tasks.finished,
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
            e.RefsChanged: lambda ev: self.objects.refs_changed(ev.changes),
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
            e.Started: self._started, e.ShutdownAsked: self._shutdown, e.CpusChanged: lambda ev: scale(self, ev),
        }
        self._handlers.update(self.cancelling.handlers())

    def handle(self, event: Any) -> list[c.Command]:
        """Applies one event to the tables and returns the commands that follow from it."""
        self.now = event.now
        self._handlers[type(event)](event)
        if self.calls.stirred:
            self.calls.send_ready()
        out = self.out
        if out:
            self.out = []
        return out

    # -- events --------------------------------------------------------------------------------
    def _submitted(self, event: e.Submitted) -> None:
        tasks, calls = self.tasks, self.calls
        for spec in event.specs:
            if type(spec) is not TaskSpec:
                self._stored(spec)  # type: ignore[arg-type]
                continue
            task = tasks.submitted(spec)
            if spec.actor:
                calls.submitted(task)
            else:
                tasks.enqueue(task)

    def _stored(self, event: e.ObjectStored) -> None:
        obj = self.objects.new(event.id, event.caller, event.scope)
        if event.caller:
            self.workers_lent.setdefault(event.caller, set()).add(event.id)
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
        self.stopping = True
        self.tasks.unasked.stopping()

    # -- time ----------------------------------------------------------------------------------
    def timer(self, at: float, what: str, identity: int) -> None:
        """Sets a timer: at ``at`` seconds, `Ticked` fires ``what`` for the id."""
        self._timer_count += 1
        heapq.heappush(self.timers, (at, self._timer_count, what, identity))

    def _fire_timers(self) -> None:
        while self.timers and self.timers[0][0] <= self.now:
            _, _, what, identity = heapq.heappop(self.timers)
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
        due = self.timers[0][0] if self.timers else None
        if self.pool.crowded():
            soon = self.now + TICK_SECONDS
            due = soon if due is None else min(due, soon)
        return due

    # -- texts ---------------------------------------------------------------------------------
    def hex_task(self, task: int) -> str:
        """Returns a task id in Ray's hexadecimal form."""
        return ids.to_hex(task, self.nonce, ids.TASK_HEX)

    def hex_object(self, identity: int) -> str:
        """Returns an object id in Ray's hexadecimal form."""
        return ids.to_hex(identity, self.nonce, ids.OBJECT_HEX)

    def hex_actor(self, actor: int) -> str:
        """Returns an actor id in Ray's hexadecimal form."""
        return ids.to_hex(actor, self.nonce, ids.ACTOR_HEX)

    def describe_error(self, value: Any) -> tuple[str, str]:
        """Returns (class name, text) of an error value, for the views; the text is cut at 2,000 characters."""
        if value[0] == "err" and value[1] != "through":
            if value[1] == "argument":
                return self.describe_error(value[2][1])
            return value[1], " ".join(str(a) for a in value[2] if isinstance(a, str))[:2000]
        return "RayTaskError", "An argument of this task is an error; the task that made it says which."

    def lost_value(self, obj: Obj, why: str) -> Value:
        """Returns the `ObjectLostError` of an object, with the reason."""
        return ends.object_lost(self.hex_object(obj.id), why)

    def warn_infeasible(self, task: Task, need: Amounts) -> None:
        """Warns that a task asks for more than the whole machine has."""
        lacking = {k: v for k, v in to_floats(need).items() if v > to_floats(self.resources.total).get(k, 0)}
        self.out.append(c.Warn(
            f"{task.spec.options.name} asks for {to_floats(need)}, but this machine has only "
            f"{to_floats(self.resources.total)}: it waits until there is more of {', '.join(lacking)} "
            "(raynb.init(num_cpus=..., resources=...) says how much there is).", task.spec.scope))  # fmt: skip

    # -- checks --------------------------------------------------------------------------------
    def impossible(self, kind: str, identity: int, old: str, new: str) -> None:
        """Raises `ImpossibleState` with the story of the id."""
        story = "\n".join(f"  {now:.6f} {what}" for now, what in self.story(identity))
        raise ImpossibleState(f"{kind} {identity}: {old} -> {new} is in no table. Its story:\n{story}")

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what happened) of a task, object, actor or worker id."""
        return self.history.story(identity)
