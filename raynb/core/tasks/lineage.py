"""Keeps finished tasks that can make lost objects again, and the arguments they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.ids import index_of, object_id, task_of
from raynb.base.rows import PENDING_ARGS_AVAIL
from raynb.core.objects.table import is_stored
from raynb.core.tasks.retries import less_one
from raynb.core.vocabulary.records import Obj, Task
from raynb.core.vocabulary.transitions import O_PENDING, O_READY

if TYPE_CHECKING:
    from raynb.core.history import History
    from raynb.core.objects.table import Objects
    from raynb.core.tasks.table import Tasks


class Lineage:
    """Keeps finished tasks that may have to run again, because a lost object came from them.

    A kept task still counts as a user of its arguments, so they can be read again. It is kept no longer than one of its
    objects can be lost: a small result, which is in the driver, holds no large argument.
    """

    def __init__(self, tasks: Tasks, objects: Objects, history: History) -> None:
        self._tasks = tasks
        self._objects = objects
        self._history = history
        self.table: dict[int, Task] = {}

    def keep(self, task: Task, stored: bool) -> None:
        """Keeps a finished task if it can be run again. ``stored``: a value of it lies where it can be lost."""
        spec = task.spec
        if spec.creates_actor or (
            stored and spec.options.max_retries and not spec.actor and self._needed(task)
        ):  # a restart of an actor needs the constructor's arguments
            self.table[spec.task_id] = task

    def _needed(self, task: Task) -> bool:
        """Returns whether one of the task's objects can still be named, and be lost."""
        table = self._objects.table
        last = task.spec.returns + max(task.total, 0)  # of a stream that has ended, its last item
        objects = (table.get(object_id(task.spec.task_id, i)) for i in range(1, last + 1))
        return any(obj is not None and (obj.state != O_READY or is_stored(obj.value)) for obj in objects)

    def release_creation(self, creation: Task) -> None:
        """Releases the arguments of a constructor that will not be called again."""
        if creation.spec.task_id in self.table:
            del self.table[creation.spec.task_id]
            self._tasks.unpin(creation)

    def forget(self, task_id: int) -> None:
        """Forgets a freed object of a task; with the last one that could be lost the task's lineage is released."""
        task = self.table.get(task_id)
        if task is None or task_id in self._tasks.table or task.spec.creates_actor:
            return
        if not self._needed(task):
            del self.table[task_id]
            self._tasks.unpin(task)

    def reconstruct(self, obj: Obj) -> bool:
        """Runs the task of a lost object again; returns False when its lineage or retries are used up."""
        task_id = task_of(obj.id)
        if task_id in self._tasks.table:
            return True  # it is running again for another of its objects
        task = self.table.pop(task_id, None)
        if task is None or not task.retries:
            if task is not None:
                self._tasks.unpin(task)
            return False
        task.retries = less_one(task.retries)
        task.spec.attempt += 1
        self._history.runs_again(task_id)
        self._tasks.table[task_id] = task
        try_again = [d for d in task.spec.deps if self._objects.table[d].state != O_READY]
        task.worker = 0
        task.waiting = 0
        self._tasks.move(task, PENDING_ARGS_AVAIL)
        if index_of(obj.id) <= task.spec.returns:  # an item of a stream stays lost until it comes again
            self._objects.move(obj, O_PENDING)
        for dep in try_again:
            lost = self._objects.table[dep]
            task.waiting += 1
            lost.waiters = [*(lost.waiters or ()), task_id]
        self._tasks.enqueue(task)
        return True
