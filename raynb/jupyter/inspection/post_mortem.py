"""``%debug`` after an error of a task: pdb in the frame that failed, on its worker."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from raynb.api.everywhere import run_on_workers
from raynb.api.terminal.breakpoints import Answer, converse
from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.interfaces import DriverEngine, Inspection
from raynb.base.interrupts import RESUME_SECONDS
from raynb.exceptions import ActorDiedError, RayError, RayTaskError, RuntimeGoneError
from raynb.jupyter.inspection.prompt import reader, sources_of
from raynb.jupyter.on_worker.failures import keep_failures
from raynb.jupyter.output.registry import Cell, cell_name

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds that a worker may take to find the frames.
ANSWER_SECONDS = 10.0
HEARD_SECONDS = 3.0
MAX_NESTED = 100  # tasks of a failure that went through their callers
HELP = "h: help, q: leave."
GONE = (
    "The frames of this failure are not kept any more on a worker: it has ended, the cell ran again, or more of its "
    "tasks failed there than Raynb.post_mortem. Run the cell again and then %debug, or put breakpoint() there"
)
NOT_MADE = (
    "The frames of this failure are gone: an actor's process ends when its constructor fails, as in Ray. Put "
    "breakpoint() into the constructor and run the cell again"
)


class _Shown(NamedTuple):
    """A failure that a cell shows, and that nothing has raised in the notebook."""

    scope: int
    failure: str  # see `raynb.worker.inspection.failures.origin_of`
    pid: int
    gone: str  # what to say if its frames are not kept


class PostMortems:
    """Keeps failed frames on the workers, and enters them.

    Thread contract: the main thread, but for `_failed`: any.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._scopes: dict[str, int] = {}  # id of a cell of the document → its last run
        self._shown: _Shown | None = None  # later than the last error that a cell has raised
        self._debug: Callable[[str], Any] | None = None

    def install(self) -> None:
        """Replaces ``%debug``, and listens for cells and runtimes."""
        shell = self.notebook.shell
        found: Any = shell.find_line_magic("debug")
        # Newer IPythons leave a stand-in that looks the name up again, and would find ours.
        self._debug = found._resolve() if hasattr(found, "_resolve") else found
        shell.register_magic_function(self.debug, "line", "debug")
        shell.events.register("pre_run_cell", self._cell_begins)
        self.notebook.cells.on_end.append(self._cell_ended)
        self.notebook.on_failure.append(self._failed)
        self.notebook.config.observe(self._changed, "post_mortem")

    def uninstall(self) -> None:
        """Restores IPython's ``%debug``, and stops listening."""
        shell = self.notebook.shell
        if self._debug is not None:
            shell.magics_manager.magics["line"]["debug"] = self._debug
        try:
            shell.events.unregister("pre_run_cell", self._cell_begins)
        except ValueError:  # somebody cleared the shell's events
            pass
        if self._cell_ended in self.notebook.cells.on_end:
            self.notebook.cells.on_end.remove(self._cell_ended)
        if self._failed in self.notebook.on_failure:
            self.notebook.on_failure.remove(self._failed)
        self.notebook.config.unobserve(self._changed, "post_mortem")

    def _changed(self, change: Any) -> None:
        from raynb import api

        engine = engines.driver()
        if engine is not None:
            try:
                run_on_workers(api.remote(keep_failures), change["new"], engine=engine)
            except (RuntimeGoneError, NotImplementedError):
                return  # a runtime that ends has no failures to keep
            if not change["new"]:
                self.forget(None)
            if engine.inspection is not None:
                engine.inspection.may_keep = bool(change["new"])

    def _cell_begins(self, info: object) -> None:
        """Releases the frames of a cell's last run when the cell runs again."""
        identity = getattr(info, "cell_id", None)
        cell: Cell | None = self.notebook.cells.running()
        if identity is None or cell is None:
            return
        before = self._scopes.get(identity)
        self._scopes[identity] = cell.scope
        if before is not None:
            self.forget(before)
            if self._shown is not None and self._shown.scope == before:
                self._shown = None

    def _cell_ended(self, cell: Cell, result: object) -> None:
        """An error that a cell raises is later than those that were shown."""
        if getattr(result, "error_in_exec", None) is not None or getattr(result, "error_before_exec", None) is not None:
            self._shown = None

    def _failed(self, scope: int, error: BaseException) -> None:
        """Remembers a failure that a cell shows of a task that it has not waited for."""
        raised = _of_constructor(error)
        if isinstance(raised, RayTaskError) and _can_ask():
            self._shown = _Shown(scope, raised.task_id, raised.pid, _why_gone(error))

    @staticmethod
    def forget(scope: int | None) -> None:
        """Releases failed frames on every worker that has some."""
        engine = engines.driver()
        inspection = engine.inspection if engine is not None and engine.alive else None
        if inspection is not None and inspection.may_keep:
            for worker in inspection.workers():
                inspection.ask(worker, "forget", scope)

    # -- %debug --------------------------------------------------------------------------------
    def debug(self, line: str) -> Any:
        """IPython's ``%debug``; after an error of a task, in the frame of the worker that failed."""
        shown = self._shown
        if shown is not None and not line.strip():
            if not self._enter((shown.failure, shown.pid), f"The failure of {cell_name(shown.scope)}, on"):
                print(f"{shown.gone}.")
            return None
        raised = getattr(sys, "last_value", None)
        error = _of_constructor(raised)
        if isinstance(error, RayTaskError) and not line.strip() and _can_ask():
            if self._enter((error.task_id, error.pid), "On"):
                return None
            print(f"{_why_gone(raised)}; here are the notebook's own frames.")
        return self._debug(line) if self._debug is not None else None

    def _enter(self, failure: tuple[str, int], where: str) -> bool:
        """Opens the failed frames; returns False when no worker has them."""
        engine = engines.driver()
        inspection = engine.inspection if engine is not None else None
        if engine is None or inspection is None:
            return False
        found = self._session(engine, inspection, failure)
        if found is None:
            return False
        try:
            while found is not None:
                print(f"{where} worker {found[0]}. {HELP}")
                found, where = self._talk(engine, inspection, *found), "On"
        except RayError as gone:  # the worker has ended meanwhile, or the runtime
            print(gone)
        return True

    def _session(
        self, engine: DriverEngine, inspection: Inspection, at: tuple[str, int] | None
    ) -> tuple[int, int] | None:
        """Returns (worker, session) of the innermost frames that are kept of a failure, of (failure, pid).

        A worker that has just ended, or, on a cluster, was idle for so long that it hears no questions, is passed over.
        """
        chain: list[tuple[int, int, int]] = []  # (task, which of its failures, worker), the nested ones last
        while at is not None and at[0] and len(chain) < MAX_NESTED:
            task, _, which = at[0].partition(":")
            worker = _worker_of(engine, at[1])
            if worker is None:
                break
            chain.append((ids.from_hex(task)[1], int(which or 0), worker))
            try:
                at = inspection.ask(worker, "origin", *chain[-1][:2]).result(ANSWER_SECONDS)
            except (concurrent.futures.TimeoutError, RayError):
                chain.pop()
                break
        sources = sources_of(self.notebook.shell)
        for number, part, worker in reversed(chain):
            with contextlib.suppress(concurrent.futures.TimeoutError, RayError):
                session = inspection.ask(worker, "post_mortem", number, sources, part).result(ANSWER_SECONDS)
                if session is not None:
                    return worker, session
        return None

    def _talk(
        self, engine: DriverEngine, inspection: Inspection, worker: int, session: int
    ) -> tuple[int, int] | None:
        """Converses with a debugger; returns (worker, session) of another task's failure that the person chose."""
        chosen: list[tuple[int, int]] = []

        def ask(command: str, payload: object) -> Answer:
            asked = inspection.ask(worker, "debug", session, command, payload)
            while not asked.done():  # begun anew: a Ctrl-C that came just before a wait is not seen in it
                concurrent.futures.wait([asked], RESUME_SECONDS)
            answer: Answer = asked.result()
            return answer

        def say(prompt: str, line: str) -> Answer | None:
            answer = ask("line", line)
            if answer[1] is not None and re.fullmatch(r"\s*exceptions\s+\d+\s*", line):
                chosen.extend(self._chosen(engine, inspection, worker, session))
            return None if chosen else answer

        interrupted = converse(reader(self.notebook.shell), lambda: ask("open", None), say)
        if interrupted or chosen:
            inspection.ask(worker, "debug", session, "quit", None)
        if interrupted:
            print("\nLeft.")
        return None if interrupted or not chosen else chosen[0]

    def _chosen(
        self, engine: DriverEngine, inspection: Inspection, worker: int, session: int
    ) -> Iterator[tuple[int, int]]:
        """Returns the frames of a cause that another task raised, if they are kept."""
        origin = None
        with contextlib.suppress(concurrent.futures.TimeoutError, RayError):
            origin = inspection.ask(worker, "chosen", session).result(ANSWER_SECONDS)
        found = self._session(engine, inspection, origin)
        if found is not None:  # else that worker has ended: its caller's frames are shown
            yield found


def _of_constructor(error: BaseException | None) -> BaseException | None:
    """Returns what an actor's constructor raised, of the error that its calls raise; else the error itself."""
    return error.__cause__ or error if isinstance(error, ActorDiedError) else error


def _why_gone(error: BaseException | None) -> str:
    """Returns why the frames of a failure are not kept, and what to do."""
    return NOT_MADE if isinstance(error, ActorDiedError) else GONE


def _can_ask() -> bool:
    engine = engines.driver()
    return engine is not None and engine.inspection is not None


def _worker_of(engine: DriverEngine, pid: int) -> int | None:
    """Returns the worker that is a process; a cluster's first word of it may still be on its way."""
    end = time.monotonic() + (HEARD_SECONDS if engine.cluster_info is not None else 0.0)
    while True:
        found = next((row.id for row in engine.snapshot().workers if row.pid == pid and not row.exit), None)
        if found is not None or time.monotonic() >= end:
            return found
        time.sleep(0.05)
