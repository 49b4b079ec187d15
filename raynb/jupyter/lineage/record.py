"""Keeps the record of one notebook's runs: what each cell took and bound, and after each cell what has changed since.

What people see of it is in `raynb.jupyter.lineage.formatting` and `drawing`; running again in `rerun`.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raynb.api import definitions
from raynb.base import engine as engines
from raynb.base.ids import object_id, task_of
from raynb.base.interfaces import DriverEngine
from raynb.base.process import stale, trace
from raynb.base.ref import ObjectRef
from raynb.base.rows import CANCELLED, FAILED, TASK_ENDED
from raynb.jupyter.cells.analysis import CellCode
from raynb.jupyter.cells.inputs import NOTEBOOK_NAMES
from raynb.jupyter.lineage.calls import NotebookCalls
from raynb.jupyter.lineage.later import Later
from raynb.jupyter.lineage.notices import StaleNotices
from raynb.jupyter.output.registry import Cell, cell_name
from raynb.keeping import origins
from raynb.keeping.versions import Unsure
from raynb.lineage.births import Births
from raynb.lineage.graph import CELL, NotebookLineage, Run, sentence
from raynb.lineage.reading import Taken, take
from raynb.lineage.tokens import ABSENT, Reader, kind_in, refs_of

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

FRESH, STALE, RUNNING, FAILED_RUN = "fresh", "stale", "running", "failed"

#: Tasks of one run whose states are looked at, and whose objects are.
MAX_TASKS, MAX_OBJECTS = 1_000, 200

_FIXED = (int, float, bool, complex, str, bytes, type(None), ObjectRef)


@dataclass(slots=True, frozen=True)
class Recipe:
    """A ``%%remote`` cell that can be submitted again: its line, its body, the cell that it was in, and its text."""

    line: str
    body: str
    cell: Cell | None
    text: str


class Record:
    """The runs of a notebook.

    Thread contract: `submitted`, `bound`, `swapped` and `cell_ended` are called by the thread that runs cells; the
    questions from any thread. What a whole ``%%remote`` cell took is read when the kernel is idle (`later.py`), or
    before the first question.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.lineage = NotebookLineage()
        self.space: dict[str, Any] = notebook.shell.user_ns
        self.reader = Reader(self.space, _ref_token)
        #: Called when what is stale has changed, on the thread that runs cells.
        self.on_change: list[Callable[[], None]] = []
        self.running_again: Run | None = None  # which is submitted again now
        self._lock = threading.RLock()
        #: What is still to be recorded.
        self.later = Later(self._lock)
        self._nonce = 0  # of the runtime whose runs these are
        self._births = Births(self.space)
        self._calls = NotebookCalls(notebook.shell, self.space, self.lineage, self.reader, self.run_of, self.add)
        self._notices = StaleNotices(self.lineage, self.why_run)
        self._kept_at = 0
        self._changes = 0
        self._changed = False  # what is stale has changed, and the listeners do not know it yet

    # -- loading -------------------------------------------------------------------------------
    def install(self) -> None:
        """Starts listening."""
        self.notebook.cells.on_end.append(self.cell_ended)
        self.notebook.shell.events.register("pre_run_cell", self._catch_up)
        definitions.on_use = self._used
        engines.on_change.append(self._engine_changed)
        self._engine_changed(engines.driver())
        stale.say = self._say

    def uninstall(self) -> None:
        """Stops listening."""
        with contextlib.suppress(ValueError):  # somebody cleared the shell's events
            self.notebook.shell.events.unregister("pre_run_cell", self._catch_up)
        if self.cell_ended in self.notebook.cells.on_end:
            self.notebook.cells.on_end.remove(self.cell_ended)
        if self._engine_changed in engines.on_change:
            engines.on_change.remove(self._engine_changed)
        if definitions.on_use == self._used:
            definitions.on_use = None
        self.later.catch_up()
        if stale.say == self._say:
            stale.say = None
            stale.known.clear()

    def _engine_changed(self, engine: DriverEngine | None) -> None:
        """Clears the refs of a runtime that ended; the record of how they were made stays."""
        nonce = engine.nonce if engine is not None else 0
        if nonce == self._nonce:
            return
        self.later.catch_up()
        with self._lock:
            self._nonce = nonce
            self.lineage.ended([run.number for run in self.lineage.runs.values() if self._holds_refs(run)])
            self._calls.clear()
            self._notices.clear()
            self._changes += 1

    def _holds_refs(self, run: Run) -> bool:
        """Returns whether names stand for refs that a run has made; if they stand for the values, those stay."""
        named = [name for name in run.outputs if self.lineage.maker_of(name, self._token(name)) is run]
        return any(refs_of(self.space.get(name), 1) for name in named)

    # -- facts ---------------------------------------------------------------------------------
    def submitted(
        self, kind: str, code: CellCode, names: Iterable[str], outputs: Sequence[str], tasks: Iterable[int],
        recipe: object,
    ) -> Run:  # fmt: skip
        """Records that a cell was submitted; called before its outputs are bound.

        Args:
            kind: `CELL` or `LINE`.
            code: what is known of its code.
            names: that it reads.
            outputs: names that it will bind.
            tasks: ids of its tasks, and of stored values among its outputs.
            recipe: what it takes to submit it again.
        """
        cell, again, direct = self.notebook.cells.running(), self.running_again, tuple(names)
        run = Run(0, cell.scope if cell is not None else 0, kind, "", "", outputs=tuple(outputs),
                  tasks=tuple(dict.fromkeys(tasks)), recipe=recipe)  # fmt: skip
        before = {name: self.space.get(name, ABSENT) for name in outputs}
        at = replace(cell) if cell is not None else None  # as it is now: it forgets its text when it ends
        self.later.add(lambda: self._record(run, at, again, code, direct, before))
        if cell is None or again is not None or not cell.source.startswith("%%remote"):
            self.later.catch_up()  # what comes after it in the cell may change what it has read
        return run

    def _record(self, run: Run, cell: Cell | None, again: Run | None, code: CellCode, names: Sequence[str],
                before: Mapping[str, object]) -> None:  # fmt: skip
        """Reads what a run took.

        Args:
            again: the run that it is a repetition of.
            before: its outputs → what these names were.
        """
        direct = [name for name in dict.fromkeys(names) if name not in NOTEBOOK_NAMES]
        if code.compiled is not None:
            direct += self.reader.mentioned(code.compiled)
        self.reader.before = dict(before)
        try:
            taken = take(self.reader, self.lineage, direct, self.run_of)
            run.came_from = {name: self._births.of(name, run.scope, before.get(name)) for name in taken.reads}
        finally:
            self.reader.before = {}
        run.direct, run.reads, run.upstream = tuple(direct), taken.reads, taken.upstream
        run.line, run.cell = first_line(code.source), _identity(cell, run.kind, code.source)
        if again is not None:
            run.cell, run.recipe = again.cell, again.recipe
        self._changes += 1
        self.lineage.record(run, taken.kinds)

    def add(self, cell: Cell, kind: str, source: str, direct: tuple[str, ...], outputs: Sequence[str],
            tasks: Iterable[int], taken: Taken) -> Run:  # fmt: skip
        """Adds a run that took what was read."""
        came_from = {name: self._births.of(name, cell.scope) for name in taken.reads}
        self._changes += 1
        run = Run(
            0, cell.scope, kind, _identity(cell, kind, source), first_line(source), direct, taken.reads, came_from,
            taken.upstream, tuple(outputs), tuple(dict.fromkeys(tasks)),
        )  # fmt: skip
        return self.lineage.record(run, taken.kinds)

    def bound(self, run: Run, values: Mapping[str, object]) -> None:
        """Records that the notebook has a run's outputs under their names now."""
        held = dict(values)
        self.later.add(lambda: self.lineage.bound(run, {name: self.reader.of(held[name])[0] for name in held}))
        if run.number:  # the run itself is recorded already
            self.later.catch_up()

    def left(self, run: Run, name: str) -> None:
        """Records that a name has its earlier value again, because the run did not bind it."""
        self.later.catch_up()
        with self._lock:
            self.lineage.left(run, name)

    def swapped(self, before: Mapping[str, object], gotten: bool) -> None:
        """Records that names are bound to the values of their refs now, or to the refs again.

        Args:
            before: name → what it was.
            gotten: they stand for values now.
        """
        self.later.catch_up()
        with self._lock:
            for name, held in before.items():
                old, new = self.reader.of(held)[0], self.reader.token(name)[0]
                self.lineage.swapped(name, old, new, new if gotten else old)

    def cell_ended(self, cell: Cell, result: object) -> None:
        """Records what the cell has changed, and the calls that it has made."""
        if cell.is_callback:
            return
        at = replace(cell)
        self.later.add(lambda: self._ended(at))
        # A cell that ran inside another one, or that nobody watches after its end, is recorded at once.
        if cell.batch or self.notebook.cells.running() is not None or not self.later.when_idle(self._catch_up):
            self._catch_up()

    def _ended(self, cell: Cell) -> None:
        self.reader.modules.next_look()
        self._calls.cell_ended(cell)
        self._observe(cell.scope, self._births.record(cell.scope))
        self._forget()
        self._changed = self._publish() or self._changed

    def _catch_up(self, info: object = None) -> None:
        """Records what is left to be recorded, and calls the listeners; on the thread that runs cells."""
        self.later.catch_up()
        if self._changed:
            self._changed = False
            self._call_listeners(True)

    def refresh(self) -> None:
        """Records what the running cell has changed so far."""
        self.later.catch_up()
        with self._lock:
            scope = self.notebook.scope
            self.reader.modules.next_look()
            self._observe(scope, self._births.so_far())
            changed = self._publish()
        self._call_listeners(changed)

    def _call_listeners(self, changed: bool) -> None:
        """Calls the listeners, without the lock: they may ask the record."""
        for function in list(self.on_change) if changed else ():
            function()

    def _observe(self, scope: int, changed: set[str]) -> None:
        found = {}
        for name in list(self.lineage.now):
            value = self.space.get(name)
            if name in changed or not issubclass(type(value), _FIXED) or " " in name:
                found[name] = self.reader.token(name)[0], kind_in(self.space, name)
        self.lineage.observe(found, scope)

    def _used(self, key: str, made: object) -> None:
        """Records that a definition is used for the first time in a cell (`definitions.on_use`)."""
        if str(getattr(made, "__module__", "")).startswith("raynb."):
            return
        self.later.catch_up()
        with self._lock:
            try:
                self._calls.used(key, made)
            except Exception as error:  # a call must not fail because of the record
                trace.swallowed("a call could not be recorded", error)

    def changes(self) -> int:
        """Returns a number that grows with what is recorded, and with what is stale; 0: nothing is recorded."""
        return self._changes if self.lineage.runs else 0

    # -- questions -----------------------------------------------------------------------------
    def why(self, task: int) -> str:
        """Returns why what a task has made is stale, as a sentence without its full stop; empty: it is not."""
        self.later.catch_up()
        with self._lock:
            run = self.lineage.run_of(task)
            return self.why_run(run) if run is not None else ""

    def why_run(self, run: Run) -> str:
        """Returns why a run is stale; empty: it is not."""
        with self._lock:
            reason = self.lineage.reason(run)
            if reason is not None and self._calls.read_sources():
                reason = self.lineage.reason(run)
            return sentence(reason, cell_name) if reason is not None else ""

    def shown(self) -> list[Run]:
        """Returns the runs that people see: of each cell the latest whose results somebody can still name."""
        self.later.catch_up()
        with self._lock:
            self._calls.read_sources()
            latest = {run.number for run in self.lineage.latest().values()}
            return [run for run in self.lineage.runs.values() if run.number in latest and self._is_named(run)]

    def state(self, run: Run) -> str:
        """Returns whether a run is `RUNNING`, `FAILED_RUN`, `STALE` or `FRESH`."""
        engine = engines.driver()
        states: set[str] = set()
        if engine is not None:
            states = {row.state for row in engine.rows(tasks=run.tasks[:MAX_TASKS]).tasks}
        if states - TASK_ENDED:
            return RUNNING
        if states & {FAILED, CANCELLED}:
            return FAILED_RUN
        return STALE if self.why_run(run) else FRESH

    # -- inside --------------------------------------------------------------------------------
    def run_of(self, ref: ObjectRef[object]) -> Run | None:
        """Returns the run that made a ref."""
        return self.lineage.run_of(task_of(ref._id)) if ref._engine.nonce == self._nonce else None

    def _is_named(self, run: Run) -> bool:
        """Returns whether a run's names are still its own, or an object of it is still there."""
        if run.kind == CELL and not run.outputs:
            return True
        if any(self.lineage.maker_of(name, self._token(name)) is run for name in run.outputs):
            return True
        engine = engines.driver()
        if engine is None:
            return False
        several = range(len(run.outputs) + 3)  # a put value, the status, the outputs, the value
        objects = [object_id(task, index) for task in run.tasks[:MAX_OBJECTS] for index in several]
        return any(row.local_refs or row.pending_args for row in engine.rows(objects=objects).objects)

    def _token(self, name: str) -> str:
        seen = self.lineage.now.get(name)
        return seen.token if seen is not None else self.reader.token(name)[0]

    def _forget(self) -> None:
        if len(self.lineage.runs) < 2 * self._kept_at + 32:
            return
        latest = {run.number for run in self.lineage.latest().values()}
        alive = [
            run.number for run in self.lineage.runs.values()
            if self._is_named(run) and (run.number in latest or run.outputs)
        ]  # fmt: skip
        self.lineage.keep(alive)
        self._kept_at = len(self.lineage.runs)
        self._notices.forget()

    def _publish(self) -> bool:
        changed = self._notices.publish(self._nonce)
        self._changes += changed
        return changed

    def _say(self, text: str) -> None:
        """Warns that a stale result is waited for (`stale.say`)."""
        with self._lock:
            self._notices.said(text)
        self.notebook.router.show_text(self.notebook.scope, "stderr", f"{text}\n")


def cell_id(cell: Cell | None) -> str:
    """Returns the front end's id of a cell; empty where it gives none."""
    return str((((cell.parent if cell is not None else None) or {}).get("metadata") or {}).get("cellId") or "")


def _identity(cell: Cell | None, kind: str, source: str) -> str:
    """Returns what stays the same when a cell is executed again: the front end's id, else its text."""
    identity = cell_id(cell)
    if not identity:
        text = cell.source if cell is not None else source
        identity = hashlib.sha1(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{identity} {kind}" if kind == CELL else f"{identity} {kind} {source}"


def first_line(source: str) -> str:
    """Returns the first line of code of a cell, without comments and blank lines."""
    at = 0
    while at < len(source):
        end = source.find("\n", at)
        line = source[at : end if end >= 0 else len(source)].strip()
        if line and not line.startswith("#"):
            return line[:200]
        at = end + 1 if end >= 0 else len(source)
    return ""


def _ref_token(ref: ObjectRef[object]) -> str:
    """Returns the token of a ref: the run that is kept of it, or the object itself."""
    try:
        return origins.of(ref)
    except Unsure:
        return f"{ref._engine.nonce:x} {ref._id:x}"
