"""Actors: placement, ordered calls, restarts, names, the end with the last handle.

An actor's id is the id of its creation task, and the object of that task stands for its handles:
whoever holds a handle holds a ref to that object, so handles in variables, arguments, closures and
results are counted by the same rules as any other ref.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raynb.base.ids import object_id
from raynb.base.rows import (
    ACTOR,
    ALIVE,
    DEAD,
    DEPENDENCIES_UNREADY,
    FAILED,
    PENDING_ARGS_AVAIL,
    PENDING_CREATION,
    PENDING_NODE_ASSIGNMENT,
    RESTARTING,
    RUNNING,
    SUBMITTED_TO_WORKER,
)  # fmt: skip
from raynb.base.spec import ActorSpec, TaskSpec, Value
from raynb.core import commands as c
from raynb.core.events import TaskFinished, WorkerDied
from raynb.core.records import Actor, Task, Worker
from raynb.core.tables import ACTORS

if TYPE_CHECKING:
    from raynb.core.machine import Machine

INFLIGHT = 1000  # calls sent to a sync actor ahead of its answers


class Actors:
    def __init__(self, machine: Machine) -> None:
        self.m = machine
        self.table: dict[int, Actor] = {}
        self.names: dict[tuple[str, str], int] = {}

    def move(self, actor: Actor, state: str) -> None:
        if state not in ACTORS[actor.state]:
            self.m.impossible("actor", actor.spec.actor_id, actor.state, state)
        actor.state = state
        self.m.history.note(self.m.now, "actor", actor.spec.actor_id, state)

    # -- creation ------------------------------------------------------------------------------
    def submitted(self, spec: ActorSpec, creation: TaskSpec) -> None:
        m = self.m
        task = m.tasks.submitted(creation)
        actor = Actor(spec, task)
        actor.scope = creation.scope
        actor.most = max(INFLIGHT, 2 * spec.max_concurrency)
        self.table[spec.actor_id] = actor
        obj = m.objects.table[object_id(spec.actor_id, 1)]
        obj.actor = spec.actor_id
        if spec.name:
            self.names[spec.namespace, spec.name] = spec.actor_id
        if spec.lifetime == "detached":
            obj.containers += 1  # the runtime itself holds it
        if task.waiting:
            actor.state = DEPENDENCIES_UNREADY
        m.history.note(m.now, "actor", spec.actor_id, actor.state)
        m.tasks.admit(task)

    def placed(self, task: Task, worker: Worker) -> None:
        """The creation task has a worker: it is the actor's process from now on."""
        m = self.m
        actor = self.table[task.spec.task_id]
        if actor.state == DEPENDENCIES_UNREADY:
            self.move(actor, PENDING_CREATION)
        m.pool.move(worker, ACTOR)
        worker.actor = actor.spec.actor_id
        actor.worker = worker.id
        actor.pid = worker.pid
        m.resources.take(actor.spec.held)
        worker.gpus = m.resources.take_gpus(actor.spec.held)
        task.worker = worker.id
        task.started = m.now
        m.tasks.move(task, RUNNING)
        m.out.append(c.Run(worker.id, task, m.tasks.lend_arguments(task, worker.id)))

    def created(self, task: Task, event: TaskFinished) -> None:
        """The constructor returned."""
        actor = self.table.get(task.spec.task_id)
        if actor is None or actor.state == DEAD or event.failed:
            return
        self.move(actor, ALIVE)
        if event.exits:
            self.exiting(actor.spec.actor_id)

    def creation_failed(self, task: Task, value: Value) -> None:
        """The constructor raised, or an argument of it was an error: the actor is dead."""
        actor = self.table[task.spec.task_id]
        if actor.state == DEAD:
            return
        cause = ("err", "ActorDiedError", (self.m.hex_actor(actor.spec.actor_id), "creation", value))
        self._die(actor, cause)

    # -- calls ---------------------------------------------------------------------------------
    def call(self, task: Task) -> None:
        """A method call was submitted."""
        m = self.m
        actor = self.table.get(task.spec.actor)
        if actor is None:
            m.tasks.fail(task, ("err", "ActorDiedError", (m.hex_actor(task.spec.actor), "gone")))
            return
        actor.pending += 1
        if actor.state == DEAD:
            m.tasks.fail(task, self.dead_value(actor))
            return
        if actor.state == RESTARTING and not task.retries:
            m.tasks.fail(task, self.unavailable(actor))
            return
        queue = actor.queues.get(task.spec.caller) if actor.queues else None
        if task.waiting:
            if not self.unordered(actor):
                actor.queues.setdefault(task.spec.caller, deque()).append(task)
        elif task.spec.deps and self._arguments_failed(task):
            return
        elif not queue and self._open(actor) and len(actor.inflight) < actor.most:
            self._send(actor, task)
        else:
            m.tasks.move(task, PENDING_NODE_ASSIGNMENT)
            actor.queues.setdefault(task.spec.caller, deque()).append(task)

    def _arguments_failed(self, task: Task) -> bool:
        for dep in task.spec.deps:
            obj = self.m.objects.table[dep]
            if obj.error:
                self.m.tasks.fail(task, obj.value)
                return True
        return False

    def unordered(self, actor: Actor) -> bool:
        """Returns whether ready calls overtake (threaded, async, or asked for)."""
        spec = actor.spec
        return spec.is_async or spec.out_of_order or spec.max_concurrency > 1 or bool(spec.concurrency_groups)

    def _open(self, actor: Actor) -> bool:
        """Returns whether calls can be sent: it is alive, and its process not about to be killed."""
        worker = self.m.pool.table.get(actor.worker)
        return actor.state == ALIVE and worker is not None and worker.doom is None

    def arguments_ready(self, task: Task) -> None:
        actor = self.table[task.spec.actor]
        if actor.state == DEAD:  # where calls may overtake, one that waits for arguments is in no queue
            self.m.tasks.fail(task, self.dead_value(actor))
            return
        if self._arguments_failed(task):
            self.send_more(task.spec.actor)
            return
        self.m.tasks.move(task, PENDING_NODE_ASSIGNMENT)
        if self.unordered(actor):
            actor.queues.setdefault(task.spec.caller, deque()).append(task)
        self.send_more(task.spec.actor)

    def enqueue(self, task: Task) -> None:
        """A call to be sent again (retry, or handed back): before the ones not sent yet."""
        actor = self.table[task.spec.actor]
        actor.inflight.pop(task.spec.task_id, None)
        queue = actor.queues.setdefault(task.spec.caller, deque())
        # Calls come back one by one, each older than what waits unless it was retried later.
        at = 0
        for waiting in queue:
            if waiting.spec.task_id > task.spec.task_id:
                break
            at += 1
        queue.insert(at, task)
        self.send_more(task.spec.actor)

    def send_more(self, actor_id: int) -> None:
        """Sends the calls that wait, each caller's in order."""
        actor = self.table.get(actor_id)
        if actor is None or not self._open(actor):
            return
        for caller in list(actor.queues):
            queue = actor.queues.get(caller)
            while queue and len(actor.inflight) < actor.most:
                task = queue[0]
                if task.state == PENDING_ARGS_AVAIL:
                    break  # in order: the ones behind wait too
                queue.popleft()
                if task.state == PENDING_NODE_ASSIGNMENT:
                    self._send(actor, task)
            if queue is not None and not queue:
                actor.queues.pop(caller, None)

    def _send(self, actor: Actor, task: Task) -> None:
        m = self.m
        task.worker = actor.worker
        actor.inflight[task.spec.task_id] = task
        if actor.running < actor.spec.max_concurrency:
            self._runs(actor, task)
        else:
            m.tasks.move(task, SUBMITTED_TO_WORKER)
        m.out.append(c.Run(actor.worker, task, m.tasks.lend_arguments(task, actor.worker)))

    def _runs(self, actor: Actor, task: Task) -> None:
        m = self.m
        actor.running += 1
        task.started = m.now
        m.tasks.move(task, RUNNING)
        if task.spec.options.timeout is not None:
            m.timer(m.now + task.spec.options.timeout, "timeout", task.spec.task_id)

    def call_done(self, task: Task) -> None:
        """The worker answered a call (or the creation)."""
        actor = self.table.get(task.spec.actor)
        worker = self.m.pool.table.get(task.worker)
        if worker is not None:
            worker.finished += 1
        if actor is not None:
            self._left(actor, task)

    def _left(self, actor: Actor, task: Task) -> None:
        if actor.inflight.pop(task.spec.task_id, None) is None:
            return
        if task.state == RUNNING:
            actor.running -= 1
            for other in actor.inflight.values():
                if other.state == SUBMITTED_TO_WORKER:
                    if actor.running < actor.spec.max_concurrency:
                        self._runs(actor, other)
                    break

    def call_ended(self, task: Task) -> None:
        """A call has its value or error."""
        actor = self.table.get(task.spec.actor)
        if actor is None:
            return
        actor.inflight.pop(task.spec.task_id, None)
        actor.pending -= 1
        if actor.queues:  # it may have been the one that the others of its caller waited behind
            self.send_more(task.spec.actor)
        if actor.ending and not actor.pending:
            self._finish_ending(actor)

    def handed_back(self, task: Task) -> None:
        """The worker dropped a cancelled call unstarted."""
        actor = self.table.get(task.spec.actor)
        if actor is not None:
            self._left(actor, task)
            if task.cancelled:
                self.m.tasks.end_cancelled(task)
            else:
                self.m.tasks.requeue(task)

    def drop_queued(self, task: Task) -> None:
        actor = self.table.get(task.spec.actor)
        queue = actor.queues.get(task.spec.caller) if actor is not None else None
        if queue is not None and task in queue:
            queue.remove(task)

    def cancel_sent(self, task: Task) -> None:
        """A sync actor's running call runs on, but its ref raises now. Whether one that waits there has
        begun is for the worker to say: it drops it and gives it back, or its result counts."""
        actor = self.table[task.spec.actor]
        if not actor.spec.is_async and task.state == RUNNING:
            self._left(actor, task)
            self.m.tasks.end_cancelled(task)

    # -- the end -------------------------------------------------------------------------------
    def unavailable(self, actor: Actor) -> Value:
        return ("err", "ActorUnavailableError", (self.m.hex_actor(actor.spec.actor_id),
                f"The actor {actor.spec.class_name} is restarting: the call may or may not have run."))  # fmt: skip

    def dead_value(self, actor: Actor) -> Value:
        return actor.cause or ("err", "ActorDiedError", (self.m.hex_actor(actor.spec.actor_id), "gone"))

    def _cause(self, actor: Actor, why: str) -> Value:
        spec = actor.spec
        return ("err", "ActorDiedError", (self.m.hex_actor(spec.actor_id), "died", spec.class_name,
                                          spec.name, actor.pid, why))  # fmt: skip

    def worker_died(self, worker: Worker, event: WorkerDied) -> None:
        """The actor's process died: restart it, or fail everything that waits for it."""
        m = self.m
        actor = self.table[worker.actor]
        m.resources.give(actor.spec.held)
        m.resources.give_gpus(actor.spec.held, worker.gpus)
        if actor.state == DEAD:
            self._fail_calls(actor, self.dead_value(actor))
            return
        actor.deaths.append(m.now)
        while actor.deaths and m.now - actor.deaths[0] > m.death_window:
            actor.deaths.popleft()
        doom = worker.doom
        why = doom[1] if doom and doom[1] else event.reason
        limit = actor.spec.max_restarts
        creating = actor.creation.spec.task_id in m.tasks.table
        looping = creating and len(actor.deaths) >= m.death_limit
        used_up = limit >= 0 and actor.restarts >= limit
        if actor.killed or looping or used_up or (actor.ending and not self._retriable(actor)):
            if looping:
                why = f"it died {len(actor.deaths)} times within {m.death_window:.0f} s: {why}"
            cause = self._cause(actor, why)
            if doom is not None and doom[0] == "OutOfMemoryError":
                cause = ("err", "OutOfMemoryError", (doom[1],))
            self._die(actor, cause)
            return
        self._restart(actor, event.reason)

    def creator_died(self, worker: Worker) -> None:
        """The process that made them is gone: so are its actors, but for detached ones (Ray's fate sharing)."""
        if worker.retiring and not worker.actor:
            return  # an idle worker that was asked to leave: its actors may be in use
        for actor in list(self.table.values()):
            made_here = actor.creation.spec.caller == worker.id
            if made_here and actor.state != DEAD and actor.spec.lifetime != "detached":
                self.kill(actor.spec.actor_id, True, "the process that created it died")

    def _retriable(self, actor: Actor) -> bool:
        """Returns whether a call waits that a restarted actor would run."""
        waiting = [*actor.inflight.values(), *(t for queue in actor.queues.values() for t in queue)]
        return any(task.retries and not task.cancelled for task in waiting)

    def _restart(self, actor: Actor, reason: str) -> None:
        m = self.m
        actor.restarts += 1
        actor.worker = 0
        self.move(actor, RESTARTING)
        m.history.note(m.now, "actor", actor.spec.actor_id, f"restart {actor.restarts}: {reason}")
        inflight = list(actor.inflight.values())
        actor.inflight.clear()
        actor.running = 0
        # First those that wait: a call that is retried for the last time joins them with none left.
        for queue in list(actor.queues.values()):
            for task in list(queue):
                if not task.retries and task.state == PENDING_NODE_ASSIGNMENT:
                    queue.remove(task)
                    m.tasks.fail(task, self.unavailable(actor))
        for task in inflight:
            self._retry_call(actor, task)
        creation = actor.creation
        if creation.spec.task_id in m.tasks.table:  # it died in the constructor
            creation.spec.attempt += 1
            creation.deaths += 1
            creation.not_before = m.now + min(5.0, 0.02 * 2 ** min(creation.deaths, 8))
            m.tasks.move(creation, PENDING_NODE_ASSIGNMENT)
        else:
            m.tasks.revive(creation)
        m.scheduler.enqueue(creation)

    def _retry_call(self, actor: Actor, task: Task) -> None:
        m = self.m
        if task.cancelled:
            m.tasks.end_cancelled(task)
        elif task.state == SUBMITTED_TO_WORKER and task.retries:
            m.tasks.requeue(task)
        elif task.retries:
            m.tasks.retry(task, "its actor died")
        else:
            m.tasks.fail(task, self.unavailable(actor))

    def _die(self, actor: Actor, cause: Value) -> None:
        m = self.m
        actor.cause = cause
        self.move(actor, DEAD)
        m.history.note(m.now, "actor", actor.spec.actor_id, f"dead: {cause[1:]!r:.300}")
        self.give_name_back(actor)
        creation = actor.creation
        if creation.spec.task_id in m.tasks.table:
            m.tasks.fail(creation, cause, FAILED)
        m.tasks.release_creation(creation)  # a restart's constructor may have been running: both
        worker = m.pool.table.get(actor.worker)
        if worker is not None and not worker.retiring:
            m.pool.retire(worker)
        self._fail_calls(actor, cause)
        obj = m.objects.table.get(object_id(actor.spec.actor_id, 1))
        if obj is not None:
            if actor.spec.lifetime == "detached":
                obj.containers -= 1
            m.objects.check(obj)

    def _fail_calls(self, actor: Actor, cause: Value) -> None:
        waiting = list(actor.inflight.values())
        for queue in actor.queues.values():
            waiting.extend(queue)
        actor.inflight.clear()
        actor.queues.clear()
        actor.running = 0
        for task in waiting:
            if task.spec.task_id in self.m.tasks.table:
                self.m.tasks.fail(task, cause)

    def give_name_back(self, actor: Actor) -> None:
        if actor.spec.name and not actor.unnamed:
            actor.unnamed = True
            self.names.pop((actor.spec.namespace, actor.spec.name), None)

    def kill(self, actor_id: int, no_restart: bool, why: str = "it was killed by raynb.kill()") -> None:
        """``kill``: the process is killed at once; without ``no_restart`` it may come back."""
        actor = self.table.get(actor_id)
        if actor is None or actor.state == DEAD:
            return
        actor.killed = no_restart
        worker = self.m.pool.table.get(actor.worker)
        if no_restart:
            cause = self._cause(actor, why)
            if worker is not None:
                worker.retiring = True
            self._die(actor, cause)
        if worker is not None:
            worker.doom = ("ActorDiedError", why)
            self.m.out.append(c.KillWorker(worker.id))

    def exiting(self, actor_id: int) -> None:
        """``exit_actor``: no restart, the process leaves by itself."""
        actor = self.table.get(actor_id)
        if actor is not None and actor.state != DEAD:
            actor.killed = True
            self._die(actor, self._cause(actor, "exit_actor() was called"))

    def unreferenced(self, actor_id: int) -> None:
        """The last handle is gone: end after the calls already submitted."""
        actor = self.table.get(actor_id)
        if actor is None:
            return
        actor.ending = True
        if actor.state == DEAD:
            self._forget(actor)
            return
        if not actor.pending:
            self._finish_ending(actor)

    def _finish_ending(self, actor: Actor) -> None:
        obj = self.m.objects.table.get(object_id(actor.spec.actor_id, 1))
        if obj is not None and (obj.refs or obj.lends or obj.args or obj.containers):
            actor.ending = False  # a call that was still running passed the handle on
            return
        if actor.state == DEAD:
            self._forget(actor)
            return
        if actor.creation.spec.task_id in self.m.tasks.table:
            return  # the constructor still runs; creation's end looks again
        self._die(actor, self._cause(actor, "all handles to it are gone"))

    def _forget(self, actor: Actor) -> None:
        """Nobody can ask for it any more."""
        actor_id = actor.spec.actor_id
        obj = self.m.objects.table.get(object_id(actor_id, 1))
        if obj is not None and not actor.pending:
            obj.actor = 0
            self.m.objects.free(obj)

    def named(self, name: str, namespace: str) -> Actor | None:
        actor_id = self.names.get((namespace, name))
        return None if actor_id is None else self.table[actor_id]

    def check_ending(self, actor_id: int) -> None:
        actor = self.table.get(actor_id)
        if actor is not None and actor.ending and not actor.pending and actor.state != DEAD:
            self._finish_ending(actor)
