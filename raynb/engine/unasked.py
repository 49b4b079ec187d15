"""Failures that nobody asks about, for engines without a machine: see `raynb.core.tasks.unasked`."""

from __future__ import annotations

import os
from collections.abc import Callable

from raynb.base.interrupts import Critical
from raynb.base.process.waits import time
from raynb.base.rows import TaskRow
from raynb.core.tasks.unasked import GRACE_SECONDS, Tally

#: Tasks that are remembered as asked about.
MAX_ASKED = 1_000

_now = time.monotonic


def wanted() -> bool:
    """Returns whether such failures are reported at all."""
    return os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1"


class UnaskedFailures:
    """Keeps failures that nobody has asked about, and reports them once nobody can.

    Args:
        report: shows a text in the cell of a scope.

    Thread contract: any thread; ``report`` is called without the lock.
    """

    def __init__(self, report: Callable[[str, int], None]) -> None:
        self._report = report
        self._lock = Critical()
        self._tally = Tally()
        self._tasks: dict[int, tuple[TaskRow, int]] = {}  # task → its row, and how many of its objects exist
        self._actors: dict[str, tuple[TaskRow, float]] = {}  # dead actor, spelled → its creation, when to tell
        self._asked: dict[int, None] = {}  # tasks whose error was read before it was known here

    def task_failed(self, row: TaskRow, objects: int) -> None:
        """Enters a failed task; ``objects`` of its returns can still be named."""
        with self._lock:
            if row.id in self._asked:
                return
            if objects:
                self._tasks[row.id] = row, objects
        if not objects:
            self._say(row, False)

    def retried(self, task: int) -> None:
        """Takes the failure of a task back."""
        with self._lock:
            self._tasks.pop(task, None)

    def actor_failed(self, actor: str, row: TaskRow) -> None:
        """Enters an actor whose constructor failed; a later call of it may raise that error anyway."""
        with self._lock:
            self._actors[actor] = row, _now() + GRACE_SECONDS

    def asked(self, task: int, actor: str = "") -> None:
        """Marks a task's failure as asked about.

        Args:
            actor: the dead actor that the error names.
        """
        with self._lock:
            if self._tasks.pop(task, None) is None:
                self._asked[task] = None
                if len(self._asked) > MAX_ASKED:
                    del self._asked[next(iter(self._asked))]
            if actor:
                self._actors.pop(actor, None)

    def freed(self, task: int) -> None:
        """Reports a failure that nobody asked about, when the last of its objects is released."""
        if not self._tasks:
            return
        with self._lock:
            entry = self._tasks.pop(task, None)
            if entry is None:
                return
            row, count = entry
            if count > 1:
                self._tasks[task] = row, count - 1
                return
        self._say(row, False)

    def look(self, over: bool = False) -> None:
        """Reports failed actors that nobody asked about in time; ``over``: the runtime ends."""
        if not self._actors:
            return
        with self._lock:
            late = [actor for actor, (_, when) in self._actors.items() if over or _now() >= when]
            rows = [self._actors.pop(actor)[0] for actor in late]
        for row in rows:
            self._say(row, True)

    def are_open(self) -> bool:
        """Returns whether any task has failed and nobody has asked."""
        return bool(self._tasks)

    def has(self, task: int) -> bool:
        """Returns whether a task has failed and nobody has asked."""
        return task in self._tasks

    def _say(self, row: TaskRow, creates_actor: bool) -> None:
        with self._lock:
            words = self._tally.words(row.scope, row.name, row.error_type, row.error, creates_actor)
        if words and wanted():
            self._report(words, row.scope)
