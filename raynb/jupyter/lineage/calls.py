"""Calls of remote functions and actors that a cell has made: the runs of the cells that have no ``%%remote``.

What a call's function takes is read when it is first used in a cell; what the cell itself reads, at its end, for those
calls whose refs it has left under names. Which of the words in its source are names that it reads is found out
only when it matters: parsing takes longer than everything else here.

Thread contract: called under the record's lock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base.ids import task_of
from raynb.base.interfaces import DriverEngine
from raynb.base.ref import ObjectRef
from raynb.base.rows import TaskRow
from raynb.base.scope import current_scope
from raynb.jupyter.cells.analysis import analyse
from raynb.jupyter.output.registry import Cell
from raynb.lineage.graph import CALLS, LINE, NotebookLineage, Run
from raynb.lineage.reading import Taken, take
from raynb.lineage.tokens import Reader, refs_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Tasks of one cell that are looked at, definitions that are remembered, words of one cell.
MAX_TASKS, MAX_USES, MAX_WORDS = 1_000, 1_000, 200

#: Cells whose code does not run in the kernel.
_TASKS = ("%%remote", "%%on", "%%everywhere", "%%actor")
_WORD = re.compile(r"[^\W\d]\w*")


class NotebookCalls:
    """The calls of a notebook's cells.

    Args:
        shell: the notebook's.
        space: its namespace.
        lineage: the record of its runs.
        reader: reads what names stand for.
        run_of: returns the run that made a ref.
        add: adds a run to the record; returns it.
    """

    def __init__(
        self, shell: InteractiveShell, space: dict[str, Any], lineage: NotebookLineage, reader: Reader,
        run_of: Callable[[ObjectRef[object]], Run | None], add: Callable[..., Run],
    ) -> None:  # fmt: skip
        self._shell = shell
        self._space = space
        self._lineage = lineage
        self._reader = reader
        self._run_of = run_of
        self._add = add
        self._uses: dict[tuple[int, str], tuple[str, Taken]] = {}  # (cell, definition) → its name, what it takes
        self._unread: list[tuple[Run, str]] = []  # runs, and the source of their cells

    def clear(self) -> None:
        """Forgets everything: the runtime has ended."""
        self._uses.clear()
        self._unread.clear()

    def used(self, key: str, made: object) -> None:
        """Records that a definition is used for the first time in a cell."""
        name = str(getattr(made, "__name__", ""))
        held = self._space.get(name)
        inner = getattr(held, "_function", None) or getattr(held, "_cls", None) or held
        names = (name,) if inner is made else self._reader.of(made)[1]
        self._uses.pop((current_scope(), key), None)
        self._uses[current_scope(), key] = name, take(self._reader, self._lineage, names, self._run_of)
        while len(self._uses) > MAX_USES:
            del self._uses[next(iter(self._uses))]

    def cell_ended(self, cell: Cell) -> None:
        """Records the calls of remote functions and actors whose refs the cell has left under names."""
        engine = engines.driver()
        if engine is None or cell.source.startswith(_TASKS) or not engine.scope_counts(cell.scope):
            return
        words = [word for word in dict.fromkeys(_WORD.findall(cell.source)) if word in self._space][:MAX_WORDS]
        held: dict[int, str] = {}
        for name in words:
            for ref in refs_of(self._space[name]):
                run = self._run_of(ref)
                if run is None and ref._engine is engine:
                    held.setdefault(task_of(ref._id), name)
                elif run is not None and run.kind == LINE and run.scope == cell.scope and not run.outputs:
                    run.outputs = (name,)
                    self._lineage.bound(run, {name: self._reader.token(name)[0]})
        groups: dict[str, list[TaskRow]] = {}
        for row in engine.rows(tasks=list(held)[:MAX_TASKS]).tasks if held else ():
            if row.scope == cell.scope:
                groups.setdefault(self._definition(engine, row), []).append(row)
        for key, rows in groups.items():
            self._add_calls(cell, key, rows, held, words)

    @staticmethod
    def _definition(engine: DriverEngine, row: TaskRow) -> str:
        actors = engine.rows(actors=(row.actor,)).actors if row.actor else ()
        return actors[0].definition if actors else row.function

    def _add_calls(self, cell: Cell, key: str, rows: list[TaskRow], held: dict[int, str], words: list[str]) -> None:
        uses = [use for (_, other), use in self._uses.items() if other == key]
        name, used = uses[-1] if uses else (rows[0].name, Taken())
        named = {held[row.id] for row in rows}
        outputs = tuple(word for word in words if word in named)
        taken = take(self._reader, self._lineage, [word for word in words if word not in outputs], self._run_of)
        for word in outputs:  # ``x = f.remote(x)``: what it was before is known by who made it only
            maker, token = self._lineage.last_maker(word)
            if maker is not None:
                taken.reads[word], taken.upstream[word] = token, (maker.number,)
        direct = tuple(word for word in words if word in taken.reads and word not in used.reads)
        taken.reads.update(used.reads)
        taken.kinds.update(used.kinds)
        taken.upstream.update(used.upstream)
        run = self._add(cell, CALLS, f"{name}(…)", direct, outputs, [row.id for row in rows], taken)
        self._lineage.bound(run, {word: self._reader.token(word)[0] for word in outputs})
        self._unread.append((run, cell.source))

    def read_sources(self) -> bool:
        """Finds the words of the cells' sources that are names they read; returns whether there were any."""
        shell, found = self._shell, bool(self._unread)
        while self._unread:
            run, source = self._unread.pop()
            try:
                code = analyse(shell.transform_cell(source), shell.transform_cell)
            except SyntaxError:
                continue
            self._lineage.narrow(run, set(code.free))
        return found
