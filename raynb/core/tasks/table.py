"""Tasks: from submission to a value, an error or a cancellation, however their workers died.

Theory of operation. Each unfinished task is a `Task` in one state of `TASK` (all transitions: docs/states.md):

    PENDING_ARGS_AVAIL ──► PENDING_NODE_ASSIGNMENT ──► SUBMITTED_TO_WORKER ──► RUNNING ──► FINISHED
     waits for arguments    queued by its shape  ▲      in a worker's line        │         FAILED
                                                 └────── handed back, retried ────┘         CANCELLED

A task counts the arguments that are not ready; with the last one the scheduler (or the actor's queue) gets it. The
table pins its arguments until it ends. An end sets the task's objects, which wakes the tasks that wait for them. A
finished task leaves the table; `Lineage` may keep it, to run it again when one of its objects is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raynb.base import ends
from raynb.base.ends import Done
from raynb.base.ids import INDEX_BITS, object_id, task_of
from raynb.base.rows import (
    CANCELLED,
    FAILED,
    FINISHED,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
)  # fmt: skip
from raynb.base.spec import STREAMING, TaskSpec, Value
from raynb.core.history import MOVED, SUBMITTED
from raynb.core.objects.table import is_stored
from raynb.core.tasks import retries
from raynb.core.tasks.unasked import Unasked
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import TasksFinished
from raynb.core.vocabulary.records import Obj, Task, Worker
from raynb.core.vocabulary.transitions import O_READY, TASK

if TYPE_CHECKING:
    from raynb.core.machine import Machine


def _error_size(value: Value) -> int:
    return len(value[1]) if type(value) is tuple and value[0] == "exc" else 0


def _enter(sets: dict[int, set[int]], key: int, member: int) -> None:
    """Adds a member to the set of a key, and makes the set if there is none."""
    found = sets.get(key)
    if found is None:
        sets[key] = {member}
    else:
        found.add(member)


#: Tasks that an error names at most, of those that it came through.
MAX_NAMES = 20


def of_argument(task: Task, value: Value | None) -> Value:
    """Returns the error of a task with such an argument: a crash becomes its `RayTaskError` of the crash's class;
    what a task raised stays that, and names the tasks that it came through."""
    assert type(value) is tuple
    if value[0] == "exc":
        return ("err", "through", ((task.spec.options.name,), value))
    if value[1] == "through":
        names, raised = value[2]
        return ("err", "through", ((task.spec.options.name, *names)[:MAX_NAMES], raised))
    if value[0] == "err" and value[1] not in ("argument", "TaskCancelledError"):
        return ("err", "argument", (task.spec.options.name, value))
    return value


class Tasks:
    """The table of unfinished tasks: enters them, queues them when their arguments are ready, ends them.

    Invariant: a task is in the table until its objects have a value or an error; it ends exactly once.
    """

    def __init__(self, machine: Machine) -> None:
        self.m = machine
        self.table: dict[int, Task] = {}  # unfinished
        self.children: dict[int, set[int]] = {}  # parent → unfinished children
        self.scopes: dict[int, dict[str, int]] = {}  # cell → ended tasks by state
        self.open_in: dict[int, set[int]] = {}  # cell → unfinished tasks
        self.unasked = Unasked(machine)

    def of_object(self, identity: int) -> Task | None:
        """Returns the unfinished task that makes an object, or None."""
        return self.table.get(task_of(identity))

    def move(self, task: Task, state: str) -> None:
        """Moves the task to a state that `TASK` allows; updates the counts by state, and records it."""
        old = task.state
        if state not in TASK[old]:
            self.m.impossible("task", task.spec.task_id, old, state)
        task.state = state
        group = task.group
        group[old] -= 1
        group[state] += 1
        m = self.m
        m.history.add(m.now, MOVED[state], task.spec.task_id)

    # -- submission ----------------------------------------------------------------------------
    def submitted(self, spec: TaskSpec) -> Task:
        """Enters a submitted task with its objects; it waits for its arguments."""
        m = self.m
        options = spec.options
        history = m.history
        group = history.groups.get(options.name)
        if group is None:
            group = history.group(options.name)
        task = Task(spec, group)
        task.submitted = m.now
        task.retries = options.max_retries
        task_id = spec.task_id
        self.table[task_id] = task
        group[PENDING_ARGS_AVAIL] += 1
        history.add(m.now, SUBMITTED, task_id)
        scope = spec.scope
        caller = spec.caller
        if spec.parent:
            _enter(self.children, spec.parent, task_id)
        if scope:
            _enter(self.open_in, scope, task_id)
        objects = m.objects
        identity = task_id << INDEX_BITS
        for _ in range(spec.returns):
            identity += 1
            objects.table[identity] = obj = Obj(identity)
            obj.scope = scope
            if caller:
                obj.lends = {caller: 1}
                _enter(m.workers_lent, caller, identity)
            else:
                obj.refs = 1
        if options.num_returns == STREAMING:
            m.streams.open(task)
        for inner in spec.contained:
            objects.table[inner].args += 1
        if spec.deps:
            self._await_arguments(task)
        return task

    def _await_arguments(self, task: Task) -> None:
        table = self.m.objects.table
        for dep in task.spec.deps:
            obj = table[dep]
            obj.args += 1
            if obj.state != O_READY:
                task.waiting += 1
                if obj.waiters is None:
                    obj.waiters = [task.spec.task_id]
                else:
                    obj.waiters.append(task.spec.task_id)

    def enqueue(self, task: Task) -> None:
        """Queues the task if its arguments are ready; fails it if one of them is an error."""
        if task.waiting:
            return
        for dep in task.spec.deps:
            obj = self.m.objects.table[dep]
            if obj.error:
                self.unasked.taken(obj, task)
                self.fail(task, of_argument(task, obj.value))
                return
        self.move(task, PENDING_NODE_ASSIGNMENT)
        if task.spec.actor:
            self.m.calls.enqueue(task)
        else:
            self.m.scheduler.enqueue(task)

    def argument_ready(self, obj: Obj, waiters: list[int]) -> None:
        """Counts a ready argument in the tasks that wait for it, and queues those that have all."""
        for task_id in waiters:
            task = self.table.get(task_id)
            if task is None:
                continue
            task.waiting -= 1
            if obj.error and task.state == PENDING_ARGS_AVAIL:
                self.unasked.taken(obj, task)
                self.fail(task, of_argument(task, obj.value))
            elif not task.waiting and task.state == PENDING_ARGS_AVAIL:
                task.after = task_of(obj.id)
                if task.spec.actor:
                    self.m.calls.arguments_ready(task)
                else:
                    self.enqueue(task)

    def lend_arguments(self, task: Task, worker: int) -> tuple[int, ...]:
        """Lends the task's arguments to the worker: the message that sends the task names them."""
        spec = task.spec
        if not spec.deps and not spec.contained:
            return ()
        objects = self.m.objects
        lent: list[int] = []
        for dep in spec.deps:
            obj = objects.table[dep]
            obj.used = self.m.now
            if type(obj.value) is tuple:
                lent.append(dep)
            lent.extend(obj.contained)
        lent.extend(spec.contained)
        for identity in lent:
            objects.lend(identity, worker)
        return tuple(lent)

    # -- the end -------------------------------------------------------------------------------
    def finished(self, event: TasksFinished) -> None:
        """Applies the ends of tasks that a worker reports, in their order."""
        m = self.m
        worker_id = event.worker
        worker = m.pool.table.get(worker_id)
        table = self.table
        for done in event.ends:
            task_id, values, flags, _, started, fetched, ran = done
            task = table.get(task_id)
            if task is None or worker is None or task.worker != worker_id:
                self._stale(done)
                continue
            if ran:
                task.started, task.fetched, task.ran = started, fetched, ran
                if not task.spec.actor:
                    m.scheduler.measured(task.spec.options.function, ran - started)
            actor = worker.actor
            if actor:
                m.calls.answered(worker, task)
            else:
                m.pool.task_done(worker, task)
            if not flags:
                self._succeeded(task, values)
            else:
                self._ended_with(task, done, worker)
            if not actor:
                m.pool.refill(worker_id)
            elif task_id == actor:
                m.actors.created(task, flags)
                m.calls.send_more(actor)
            elif flags & ends.EXITS:
                m.actors.exiting(actor)
        if worker is not None and worker.actor:
            m.calls.advance(worker.actor)

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
            self.end_cancelled(task)
            return
        if then == retries.AGAIN:
            self.m.retries.after_exception(task, done.error[1].rstrip().rpartition("\n")[2])
            return
        value, _, contained = done.values[0]
        if task.cancelled and cancelled:
            value = self.cancelled_value(task)
        task.error = done.error
        self.fail(task, value, CANCELLED if cancelled else FAILED, contained)

    def _succeeded(self, task: Task, values: Any) -> None:
        objects = self.m.objects
        spec = task.spec
        stored = False
        size = 0
        self.move(task, FINISHED)
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
                self.m.out.append(c.Free(value, identity))
        task.size += size
        if spec.options.num_returns == STREAMING:
            self.m.streams.ended(task, None)
        if stored or spec.creates_actor:
            self.m.lineage.keep(task, stored)
        self._end(task)

    def _stale(self, done: Done) -> None:
        """Frees the bytes of a result that nobody waits for: the task had failed meanwhile."""
        for index, (value, _, _) in enumerate(done.values, 1):
            if is_stored(value):
                self.m.out.append(c.Free(value, object_id(done.task, index)))

    def fail(self, task: Task, value: Value | None, state: str = FAILED,
             contained: tuple[int, ...] = ()) -> None:  # fmt: skip
        """Ends the task: all its returns get the error."""
        assert value is not None
        m = self.m
        if not task.error[0] and type(value) is tuple:
            task.error = m.describe_error(value)
        self.move(task, state)
        if state == FAILED:
            self.unasked.task_failed(task, value)
        task_id = task.spec.task_id
        if task.spec.options.num_returns == STREAMING:
            m.streams.ended(task, value)
        for index in range(1, task.spec.returns + 1):
            obj = m.objects.table.get(object_id(task_id, index))
            if obj is not None and obj.state != O_READY:
                m.objects.set_value(obj, value, _error_size(value), contained)
        self._end(task)
        if task.spec.creates_actor:
            m.actors.creation_failed(task, value)

    def _end(self, task: Task) -> None:
        m = self.m
        spec = task.spec
        task_id = spec.task_id
        task.ended = m.now
        del self.table[task_id]
        if spec.scope:
            open_ones = self.open_in.get(spec.scope)
            if open_ones is not None:
                open_ones.discard(task_id)
                if not open_ones:
                    del self.open_in[spec.scope]
            counts = self.scopes.setdefault(spec.scope, {})
            counts[task.state] = counts.get(task.state, 0) + 1
        if spec.parent:
            siblings = self.children.get(spec.parent)
            if siblings is not None:
                siblings.discard(task_id)
                if not siblings:
                    del self.children[spec.parent]
        if task_id in m.lineage.table:
            pass  # its arguments stay pinned: they are needed to make its objects again
        elif spec.deps or spec.contained:
            self.unpin(task)
        else:
            spec.args = b""
        m.history.keep(task)
        if spec.actor:
            m.calls.ended(task)
        elif spec.creates_actor:
            m.actors.check_ending(task_id)

    def unpin(self, task: Task) -> None:
        """Releases the task's counts on its arguments and on the objects inside them."""
        objects = self.m.objects
        if task.spec.deps:
            objects.unpin(task.spec.deps, "args")
        if task.spec.contained:
            objects.unpin(task.spec.contained, "args")
        task.spec.args = b""

    # -- cancelled ends ---------------------------------------------------------------------------
    def cancelled_value(self, task: Task) -> Value:
        """Returns the `TaskCancelledError` of a task."""
        return ends.cancelled(self.m.hex_task(task.spec.task_id))

    def end_cancelled(self, task: Task) -> None:
        """Ends the task as cancelled."""
        self.fail(task, self.cancelled_value(task), CANCELLED)
