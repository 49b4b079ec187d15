"""Calls to actors: in each caller's order, sent ahead of their answers, retried with the actor.

Theory of operation. A call is a task (states: docs/states.md) in one of its actor's queues, one queue per caller:

    queues[caller] ──► inflight (sent) ──► answered
          ▲               │
          └── restart ◄───┘  if retries are left
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raynb.base import ends
from raynb.base.ids import object_id
from raynb.base.rows import (
    ALIVE,
    DEAD,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
    RESTARTING,
    RUNNING,
    SUBMITTED_TO_WORKER,
)  # fmt: skip
from raynb.base.spec import Value
from raynb.core.actors import restarts
from raynb.core.step import Step
from raynb.core.tasks.table import of_argument
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.records import Actor, Task, Worker
from raynb.core.vocabulary.spelling import Spelling

if TYPE_CHECKING:
    from raynb.core.objects.table import Objects
    from raynb.core.tasks.retries import Retries
    from raynb.core.tasks.table import Tasks

INFLIGHT_CALLS = 1000  # calls sent to a sync actor ahead of its answers


class Calls:
    """Sends the calls of actors to the actors' workers.

    Rules: the calls of one caller run in the order of their submission; a call whose arguments are not ready holds
    back its caller's later calls (a concurrent actor's calls may overtake it). Calls are sent ahead of their answers,
    as many as the actor's `most` allows. When an actor restarts, calls that may be retried are sent again, the others
    fail.
    """

    def __init__(
        self, step: Step, spelling: Spelling, workers: Mapping[int, Worker], actors: Mapping[int, Actor],
        tasks: Tasks, objects: Objects, retries: Retries,
    ) -> None:  # fmt: skip
        self._step = step
        self._spelling = spelling
        self._workers = workers
        self._actors = actors
        self._tasks = tasks
        self._objects = objects
        self._retries = retries
        self.stirred: set[int] = set()  # actors some of whose calls ended while others wait to be sent

    def connect(self, *, actor_left: Callable[[Actor], None], finish_ending: Callable[[Actor], None]) -> None:
        """Sets what ends an actor after its last call: one that leaves, and one without handles."""
        self._actor_left = actor_left
        self._finish_ending = finish_ending

    # -- sending -------------------------------------------------------------------------------
    def submitted(self, task: Task) -> None:
        """Enters a submitted call in its caller's queue, and sends what may be sent."""
        actor = self._actors.get(task.spec.actor)
        if actor is None:
            self._tasks.fail(task, ends.actor_gone(self._spelling.actor(task.spec.actor)))
            return
        actor.pending += 1
        if actor.state == DEAD or actor.leaving:
            self._tasks.fail(task, self.dead_value(actor))
            return
        if actor.state == RESTARTING and not task.retries:
            self._tasks.fail(task, self.unavailable(actor))
            return
        queue = actor.queues.get(task.spec.caller) if actor.queues else None
        worker = self._workers.get(actor.worker)
        if task.waiting:
            if not actor.unordered:
                actor.queues.setdefault(task.spec.caller, deque()).append(task)
        elif task.spec.deps and self._arguments_failed(task):
            return
        # As `_open`, which would be one more call for each: this is the hot path.
        elif not queue and len(actor.inflight) < actor.most and actor.state == ALIVE \
                and worker is not None and worker.kill_reason is None:  # fmt: skip
            self._send(actor, task)
        else:
            self._tasks.move(task, PENDING_NODE_ASSIGNMENT)
            actor.queues.setdefault(task.spec.caller, deque()).append(task)

    def _arguments_failed(self, task: Task) -> bool:
        for dep in task.spec.deps:
            obj = self._objects.table[dep]
            if obj.error:
                self._tasks.unasked.taken(obj, task)
                self._tasks.fail(task, of_argument(task, obj.value))
                return True
        return False

    def _open(self, actor: Actor) -> bool:
        """Returns whether calls can be sent: the actor is alive, and its process is not being killed."""
        worker = self._workers.get(actor.worker)
        return actor.state == ALIVE and not actor.leaving and worker is not None and worker.kill_reason is None

    def arguments_ready(self, task: Task) -> None:
        """Makes a call ready to send; fails it if the actor is dead or an argument is an error."""
        actor = self._actors[task.spec.actor]
        if actor.state == DEAD or actor.leaving:  # a call that may overtake is in no queue while it waits
            self._tasks.fail(task, self.dead_value(actor))
            return
        if self._arguments_failed(task):
            self.send_more(task.spec.actor)
            return
        self._tasks.move(task, PENDING_NODE_ASSIGNMENT)
        if actor.unordered:
            actor.queues.setdefault(task.spec.caller, deque()).append(task)
        self.send_more(task.spec.actor)

    def enqueue(self, task: Task) -> None:
        """Queues a call again (a retry, or one handed back), before those that were not sent yet."""
        actor = self._actors[task.spec.actor]
        actor.inflight.pop(task.spec.task_id, None)
        if actor.leaving:
            self._tasks.fail(task, self.dead_value(actor))
            return
        if task.not_before > self._step.now:  # a queue of its own, so that nobody waits behind it
            actor.queues[-task.spec.task_id] = deque((task,))
            self._step.timer(task.not_before, "call", task.spec.actor)
            return
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
        actor = self._actors.get(actor_id)
        if actor is None or not self._open(actor):
            return
        for caller in list(actor.queues):
            queue = actor.queues.get(caller)
            while queue and len(actor.inflight) < actor.most:
                task = queue[0]
                if task.state == PENDING_ARGS_AVAIL or task.not_before > self._step.now:
                    break  # in order: the ones behind wait too
                queue.popleft()
                if task.state == PENDING_NODE_ASSIGNMENT:
                    self._send(actor, task)
            if queue is not None and not queue:
                actor.queues.pop(caller, None)

    def _send(self, actor: Actor, task: Task) -> None:
        task.worker = actor.worker
        actor.inflight[task.spec.task_id] = task
        if actor.running < actor.spec.max_concurrency:
            self._runs(actor, task)
        else:
            self._tasks.move(task, SUBMITTED_TO_WORKER)
        spec = task.spec
        lent = self._tasks.lend_arguments(task, actor.worker) if spec.deps or spec.contained else ()
        self._step.out.append(c.Run(actor.worker, task, lent))

    def _runs(self, actor: Actor, task: Task) -> None:
        actor.running += 1
        task.started = self._step.now
        self._tasks.move(task, RUNNING)
        if task.spec.options.timeout is not None:
            self._step.timer(self._step.now + task.spec.options.timeout, "timeout", task.spec.task_id)

    # -- answers -------------------------------------------------------------------------------
    def answered(self, worker: Worker, task: Task) -> None:
        """Applies a worker's answer to a call, or to the actor's creation."""
        worker.finished += 1
        actor = self._actors.get(task.spec.actor)
        if actor is not None and actor.inflight.pop(task.spec.task_id, None) is not None and task.state == RUNNING:
            actor.running -= 1

    def _left(self, actor: Actor, task: Task) -> None:
        if actor.inflight.pop(task.spec.task_id, None) is not None and task.state == RUNNING:
            actor.running -= 1

    def advance(self, actor_id: int) -> None:
        """Marks the next calls at the worker as running: calls before them have left the process."""
        actor = self._actors.get(actor_id)
        if actor is None:
            return
        free = actor.spec.max_concurrency - actor.running
        if free > 0:
            for call in actor.inflight.values():
                if call.state == SUBMITTED_TO_WORKER:
                    self._runs(actor, call)
                    free -= 1
                    if not free:
                        break

    def send_ready(self) -> None:
        """Sends what may be sent now, after an event."""
        stirred = self.stirred
        while stirred:
            self.send_more(stirred.pop())

    def ended(self, task: Task) -> None:
        """Releases a call's place at the actor: it has its value or its error."""
        actor = self._actors.get(task.spec.actor)
        if actor is None:
            return
        if actor.inflight:
            actor.inflight.pop(task.spec.task_id, None)
        actor.pending -= 1
        if actor.queues:  # it may have been the one that the others of its caller waited behind
            self.stirred.add(task.spec.actor)
        if actor.leaving and not actor.inflight:
            self._actor_left(actor)
        if actor.ending and not actor.pending:
            self._finish_ending(actor)

    def handed_back(self, task: Task) -> None:
        """Ends a cancelled call that the worker dropped before it began."""
        actor = self._actors.get(task.spec.actor)
        if actor is not None:
            self._left(actor, task)
            self.advance(task.spec.actor)
            if task.cancelled:
                self._tasks.end_cancelled(task)
            else:
                self._retries.requeue(task)

    def drop_queued(self, task: Task) -> None:
        """Removes a cancelled call from its actor's queues; it was never sent."""
        actor = self._actors.get(task.spec.actor)
        if actor is None:
            return
        for key in (task.spec.caller, -task.spec.task_id):
            queue = actor.queues.get(key)
            if queue is not None and task in queue:
                queue.remove(task)

    def cancel_sent(self, task: Task) -> None:
        """A sync actor's running call runs on, but its ref raises now. Whether one that waits there has
        begun is for the worker to say: it drops it and gives it back, or its result counts."""
        actor = self._actors[task.spec.actor]
        if not actor.spec.is_async and task.state == RUNNING:
            self._left(actor, task)
            self.advance(task.spec.actor)
            self._tasks.end_cancelled(task)

    # -- when the actor restarts or dies ----------------------------------------------------------
    def unavailable(self, actor: Actor) -> Value:
        """Returns the error of calls that may not be sent again while the actor restarts."""
        return ends.actor_unavailable(self._spelling.actor(actor.spec.actor_id), actor.spec.class_name)

    def dead_value(self, actor: Actor) -> Value:
        """Returns the error that calls to a dead actor get: the cause of its death."""
        return actor.cause or ends.actor_gone(self._spelling.actor(actor.spec.actor_id))

    def any_retriable(self, actor: Actor) -> bool:
        """Returns whether a queued or sent call may run on a restarted actor."""
        waiting = [*actor.inflight.values(), *(t for queue in actor.queues.values() for t in queue)]
        return any(task.retries and not task.cancelled for task in waiting)

    def actor_restarts(self, actor: Actor) -> None:
        """Fails the calls that may not run again when their actor restarts, and queues the others."""
        inflight = list(actor.inflight.values())
        actor.inflight.clear()
        actor.running = 0
        # First those that wait: a call that is retried for the last time joins them with none left.
        for queue in list(actor.queues.values()):
            for task in list(queue):
                if not task.retries and task.state == PENDING_NODE_ASSIGNMENT:
                    queue.remove(task)
                    self._tasks.fail(task, self.unavailable(actor))
        for task in inflight:
            self._retry(actor, task)

    def _retry(self, actor: Actor, task: Task) -> None:
        """Queues a sent call again after its worker's death if retries are left, else fails it."""
        fate = restarts.fate_of_call(task.retries, task.cancelled)
        if fate == restarts.CANCEL:
            self._tasks.end_cancelled(task)
        elif fate == restarts.UNAVAILABLE:
            self._tasks.fail(task, self.unavailable(actor))
        elif task.state == SUBMITTED_TO_WORKER:  # it had not begun: that is no attempt
            self._retries.requeue(task)
        else:
            self._retries.again(task, "its actor died")

    def fail_queued(self, actor: Actor, cause: Value) -> None:
        """Fails the calls that were not sent yet."""
        waiting = [task for queue in actor.queues.values() for task in queue]
        actor.queues.clear()
        self._fail(waiting, cause)

    def fail_all(self, actor: Actor, cause: Value) -> None:
        """Fails every queued and sent call of a dead actor with the cause of its death."""
        waiting = list(actor.inflight.values())
        for queue in actor.queues.values():
            waiting.extend(queue)
        actor.inflight.clear()
        actor.queues.clear()
        actor.running = 0
        self._fail(waiting, cause)

    def _fail(self, calls: list[Task], cause: Value) -> None:
        for task in calls:
            if task.spec.task_id in self._tasks.table:
                self._tasks.fail(task, cause)

    def wanted(self, actor: Actor) -> bool:
        """Returns whether somebody can still ask for the value of a call that was sent."""
        table = self._objects.table
        for task in actor.inflight.values():
            for index in range(1, task.spec.returns + 1):
                obj = table.get(object_id(task.spec.task_id, index))
                if obj is not None and (obj.refs or obj.lends or obj.args or obj.containers):
                    return True
        return False
