"""Failures that nobody asks about are reported once, so that none is lost in silence.

A failure counts as asked about when the driver or a worker reads it, or when a task that takes it fails
for it. Otherwise it is reported when its last ref is released; an actor whose constructor failed, a
moment after, because the next call may raise it anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

from raynb.base.ids import object_id, task_of
from raynb.base.spec import Value
from raynb.base.text import printable
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.records import Obj, Task
from raynb.core.vocabulary.spelling import Spelling

#: Seconds that a caller of an actor whose constructor failed has to learn of it by itself.
GRACE_SECONDS = 1.0

#: Names of errors that somebody caused on purpose, or that another failure reports.
KNOWN = frozenset({"TaskCancelledError", "ActorDiedError", "ObjectFreedError", "RuntimeGoneError", "argument"})

#: Failures of a kind that are reported one by one.
FIRST_FAILURES = 5

#: How many kinds of failures are counted.
MAX_KINDS = 1_000


class Unasked:
    """Keeps failures until somebody asks about them, and reports those that nobody can ask about any more."""

    def __init__(self, objects: Mapping[int, Obj], step: Step, spelling: Spelling) -> None:
        self._objects = objects
        self._step = step
        self._spelling = spelling
        self.failed: dict[int, tuple[Task, int]] = {}  # task → itself, and how many of its objects exist
        self.actors: dict[int, Task] = {}  # dead actors whose constructor's failure is to be told
        self._by_hex: dict[str, int] = {}
        self._tally = Tally()

    def task_failed(self, task: Task, value: Value) -> None:
        """Enters the failure of a task; called before the task's objects have the error."""
        spec = task.spec
        if not isinstance(value, tuple) or (value[0] == "err" and value[1] in KNOWN):
            return
        if spec.creates_actor:
            self.actors[spec.task_id] = task
            self._by_hex[self._spelling.actor(spec.task_id)] = spec.task_id
            self._step.timer(self._step.now + GRACE_SECONDS, "unasked", spec.task_id)
            return
        table = self._objects
        count = sum(object_id(spec.task_id, index) in table for index in range(1, spec.returns + 1))
        if count:
            self.failed[spec.task_id] = task, count
        else:
            self._report(task)

    def taken(self, obj: Obj, task: Task) -> None:
        """Marks the failure as asked about: a task that takes it as an argument fails for it."""
        entry = self.failed.get(task_of(obj.id))
        if entry is not None and not task.error[0]:
            task.error = entry[0].error
        self.asked(obj)

    def asked(self, obj: Obj) -> None:
        """Marks a failure as asked about: somebody reads the error."""
        self.failed.pop(task_of(obj.id), None)
        value = obj.value
        if self.actors and isinstance(value, tuple) and value[0] == "err" and value[1] == "ActorDiedError":
            self._forget_actor(self._by_hex.get(value[2][0], 0))

    def freed(self, obj: Obj) -> None:
        """Reports a failure that nobody asked about, when its last object is freed."""
        identity = task_of(obj.id)
        entry = self.failed.get(identity)
        if entry is None:
            return
        task, count = entry
        if count > 1:
            self.failed[identity] = task, count - 1
            return
        del self.failed[identity]
        self._report(task)

    def timer(self, actor: int) -> None:
        """Reports the failure of an actor's constructor that nobody asked about in time."""
        task = self.actors.get(actor)
        if task is not None:
            self._forget_actor(actor)
            self._report(task)

    def stopping(self) -> None:
        """Reports what is left at shutdown."""
        for actor in list(self.actors):
            self.timer(actor)

    def _forget_actor(self, actor: int) -> None:
        if self.actors.pop(actor, None) is not None:
            del self._by_hex[self._spelling.actor(actor)]

    def _report(self, task: Task) -> None:
        spec, (kind, text) = task.spec, task.error
        words = self._tally.words(spec.scope, spec.options.name, kind, text, spec.creates_actor)
        if words:
            self._step.out.append(c.ReportFailure(words, spec.scope, spec.task_id))


class Tally:
    """Limits the reports of one kind of failure per cell: the first few, then the tenth, the hundredth, and so on."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, str, str], int] = {}  # (scope, name, kind) → failures told or counted

    def words(self, scope: int, name: str, kind: str, text: str, creates_actor: bool) -> str:
        """Counts a failure; returns the text of its report, or "".

        Args:
            scope: the cell.
            name: of the task.
            kind, text: of its error.
            creates_actor: it was to make an actor.
        """
        key = (scope, name, kind)
        count = self._times.pop(key, 0) + 1
        self._times[key] = count
        while len(self._times) > MAX_KINDS:
            del self._times[next(iter(self._times))]
        if count > FIRST_FAILURES and str(count).strip("0") != "1":
            return ""
        last = printable(text.rstrip().rpartition("\n")[2].strip())
        name, kind = printable(name), printable(kind)
        why = last if last.startswith(kind.rpartition(".")[2]) or kind in last else f"{kind}: {last}" if last else kind
        if creates_actor:
            return f"the actor {name.removesuffix('.__init__')} could not be made: {why}"
        if count <= FIRST_FAILURES:
            return f"{name} failed, and nobody has asked for its result: {why}"
        return f"{name} failed {count:,} times, and nobody has asked for the results; last: {why}"
