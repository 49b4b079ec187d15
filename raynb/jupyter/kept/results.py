"""``--keep``: looks a cell's results up before submission, shows what was kept, keeps new results."""

from __future__ import annotations

import atexit
import html
import os
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from raynb import api
from raynb.base import engine as engines
from raynb.base.process import surroundings, trace
from raynb.base.ref import ObjectRef
from raynb.base.rows import END_OF_TASK, Output
from raynb.exceptions import RayError
from raynb.jupyter.cells.kernel_state import display_options
from raynb.jupyter.cells.submission import ParsedCell, SubmittedCell, has_failed
from raynb.jupyter.kept import keys
from raynb.jupyter.kept.formatting import kept_from, where
from raynb.jupyter.on_worker.results import VALUE
from raynb.jupyter.on_worker.runner import CellJob
from raynb.keeping import origins, session
from raynb.keeping.box import Box, Entry
from raynb.keeping.digest import digest
from raynb.keeping.folder import FolderError
from raynb.keeping.generations import facts_around, options_for
from raynb.keeping.keeper import Keeper, PendingKeep, put_kept, replayed, task_id
from raynb.keeping.place import is_url
from raynb.keeping.shared import open_box
from raynb.keeping.versions import Unsure, watching

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds that a shutdown waits for results that are being written.
FLUSH_SECONDS = 5.0
#: An array from this size on is digested only where something is kept.
LARGE_BYTES = 64 << 20


@dataclass(slots=True)
class KeepPlan:
    """A cell's kept results, as they are known before it is submitted.

    Attributes:
        keys: of the cell, or of each item.
        found: those that are kept already.
        title, line: what people see of the cell.
        names: of its outputs, the value's last.
        files: whose bytes are in the keys, see `raynb.keeping.versions.watching`.
        options: with which its tasks run.
    """

    keys: list[str]
    found: dict[str, Entry]
    title: str
    line: str
    names: list[str] = field(default_factory=list)
    has_value: bool = False
    files: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def missing(self) -> list[int]:
        """Returns the places of the items that must run."""
        return [place for place, key in enumerate(self.keys) if key not in self.found]


