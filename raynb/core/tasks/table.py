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

from collections.abc import Callable, Mapping
from typing import Any

from raynb.base import ends
from raynb.base.ids import INDEX_BITS, object_id, task_of
from raynb.base.rows import (
    CANCELLED,
    FAILED,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
)  # fmt: skip
from raynb.base.spec import STREAMING, TaskSpec, Value
from raynb.core.history import MOVED, History
from raynb.core.objects.table import Objects
from raynb.core.step import Step
from raynb.core.tasks.unasked import Unasked
from raynb.core.vocabulary.records import Obj, Task
from raynb.core.vocabulary.spelling import Spelling
from raynb.core.vocabulary.transitions import O_READY, TASK


def describe_error(value: Any) -> tuple[str, str]:
    """Returns (class name, text) of an error value, for the views; the text is cut at 2,000 characters."""
    if value[0] == "err" and value[1] != "through":
        if value[1] == "argument":
            return describe_error(value[2][1])
        return value[1], " ".join(str(a) for a in value[2] if isinstance(a, str))[:2000]
    return "RayTaskError", "An argument of this task is an error; the task that made it says which."


def _error_size(value: Value) -> int:
    return len(value[1]) if type(value) is tuple and value[0] == "exc" else 0


def _enter(sets: dict[int, set[int]], key: int, member: int) -> None:
    """Adds a member to the set of a key, and makes the set if there is none."""
    found = sets.get(key)
    if found is None:
        sets[key] = {member}
    else:
        found.add(member)


