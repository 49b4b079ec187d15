"""Actors: placement, restarts, names, the end with the last handle.

Theory of operation. Each actor is an `Actor` in one state of `ACTORS` (all transitions: docs/states.md):

    DEPENDENCIES_UNREADY ──► PENDING_CREATION ──► ALIVE ◄──► RESTARTING ──► DEAD

An actor's id is the id of its creation task, and the object of that task stands for its handles: a handle holds a
ref to that object, so handles in variables, arguments, closures and results are counted as any other ref.
`Calls` (calls.py) queues and sends the actor's method calls; this table places, restarts and ends it.

Rules: an actor owns one worker from its creation on; a worker's death restarts the actor while restarts are left,
else its calls fail with the cause. The last handle's release ends the actor after its submitted calls.
Invariant: a name in `names` belongs to an actor that is not dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raynb.base import ends
from raynb.base.config import Config
from raynb.base.ids import object_id
from raynb.base.rows import (
    ACTOR,
    ALIVE,
    DEAD,
    DEPENDENCIES_UNREADY,
    FAILED,
    PENDING_CREATION,
    PENDING_NODE_ASSIGNMENT,
    RESTARTING,
    RUNNING,
)  # fmt: skip
from raynb.base.spec import ActorSpec, TaskSpec, Value
from raynb.core.actors import restarts
from raynb.core.actors.calls import INFLIGHT_CALLS, Calls
from raynb.core.actors.names import ActorNames
from raynb.core.history import SUBMITTED
from raynb.core.step import Step
from raynb.core.tasks.retries import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import WorkerDied
from raynb.core.vocabulary.records import MAX_SPARED_DEATHS, Actor, Task, Worker
from raynb.core.vocabulary.spelling import Spelling
from raynb.core.vocabulary.transitions import ACTORS

if TYPE_CHECKING:
    from raynb.core.history import History
    from raynb.core.objects.table import Objects
    from raynb.core.scheduling.resources import Resources
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.lineage import Lineage
    from raynb.core.tasks.retries import Retries
    from raynb.core.tasks.table import Tasks

EXITED = "exit_actor() was called"
#: Seconds that the last calls of an actor that leaves have, once nobody can ask for their values.
ABANDONED_SECONDS = 5.0
#: Seconds that the orderly end of a process has (``__ray_shutdown__``, ``atexit``), as in Ray.
ORDERLY_SECONDS = 30.0


PAUSED_FROM_DEATHS = 3  # deaths within the window from which on an actor is not restarted at once


def _had_not_begun(unfinished: Mapping[int, Task], actor: Actor, worker: Worker, event: WorkerDied) -> bool:
    """Returns whether the process died before it called the constructor; such a death uses up no restart."""
    creation = actor.creation
    elsewhere = event.current not in (0, creation.spec.task_id)
    spared = elsewhere and creation.spec.task_id in unfinished and creation.spared < MAX_SPARED_DEATHS
    return spared and worker.kill_reason is None and not actor.killed and not actor.ending


class Actors:
    """The table of actors: places, restarts and ends them, and resolves their names."""

    def __init__(
        self, step: Step, history: History, spelling: Spelling, config: Config, table: dict[int, Actor],
        workers: Mapping[int, Worker], resources: Resources, tasks: Tasks, objects: Objects, lineage: Lineage,
        scheduler: Scheduler, retries: Retries, calls: Calls,
    ) -> None:  # fmt: skip
        self._step = step
        self._history = history
        self._spelling = spelling
        self._config = config
        self._workers = workers
        self._resources = resources
        self._tasks = tasks
        self._objects = objects
        self._lineage = lineage
        self._scheduler = scheduler
        self._retries = retries
        self._calls = calls
        self.table = table
        self.names = ActorNames()

    def connect(
        self, *, move_worker: Callable[[Worker, str], None], retire: Callable[[Worker], None],
        taken: Callable[[], None],
    ) -> None:  # fmt: skip
        """Sets what the pool does with an actor's worker: changes its state, lets it leave, replaces it."""
        self._move_worker = move_worker
        self._retire = retire
        self._worker_taken = taken

    def move(self, actor: Actor, state: str) -> None:
        """Moves the actor to a state that `ACTORS` allows, and records it."""
        if state not in ACTORS[actor.state]:
            self._history.impossible("actor", actor.spec.actor_id, actor.state, state)
        actor.state = state
        self._history.record(self._step.now, "actor", actor.spec.actor_id, state)

    # -- creation ------------------------------------------------------------------------------
    def submitted(self, spec: ActorSpec, creation: TaskSpec) -> None:
        """Enters a new actor with its creation task."""
        task = self._tasks.submitted(creation)
        self._history.add(self._step.now, SUBMITTED, creation.task_id)
        actor = Actor(spec, task)
        actor.scope = creation.scope
        actor.most = max(INFLIGHT_CALLS, 2 * spec.max_concurrency)
        self.table[spec.actor_id] = actor
        obj = self._objects.table[object_id(spec.actor_id, 1)]
        obj.actor = spec.actor_id
        self.names.claim(spec)
        if spec.lifetime == "detached":
            obj.containers += 1  # the runtime itself holds it
        if task.waiting:
            actor.state = DEPENDENCIES_UNREADY
        self._history.record(self._step.now, "actor", spec.actor_id, actor.state)
        self._tasks.enqueue(task)

    def placed(self, task: Task, worker: Worker) -> None:
        """Binds the actor to the worker that its creation task was assigned to."""
        actor = self.table[task.spec.task_id]
        if actor.state == DEPENDENCIES_UNREADY:
            self.move(actor, PENDING_CREATION)
        self._move_worker(worker, ACTOR)
        worker.actor = actor.spec.actor_id
        self._worker_taken()
        actor.worker = worker.id
        actor.pid = worker.pid
        self._resources.take(actor.spec.held)
        worker.gpus = self._resources.take_gpus(actor.spec.held)
        task.worker = worker.id
        task.started = self._step.now
        self._tasks.move(task, RUNNING)
        self._step.out.append(c.Run(worker.id, task, self._tasks.lend_arguments(task, worker.id)))

    def created(self, task: Task, flags: int) -> None:
        """Makes the actor alive: its constructor returned."""
        actor = self.table.get(task.spec.task_id)
        if actor is None or actor.state == DEAD or flags & ends.FAILED:
            return
        self.move(actor, ALIVE)
        if flags & ends.EXITS:
            self.exiting(actor.spec.actor_id)

    def creation_failed(self, task: Task, value: Value) -> None:
        """Ends the actor: its constructor raised, or one of its arguments was an error."""
        actor = self.table[task.spec.task_id]
        if actor.state == DEAD:
            return
        self._die(actor, ends.actor_not_made(self._spelling.actor(actor.spec.actor_id), value))

    # -- the end -------------------------------------------------------------------------------
    def _cause(self, actor: Actor, why: str) -> Value:
        spec = actor.spec
        return ends.actor_died(self._spelling.actor(spec.actor_id), spec.class_name, spec.name, actor.pid, why)

    def worker_died(self, worker: Worker, event: WorkerDied) -> None:
        """Restarts the actor whose process died, or fails everything that waits for it."""
        actor = self.table[worker.actor]
        self._resources.give(actor.spec.held)
        self._resources.give_gpus(actor.spec.held, worker.gpus)
        if actor.state == DEAD:
            self._calls.fail_all(actor, self._calls.dead_value(actor))
            return
        if _had_not_begun(self._tasks.table, actor, worker, event):
            actor.worker = 0
            actor.creation.spared += 1
            self._retries.requeue(actor.creation, front=True)
            return
        actor.deaths.append(self._step.now)
        while actor.deaths and self._step.now - actor.deaths[0] > self._config.actor_death_window:
            actor.deaths.popleft()
        kill_reason = worker.kill_reason
        why = kill_reason[1] if kill_reason and kill_reason[1] else event.reason
        creating = actor.creation.spec.task_id in self._tasks.table
        looping = creating and len(actor.deaths) >= self._config.actor_death_limit
        used_up = not restarts.are_left(actor.spec.max_restarts, actor.restarts)
        if actor.killed or looping or used_up or (actor.ending and not self._calls.any_retriable(actor)):
            if looping:
                why = f"it died {len(actor.deaths)} times within {self._config.actor_death_window:.0f} s: {why}"
            cause = self._cause(actor, why)
            if kill_reason is not None and kill_reason[0] == "OutOfMemoryError":
                cause = ("err", "OutOfMemoryError", (kill_reason[1],))
            self._die(actor, cause)
            return
        self._restart(actor, event.reason)

    def creator_died(self, worker: Worker) -> None:
        """Ends the actors that a dead process created, except detached ones (Ray's fate sharing)."""
        if worker.retiring and not worker.actor:
            return  # an idle worker that was asked to leave: its actors may be in use
        for actor in list(self.table.values()):
            made_here = actor.creation.spec.caller == worker.id
            if made_here and actor.state != DEAD and actor.spec.lifetime != "detached":
                self.kill(actor.spec.actor_id, True, "the process that created it died")

    def _restart(self, actor: Actor, reason: str) -> None:
        actor.restarts += 1
        actor.worker = 0
        self.move(actor, RESTARTING)
        self._history.record(self._step.now, "actor", actor.spec.actor_id, f"restart {actor.restarts}: {reason}")
        self._calls.actor_restarts(actor)
        creation = actor.creation
        if creation.spec.task_id in self._tasks.table:  # it died in the constructor
            creation.spec.attempt += 1
            creation.deaths += 1
            creation.not_before = self._step.now + min(5.0, 0.02 * 2 ** min(creation.deaths, 8))
            self._tasks.move(creation, PENDING_NODE_ASSIGNMENT)
        else:
            self._retries.revive(creation)
            self._pause(actor, reason)
        self._scheduler.enqueue(creation)

    def _pause(self, actor: Actor, reason: str) -> None:
        """Delays the next restart, longer after each death; warns of endless restarts with ``max_restarts=-1``."""
        deaths = len(actor.deaths)
        if deaths < PAUSED_FROM_DEATHS:
            return
        seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (deaths - PAUSED_FROM_DEATHS))
        actor.creation.not_before = self._step.now + seconds
        if actor.spec.max_restarts < 0 and (deaths == PAUSED_FROM_DEATHS or actor.restarts % 10 == 0):
            self._step.out.append(c.Warn(
                f"{actor.spec.class_name} has died {actor.restarts} times ({reason}); it is restarted, less and less "
                "often, because of max_restarts=-1.", actor.scope))  # fmt: skip

    def _die(self, actor: Actor, cause: Value) -> None:
        actor.cause = cause
        self.move(actor, DEAD)
        self._history.record(self._step.now, "actor", actor.spec.actor_id, f"dead: {cause[1:]!r:.300}")
        self.names.release(actor.spec)
        creation = actor.creation
        if creation.spec.task_id in self._tasks.table:
            self._tasks.fail(creation, cause, FAILED)
        self._lineage.release_creation(creation)  # a restart's constructor may have been running: both
        worker = self._workers.get(actor.worker)
        if worker is not None and not worker.retiring:
            self._retire(worker)
            self._step.timer(self._step.now + ORDERLY_SECONDS, "orderly", worker.id)
        self._calls.fail_all(actor, cause)
        obj = self._objects.table.get(object_id(actor.spec.actor_id, 1))
        if obj is not None:
            if actor.spec.lifetime == "detached":
                obj.containers -= 1
            self._objects.check(obj)

    def kill(self, actor_id: int, no_restart: bool, why: str = "it was killed by `ray.kill`") -> None:
        """Kills the actor's process at once (`raynb.kill`); without ``no_restart`` the actor may be restarted."""
        actor = self.table.get(actor_id)
        if actor is None:
            return
        worker = self._workers.get(actor.worker)
        if actor.state == DEAD:
            if worker is not None and worker.actor == actor_id:  # it is on its orderly way out
                self._step.out.append(c.KillWorker(worker.id))
            return
        actor.killed = no_restart
        if no_restart:
            cause = self._cause(actor, why)
            if worker is not None:
                worker.retiring = True
            self._die(actor, cause)
        if worker is not None:
            worker.kill_reason = ("ActorDiedError", why)
            self._step.out.append(c.KillWorker(worker.id))

    def exiting(self, actor_id: int) -> None:
        """Ends the actor after ``exit_actor``: a concurrent actor's sent calls end first, a sync actor's don't run."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == DEAD:
            return
        spec = actor.spec
        if spec.is_async or spec.max_concurrency > 1 or spec.concurrency_groups:
            self._leave(actor)
        else:
            actor.killed = True
            self._die(actor, self._cause(actor, EXITED))

    def exit_asked(self, worker: Worker | None) -> None:
        """Ends a concurrent actor after the calls already sent: it called ``exit_actor``, in a call or outside."""
        actor = self.table.get(worker.actor) if worker is not None else None
        if actor is not None and actor.state == ALIVE:
            self._leave(actor)

    def _leave(self, actor: Actor) -> None:
        if actor.leaving:
            return
        actor.killed = actor.leaving = True
        actor.cause = self._cause(actor, EXITED)
        self._history.record(self._step.now, "actor", actor.spec.actor_id, "leaving")
        self.names.release(actor.spec)
        self._calls.fail_queued(actor, actor.cause)
        if not actor.inflight:
            self.left(actor)
        elif actor.ending:
            self._watch_leaving(actor)

    def left(self, actor: Actor) -> None:
        """Ends a leaving actor that has answered its last call."""
        if actor.state != DEAD:
            assert actor.cause is not None
            self._die(actor, actor.cause)

    def _watch_leaving(self, actor: Actor) -> None:
        self._step.timer(self._step.now + ABANDONED_SECONDS, "abandoned", actor.spec.actor_id)

    def abandoned(self, actor_id: int) -> None:
        """Ends a leaving actor without handles whose last calls nobody can ask for: one of them may run for ever."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == DEAD or not actor.ending:
            return
        if self._calls.wanted(actor):
            self._watch_leaving(actor)
        else:
            self.kill(actor_id, True, f"{EXITED}, and its last calls did not end")

    def unreferenced(self, actor_id: int) -> None:
        """Ends the actor after the calls already submitted: its last handle was released."""
        actor = self.table.get(actor_id)
        if actor is None:
            return
        actor.ending = True
        if actor.state == DEAD:
            self._forget(actor)
            return
        if not actor.pending:
            self.finish_ending(actor)
        elif actor.leaving:
            self._watch_leaving(actor)

    def finish_ending(self, actor: Actor) -> None:
        """Ends an actor without handles and calls; keeps it if a call passed the handle on."""
        obj = self._objects.table.get(object_id(actor.spec.actor_id, 1))
        if obj is not None and (obj.refs or obj.lends or obj.args or obj.containers):
            actor.ending = False  # a call that was still running passed the handle on
            return
        if actor.state == DEAD:
            self._forget(actor)
            return
        if actor.creation.spec.task_id in self._tasks.table:
            return  # the constructor still runs; creation's end looks again
        self._die(actor, self._cause(actor, "all handles to it are gone"))

    def _forget(self, actor: Actor) -> None:
        """Removes a dead actor from the table: nobody can name it any more."""
        actor_id = actor.spec.actor_id
        obj = self._objects.table.get(object_id(actor_id, 1))
        if obj is not None and not actor.pending:
            obj.actor = 0
            self._objects.free(obj)

    def named(self, name: str, namespace: str) -> Actor:
        """Returns the living actor of a name in a namespace; raises `ValueError` if there is none."""
        return self.table[self.names.find(name, namespace)]

    def check_ending(self, actor_id: int) -> None:
        """Ends the actor if it was waiting for its last call to end."""
        actor = self.table.get(actor_id)
        if actor is not None and actor.ending and not actor.pending and actor.state != DEAD:
            self.finish_ending(actor)