class Kept:
    """The kept results of one notebook.

    Thread contract: `plan`, `take` and `later` are called by the thread that runs cells.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._box: Box | None = None
        self._keeper: Keeper | None = None
        self._said: set[str] = set()
        #: (the runtime's nonce, what stands for a cell that its workers have run)
        self._prepared: list[tuple[int, str]] = []
        self._folder = surroundings.folder()
        session.provider, session.follows = self.keeper, self._follows
        engines.before_stop.append(self._finish)

    # -- the folder ----------------------------------------------------------------------------
    def box(self) -> Box:
        """Returns the notebook's folder of kept results, opened when it is first needed.

        Raises:
            UsageError: it can't be used; the text says why and what to do.
        """
        path = self._path()
        if self._box is None or self._box.where != path or not self._box.is_there():
            self.close()
            try:
                self._box = open_box(path, lambda: self.notebook.config.keep_limit, self._show)
            except (FolderError, OSError) as error:
                raise UsageError(f"--keep: {error}") from None
            self._box.notebook = self.session()
            self._keeper = Keeper(self._box)
            atexit.unregister(self.close)
            atexit.register(self.close)  # before the runtime's own end, which was registered earlier
        return self._box

    def _path(self) -> str:
        configured = self.notebook.config.keep_directory or os.environ.get(session.DIRECTORY, "")
        return where(configured, self.session(), self._folder)

    @staticmethod
    def session() -> str:
        """Returns the notebook's path as Jupyter gives it to the kernel; empty: unknown."""
        return os.environ.get("JPY_SESSION_NAME", "")

    def keeper(self) -> Keeper:
        """Returns what writes into `box`."""
        self.box()
        assert self._keeper is not None, "it comes with the box"
        return self._keeper

    def exists(self) -> bool:
        """Returns whether something was ever kept beside this notebook."""
        path = self._path()
        return self._box is not None or is_url(path) or os.path.isdir(path)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Waits until what has ended is written; returns whether it is."""
        return self._keeper is None or self._keeper.flush(seconds)

    def _finish(self) -> None:
        """Waits for what is being written: after the runtime's end it could not be read any more."""
        if not self.flush(FLUSH_SECONDS):
            self._show(f"Some results are not kept: they were not written within {FLUSH_SECONDS:.0f} s.")

    def uninstall(self) -> None:
        """Stops keeping, when the extension is unloaded."""
        atexit.unregister(self.close)
        if session.provider == self.keeper:
            session.provider = session.follows = None
        if self._finish in engines.before_stop:
            engines.before_stop.remove(self._finish)
        self.close()

    def close(self) -> None:
        """Writes what has ended, and closes the folder."""
        self.flush()
        if self._box is not None:
            self._box.close()
        self._box = self._keeper = None

    # -- before a cell -------------------------------------------------------------------------
    def plan(
        self, reading: ParsedCell, job: CellJob, options: dict[str, Any], namespace: Mapping[str, object],
        reads: Sequence[str], skip: Sequence[str], items: Sequence[object] | None, fresh: bool,
    ) -> KeepPlan | None:  # fmt: skip
        """Returns the cell's keys and what is kept of them; None: nothing can be kept, which is said.

        Args:
            fresh: what is kept is not looked at.

        Raises:
            UsageError: the folder or a file of ``--reads`` can't be used.
        """
        box = self.box()
        around = self._around()
        try:
            with watching() as sources:
                files = keys.file_tokens(reads, box.content) if reads else []
                read = _read(reading, job, namespace)
                around += facts_around(engines.current(), options)
                around += session.folder_facts(engines.current(), self._follows())
                cell = keys.key_of_cell(job, reading.code, options, read, skip, files, ref_key, around)
                wanted = [cell] if items is None else [keys.key_of_item(cell, item, ref_key) for item in items]
            running = options_for(engines.current(), sources, options, self._follows())
            found = {} if fresh else box.lookup(list(dict.fromkeys(wanted)))
        except Unsure as why:
            self._not_kept(job.title, str(why))
            return None
        except OSError as error:
            self._not_kept(job.title, str(error))
            return None
        line = next((text.strip() for text in reading.code.source.splitlines() if text.strip()), "")
        outputs = [*job.outputs, *([VALUE] if job.value else [])]
        return KeepPlan(wanted, found, job.title, line[:200], outputs, job.value, sources, running)

    def prepares(self, source: str, flags: int, names: Mapping[str, object]) -> None:
        """Records a cell of ``%%everywhere``: what it leaves on the workers may go into results of later cells.

        Args:
            flags: of the compiler.
            names: what it takes along.
        """
        token = secrets.token_hex(16)  # nobody can tell whether another kernel prepares its workers so, too
        large = any(getattr(value, "nbytes", 0) > LARGE_BYTES for value in names.values())
        if not large or self.exists() or self.notebook.config.keep:
            try:
                token = keys.key_of_code(source, flags, names)
            except Unsure:
                pass
            except Exception as error:  # a value that another thread changes: the cell itself runs on
                trace.swallowed("identifying a cell of %%everywhere", error)
        engine = engines.driver()
        self._prepared.append((0 if engine is None else engine.nonce, token))

    def _follows(self) -> Collection[str]:
        """Returns what workers take over as it is now."""
        followed: list[str] = self.notebook.config.follow
        return followed

    def _around(self) -> list[str]:
        """Returns what else a result depends on: prepared workers, and options that follow to them."""
        engine = engines.driver()
        nonce = 0 if engine is None else engine.nonce
        self._prepared = [(prepared, token) for prepared, token in self._prepared if prepared == nonce]
        found = [token for _, token in self._prepared]
        if "display" in self.notebook.config.follow:
            for name, value in sorted(display_options().items()):
                try:
                    found.append(f"{name}={digest(value)}")
                except Unsure:
                    found.append(f"{name}={value!r}")
        return found

    # -- what is kept --------------------------------------------------------------------------
    def take(self, plan: KeepPlan, place: int) -> dict[str, ObjectRef[object]]:
        """Returns ready refs of what is kept of a cell, or of the item at a place."""
        entry = plan.found[plan.keys[place]]
        box = self.box()
        refs = {name: put_kept(box, stored) for name, stored in entry.values.items()}
        run, _ = replayed(entry)
        origins.record(refs.items(), entry.key, run)
        return refs

    def merged(self, plan: KeepPlan, done: SubmittedCell, places: Sequence[int], many: bool) -> SubmittedCell:
        """Returns a cell's tasks and outputs with those that are kept in their places; the rest will be kept.

        Args:
            done: what was submitted.
            places: of the items that it is of.
            many: a loop.
        """
        if places:
            self.later(plan, done, places, many)
        hits = [place for place in range(len(plan.keys)) if place not in set(places)]
        if not hits:
            return done
        taken = {place: self.take(plan, place) for place in hits}
        self.show(plan)
        columns: dict[str, Any] = dict(done.outputs)
        if done.value is not None:
            columns[VALUE] = done.value
        made = {place: number for number, place in enumerate(places)}
        merged: dict[str, Any] = {}
        for name in plan.names:
            everywhere = range(len(plan.keys))
            column = [taken[at][name] if at in taken else columns[name][made[at]] for at in everywhere]
            merged[name] = column if many else column[0]
        value = merged.pop(plan.names[-1]) if plan.names and plan.has_value else None
        return SubmittedCell(done.status, merged, value, done.items, done.returns)

    def show(self, plan: KeepPlan) -> None:
        """Shows what kept cells and items printed and displayed, and since when they are kept."""
        notebook, scope = self.notebook, self.notebook.scope
        entries = [plan.found[key] for key in dict.fromkeys(plan.keys) if key in plan.found]
        for entry in entries:
            for kind, text, bundle in replayed(entry)[1]:
                notebook.router.receive(Output(kind, 0, scope, 0, 0, plan.title, text=text, bundle=bundle))
            for stream in ("stdout", "stderr"):
                notebook.router.receive(Output(END_OF_TASK, 0, scope, 0, 0, plan.title, text=stream))
        notebook.router.drain()
        hits = sum(key in plan.found for key in plan.keys)
        text = kept_from(entries, hits, len(plan.keys))
        style = "opacity:.6;font:12px/1.6 system-ui,sans-serif"
        markup = f'<div class="raynb-kept" style="{style}">{html.escape(text)}</div>'
        bundle = {"data": {"text/plain": text, "text/html": markup}, "metadata": {}, "transient": {}}
        notebook.router.show_rich(scope, "display", bundle)

    # -- after it ------------------------------------------------------------------------------
    def later(self, plan: KeepPlan, done: SubmittedCell, places: Sequence[int], many: bool) -> None:
        """Keeps what was submitted, when its tasks have ended.

        Args:
            places: of the items that were submitted, in the order of the outputs.
        """
        keeper = self.keeper()
        columns: dict[str, Any] = dict(done.outputs)
        if done.value is not None:
            columns[VALUE] = done.value
        first, title = 0, plan.title
        for status, count in zip(list(done.status), done.items, strict=True):
            pending = []
            for number in range(first, first + count):
                key, run = plan.keys[places[number]], origins.new_run()
                refs = {name: column[number] if many else column for name, column in columns.items()}
                origins.record(refs.items(), key, run)
                say = lambda why: self._not_kept(title, why)  # noqa: E731
                task, alone = task_id(status), count == 1
                pending.append(PendingKeep(key, run, title, plan.line, refs, task, alone, say, plan.files))
            first += count
            keeper.when_done(status, pending, whole=not many)

    # -- saying --------------------------------------------------------------------------------
    def _not_kept(self, title: str, why: str) -> None:
        if (text := f"{title} is not kept: {why}.") not in self._said:
            self._said.add(text)
            self._show(text)

    def _show(self, text: str) -> None:
        self.notebook.router.show_text(self.notebook.scope, "stdout", f"{text}\n")

    def ages(self) -> tuple[list[Entry], float]:
        """Returns (all that is kept, the time now)."""
        self.flush(1.0)
        return self.box().entries(), time.time()


