"""Finds where the running cell has put its output (``%%capture``, ``redirect_stdout``, ``with Output():``). The output
of tasks that are awaited or submitted inside goes there, of what these submit, and of an actor that they call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.process.late_imports import when_imported
from raynb.base.rows import ACTOR_CREATION_TASK, Output, TaskRow
from raynb.jupyter.output.registry import Cells

_OUTPUT = "ipywidgets.widgets.widget_output"

#: How deep tasks that submit tasks are followed.
MAX_DEPTH = 50


class Redirections:
    """Knows the redirection in force, and who has a part in it.

    Args:
        cells: the notebook's cells.

    Thread contract: any thread; what it says may be a moment old.
    """

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self._key: tuple[Any, ...] = ()
        self._since = 0.0
        self._asked: set[int] = set()  # tasks that were awaited inside
        self._actors: set[int] = set()  # whose calls were

    def look(self) -> bool:
        """Returns whether output is redirected; notices when that has begun."""
        key = self.cells.places()
        if len(key) != len(self._key) or any(one is not other for one, other in zip(key, self._key, strict=True)):
            self._key, self._since = key, time.monotonic()
            self._asked.clear()
            self._actors.clear()
        return self.cells.is_redirected()

    def asked(self, objects: Iterable[int]) -> None:
        """Records that the main thread waits for these objects, or has learned of them."""
        if not self.look():
            return
        tasks = {ids.task_of(one) for one in objects} - self._asked
        self._asked |= tasks
        self._actors.update(row.actor for row in _rows(list(tasks)) if row.actor)

    def awaits(self, task: int) -> bool:
        """Returns whether a task was awaited inside."""
        return task in self._asked

    def takes(self, output: Output, waited: bool) -> bool:
        """Returns whether output of a task of the running cell goes where that has redirected its own.

        Args:
            waited: the cell waits, or has waited.
        """
        task = output.task
        for _ in range(MAX_DEPTH):
            if task in self._asked:
                return True
            found = _rows([task])
            if not found:
                return waited and not output.task  # of raynb itself
            row = found[0]
            if row.kind == ACTOR_CREATION_TASK and row.actor in self._actors:
                return True
            if row.submitted >= self._since:
                return waited
            if not row.parent:
                return False
            task = row.parent
        return False


def _rows(tasks: Sequence[int]) -> list[TaskRow]:
    engine = engines.driver()
    return list(engine.rows(tasks=tasks).tasks) if engine is not None else []


def watch_widgets(cells: Cells) -> Callable[[], None]:
    """Notices when an ``ipywidgets.Output`` is entered and left, once that is there; returns what undoes it."""
    undo: list[Callable[[], None]] = []

    def watch(module: ModuleType) -> None:
        cls: Any = module.Output
        enter, leave = cls.__enter__, cls.__exit__

        def entering(self: object) -> Any:
            cells.widgets.append(self)
            return enter(self)

        def leaving(self: object, *error: object) -> Any:
            try:
                return leave(self, *error)
            finally:
                if self in cells.widgets:
                    cells.widgets.remove(self)

        def restore() -> None:
            if cls.__enter__ is entering:
                cls.__enter__, cls.__exit__ = enter, leave

        cls.__enter__, cls.__exit__ = entering, leaving
        undo.append(restore)

    when_imported(_OUTPUT, "redirections", watch)

    def end() -> None:
        when_imported(_OUTPUT, "redirections", lambda module: None)
        for restore in undo:
            restore()

    return end
