"""Keeps the record of one notebook's runs: what each cell took and bound, and after each cell what has changed since.

What people see of it is in `raynb.jupyter.lineage.formatting` and `drawing`; running again in `rerun`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynb.api import definitions
from raynb.base import engine as engines
from raynb.base.ids import object_id, task_of
from raynb.base.interfaces import DriverEngine
from raynb.base.process import stale, trace
from raynb.base.ref import ObjectRef
from raynb.base.rows import CANCELLED, FAILED, TASK_ENDED
from raynb.jupyter.cells.inputs import NOTEBOOK_NAMES
from raynb.jupyter.lineage.calls import NotebookCalls
from raynb.jupyter.output.registry import Cell, cell_name
from raynb.keeping import origins
from raynb.keeping.versions import Unsure
from raynb.lineage.births import Births
from raynb.lineage.graph import CELL, NotebookLineage, Run, sentence
from raynb.lineage.reading import Taken, take
from raynb.lineage.tokens import Reader, kind_of, refs_of

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

FRESH, STALE, RUNNING, FAILED_RUN = "fresh", "stale", "running", "failed"

#: Tasks of one run whose states are looked at, and whose objects are.
MAX_TASKS, MAX_OBJECTS = 1_000, 200

_FIXED = (int, float, bool, complex, str, bytes, type(None), ObjectRef)


@dataclass(slots=True, frozen=True)
class Recipe:
    """What it takes to submit a ``%%remote`` cell again: its line, its body, the cell that it was in, and its text."""

    line: str
    body: str
    cell: Cell | None
    text: str


class Record:
    """The runs of a notebook.

    Thread contract: `submitted`, `bound`, `swapped` and `cell_ended` are called by the thread that runs cells; the
    questions from any thread.
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
        self._nonce = 0  # of the runtime whose runs these are
        self._births = Births(self.space)
        self._calls = NotebookCalls(self)
        self._told: set[tuple[int, str]] = set()
        self._kept_at = 0
        self._published: Any = None  # the lineage's verdicts when they were told
        self._verdicts: dict[int, str] = {}
        self._changes = 0

    # -- loading -------------------------------------------------------------------------------
    def install(self) -> None:
        """Starts listening."""
        self.notebook.cells.on_end.append(self.cell_ended)
        definitions.on_use = self._used
        engines.on_change.append(self._engine_changed)
        self._engine_changed(engines.driver())
        stale.say = self._say

    def uninstall(self) -> None:
        """Stops listening."""
        if self.cell_ended in self.notebook.cells.on_end:
            self.notebook.cells.on_end.remove(self.cell_ended)
        if self._engine_changed in engines.on_change:
            engines.on_change.remove(self._engine_changed)
        if definitions.on_use == self._used:
            definitions.on_use = None
        if stale.say == self._say:
            stale.say = None
            stale.known.clear()

    def _engine_changed(self, engine: DriverEngine | None) -> None:
        """Clears the refs of a runtime that ended; the record of how they were made stays."""
        nonce = engine.nonce if engine is not None else 0
        if nonce == self._nonce:
            return
        with self._lock:
            self._nonce = nonce
            self.lineage.ended([run.number for run in self.lineage.runs.values() if self._holds_refs(run)])
            self._calls = NotebookCalls(self)
            self._told.clear()
            self._verdicts = {}
            self._changes += 1
            stale.known.clear()

    def _holds_refs(self, run: Run) -> bool:
        """Returns whether names stand for refs that a run has made; if they stand for the values, those stay."""
        named = [name for name in run.outputs if self.lineage.maker_of(name, self._token(name)) is run]
        return any(refs_of(self.space.get(name), 1) for name in named)

    # -- facts ---------------------------------------------------------------------------------
    def submitted(
        self, kind: str, source: str, names: Iterable[str], outputs: Sequence[str], tasks: Iterable[int], recipe: Any,
    ) -> Run | None:  # fmt: skip
        """Records that a cell was submitted; called before its outputs are bound.

        Args:
            kind: `CELL` or `LINE`.
            source: its code.
            names: that it reads.
            outputs: names that it will bind.
            tasks: ids of its tasks, and of stored values among its outputs.
            recipe: what it takes to submit it again.
        """
        with self._lock:
            try:
                direct = tuple(name for name in dict.fromkeys(names) if name not in NOTEBOOK_NAMES)
                taken = take(self.reader, self.lineage, direct, self.run_of)
                cell = self.notebook.cells.running()
                return self.add(cell, kind, source, direct, outputs, tasks, taken, recipe)
            except Exception as error:  # the record must never fail a cell
                trace.swallowed("a cell could not be recorded", error)
                return None

    def add(self, cell: Cell | None, kind: str, source: str, direct: tuple[str, ...], outputs: Sequence[str],
            tasks: Iterable[int], taken: Taken, recipe: Any) -> Run:  # fmt: skip
        """Adds a run that took what was read."""
        scope = cell.scope if cell is not None else 0
        came_from = {name: self._births.of(name, scope) for name in taken.reads}
        again = self.running_again
        self._changes += 1
        identity = _identity(cell, kind, source)
        if again is not None:
            identity, recipe = again.cell, again.recipe
        run = Run(
            0, scope, kind, identity, first_line(source), direct, taken.reads, came_from,
            taken.upstream, tuple(outputs), tuple(dict.fromkeys(tasks)), recipe,
        )  # fmt: skip
        return self.lineage.record(run, taken.kinds)

    def bound(self, run: Run | None, names: Iterable[str]) -> None:
        """Records that the notebook has a run's outputs under their names now."""
        if run is None:
            return
        with self._lock:
            self.lineage.bound(run, {name: self.reader.token(name)[0] for name in names if name in self.space})

    def left(self, run: Run | None, name: str) -> None:
        """Records that a name has its earlier value again, because the run did not bind it."""
        if run is not None:
            with self._lock:
                self.lineage.left(run, name)

    def swapped(self, before: Mapping[str, Any], gotten: bool) -> None:
        """Notes that names stand for the values of the refs that they were, or the other way round.

        Args:
            before: name → what it was.
            gotten: they stand for values now.
        """
        with self._lock:
            for name, held in before.items():
                old, new = self.reader.of(held)[0], self.reader.token(name)[0]
                self.lineage.swapped(name, old, new, new if gotten else old)

    def cell_ended(self, cell: Cell, result: Any) -> None:
        """Records what the cell has changed, and the calls that it has made."""
        if cell.is_callback:
            return
        changed = False
        with self._lock:
            try:
                self.reader.next_look()
                self._calls.cell_ended(cell)
                self._observe(cell.scope, self._births.record(cell.scope))
                self._forget()
                changed = self._publish()
            except Exception as error:  # the record must never fail a cell
                trace.swallowed("the end of a cell could not be recorded", error)
        self._tell(changed)

    def refresh(self) -> None:
        """Records what the running cell has changed so far."""
        with self._lock:
            scope = self.notebook.scope
            self.reader.next_look()
            self._observe(scope, self._births.so_far())
            changed = self._publish()
        self._tell(changed)

    def _tell(self, changed: bool) -> None:
        """Calls the listeners, without the lock: they may ask the record."""
        for function in list(self.on_change) if changed else ():
            function()

    def _observe(self, scope: int, changed: set[str]) -> None:
        found = {}
        for name in list(self.lineage.now):
            value = self.space.get(name)
            if name in changed or not issubclass(type(value), _FIXED):
                found[name] = self.reader.token(name)[0], kind_of(value)
        self.lineage.observe(found, scope)

    def _used(self, key: str, made: Any) -> None:
        """Records that a definition is used for the first time in a cell (`definitions.on_use`)."""
        if str(getattr(made, "__module__", "")).startswith("raynb."):
            return
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
    def run_of(self, ref: ObjectRef[Any]) -> Run | None:
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
        self._told = {told for told in self._told if told[0] in self.lineage.runs}

    def _publish(self) -> bool:
        """Publishes which results are stale, for waits; returns whether that has changed."""
        reasons = self.lineage.verdicts()
        if reasons is self._published:
            return False
        texts = {number: self.why_run(self.lineage.runs[number]) for number, why in reasons.items() if why is not None}
        verdicts = {number: text for number, text in texts.items() if text}
        self._published = self.lineage.verdicts()
        if verdicts == self._verdicts:
            return False
        self._verdicts = verdicts
        self._changes += 1
        stale.known.clear()
        for number, text in verdicts.items():
            run = self.lineage.runs[number]
            if (number, text) not in self._told:
                names = ", ".join(f"`{name}`" for name in run.outputs) or "The value"
                said = f"{names} of {cell_name(run.scope)} {'are' if len(run.outputs) > 1 else 'is'} stale: {text}."
                stale.known.update({(self._nonce, task): said for task in run.tasks[:MAX_TASKS]})
        return True

    def _say(self, text: str) -> None:
        """Warns that a stale result is waited for (`stale.say`)."""
        with self._lock:
            told = [(number, why) for number, why in self._verdicts.items() if text.endswith(f"stale: {why}.")]
            self._told.update(told)
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


def _ref_token(ref: ObjectRef[Any]) -> str:
    """Returns the token of a ref: the run that is kept of it, or the object itself."""
    try:
        return origins.of(ref)
    except Unsure:
        return f"{ref._engine.nonce:x} {ref._id:x}"