#: State → state that `TASK` allows after it → what the history calls that.
_MARKS = {old: {state: MOVED[state] for state in states} for old, states in TASK.items()}
_fill_task, _fill_object = Task.__init__, Obj.__init__
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

    def __init__(
        self, step: Step, history: History, spelling: Spelling, objects: Objects, unasked: Unasked
    ) -> None:  # fmt: skip
        self._step = step
        self._history = history
        self._spelling = spelling
        self._objects = objects
        self.unasked = unasked
        self.table: dict[int, Task] = {}  # unfinished
        self.children: dict[int, set[int]] = {}  # parent → unfinished children
        self.scopes: dict[int, dict[str, int]] = {}  # cell → ended tasks by state
        self.open_in: dict[int, set[int]] = {}  # cell → unfinished tasks

    def connect(
        self, *, enqueue: Callable[[Task], None], enqueue_call: Callable[[Task], None],
        call_ready: Callable[[Task], None], call_ended: Callable[[Task], None],
        open_stream: Callable[[Task], None], end_stream: Callable[[Task, Value | None], None],
        creation_failed: Callable[[Task, Value], None], creation_ended: Callable[[int], None],
        kept: Mapping[int, Task],
    ) -> None:  # fmt: skip
        """Sets what is called in policies that are made after this one.

        Args:
            enqueue, enqueue_call: a task, or an actor's call, waits for a worker.
            call_ready: the arguments of a call are there.
            call_ended: a call has its value or its error.
            open_stream, end_stream: of a generator task, with its error.
            creation_failed: an actor is not made, with the error.
            creation_ended: the task that makes an actor has ended, well or not.
            kept: finished tasks whose arguments stay pinned, to make lost objects again.
        """
        self._enqueue = enqueue
        self._enqueue_call = enqueue_call
        self._call_ready = call_ready
        self._call_ended = call_ended
        self._open_stream = open_stream
        self._end_stream = end_stream
        self._creation_failed = creation_failed
        self._creation_ended = creation_ended
        self._kept = kept

    def of_object(self, identity: int) -> Task | None:
        """Returns the unfinished task that makes an object, or None."""
        return self.table.get(task_of(identity))

    def move(self, task: Task, state: str) -> None:
        """Moves the task to a state that `TASK` allows; updates the counts by state, and records it."""
        old = task.state
        mark = _MARKS[old].get(state)
        if mark is None:
            self._history.impossible("task", task.spec.task_id, old, state)
        task.state = state
        group = task.group
        group[old] -= 1
        group[state] += 1
        self._history.add(self._step.now, mark, task.spec.task_id)

    # -- submission ----------------------------------------------------------------------------
    def submitted(self, spec: TaskSpec) -> Task:
        """Enters a submitted task with its objects; it waits for its arguments. The caller records it."""
        options = spec.options
        history = self._history
        group = history.groups.get(options.name)
        if group is None:
            group = history.group(options.name)
        task = object.__new__(Task)  # by their classes, it and its object take 0.1 µs longer
        _fill_task(task, spec, group)
        task.submitted = self._step.now
        task.retries = options.max_retries
        task_id = spec.task_id
        self.table[task_id] = task
        group[PENDING_ARGS_AVAIL] += 1
        scope = spec.scope
        caller = spec.caller
        if spec.parent:
            _enter(self.children, spec.parent, task_id)
        if scope:
            _enter(self.open_in, scope, task_id)
        objects = self._objects
        identity = task_id << INDEX_BITS
        for _ in range(spec.returns):
            identity += 1
            objects.table[identity] = obj = object.__new__(Obj)
            _fill_object(obj, identity)
            obj.scope = scope
            if caller:
                obj.lends = {caller: 1}
                _enter(self._objects.lent, caller, identity)
            else:
                obj.refs = 1
        if options.num_returns == STREAMING:
            self._open_stream(task)
        for inner in spec.contained:
            objects.table[inner].args += 1
        if spec.deps:
            self._await_arguments(task)
        return task

    def _await_arguments(self, task: Task) -> None:
        table = self._objects.table
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
            obj = self._objects.table[dep]
            if obj.error:
                self.unasked.taken(obj, task)
                self.fail(task, of_argument(task, obj.value))
                return
        self.move(task, PENDING_NODE_ASSIGNMENT)
        if task.spec.actor:
            self._enqueue_call(task)
        else:
            enqueue = self._enqueue  # as in `end`
            enqueue(task)

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
                    self._call_ready(task)
                else:
                    self.enqueue(task)

    def lend_arguments(self, task: Task, worker: int) -> tuple[int, ...]:
        """Lends the task's arguments to the worker: the message that sends the task names them."""
        spec = task.spec
        if not spec.deps and not spec.contained:
            return ()
        objects = self._objects
        lent: list[int] = []
        for dep in spec.deps:
            obj = objects.table[dep]
            obj.used = self._step.now
            if type(obj.value) is tuple:
                lent.append(dep)
            lent.extend(obj.contained)
        lent.extend(spec.contained)
        for identity in lent:
            objects.lend(identity, worker)
        return tuple(lent)

    # -- the end -------------------------------------------------------------------------------
    def fail(self, task: Task, value: Value | None, state: str = FAILED,
             contained: tuple[int, ...] = ()) -> None:  # fmt: skip
        """Ends the task: all its returns get the error."""
        assert value is not None
        if not task.error[0] and type(value) is tuple:
            task.error = describe_error(value)
        self.move(task, state)
        if state == FAILED:
            self.unasked.task_failed(task, value)
        task_id = task.spec.task_id
        if task.spec.options.num_returns == STREAMING:
            self._end_stream(task, value)
        for index in range(1, task.spec.returns + 1):
            obj = self._objects.table.get(object_id(task_id, index))
            if obj is not None and obj.state != O_READY:
                self._objects.set_value(obj, value, _error_size(value), contained)
        self.end(task)
        if task.spec.creates_actor:
            self._creation_failed(task, value)

    def end(self, task: Task) -> None:
        """Removes an ended task from the table, and releases what it held."""
        spec = task.spec
        task_id = spec.task_id
        task.ended = self._step.now
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
        if task_id in self._kept:
            pass  # its arguments stay pinned: they are needed to make its objects again
        elif spec.deps or spec.contained:
            self.unpin(task)
        else:
            spec.args = b""
        self._history.keep(task)
        if spec.actor:
            ended = self._call_ended  # by way of the attribute, Python looks for a method first: 50 ns
            ended(task)
        elif spec.creates_actor:
            self._creation_ended(task_id)

    def unpin(self, task: Task) -> None:
        """Releases the task's counts on its arguments and on the objects inside them."""
        objects = self._objects
        if task.spec.deps:
            objects.unpin(task.spec.deps, "args")
        if task.spec.contained:
            objects.unpin(task.spec.contained, "args")
        task.spec.args = b""

    # -- cancelled ends ---------------------------------------------------------------------------
    def cancelled_value(self, task: Task) -> Value:
        """Returns the `TaskCancelledError` of a task."""
        return ends.cancelled(self._spelling.task(task.spec.task_id))

    def end_cancelled(self, task: Task) -> None:
        """Ends the task as cancelled."""
        self.fail(task, self.cancelled_value(task), CANCELLED)