def _read(reading: ParsedCell, job: CellJob, namespace: Mapping[str, object]) -> dict[str, Any]:
    """Returns the values of the notebook that the cell reads, without a failed ref that it binds itself."""
    names = dict.fromkeys([*reading.code.free, *sorted(job.unsure)])
    return {
        name: namespace[name] for name in names
        if name in namespace and (name in reading.code.needed or not has_failed(namespace[name]))
    }  # fmt: skip


def ref_key(ref: ObjectRef[object]) -> str:
    """Returns what stands for a ref in a key: the run that made it, else the content, if it is there already.

    Raises:
        Unsure: it is still being made by what isn't kept, it has failed, or its value has no identity.
    """
    try:
        return origins.of(ref)
    except Unsure:
        pass
    ready, _ = api.wait([ref], timeout=0, fetch_local=False)
    if not ready:
        raise Unsure("it is still being made, by something that is not kept (keep that too, or wait for it)")
    try:
        found = str(api.get(_remote_digest().remote(ref)))
    except RayError as error:
        raise Unsure(f"its value has no digest ({str(error).splitlines()[-1]})") from None
    origins.record([("", ref)], "content", found)
    return origins.of(ref)


_made: list[Any] = []


def _remote_digest() -> Any:
    if not _made:
        _made.append(api.remote(num_cpus=0, name="digest")(digest))
    return _made[0]

