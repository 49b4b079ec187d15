"""``%debug`` after an error of a task: pdb in the frame that failed, on its worker."""

from __future__ import annotations

import concurrent.futures
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from raynb.api.everywhere import run_on_workers
from raynb.api.terminal.breakpoints import Answer, converse
from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.interfaces import DriverEngine, Inspection
from raynb.exceptions import ActorDiedError, RayError, RayTaskError, RuntimeGoneError
from raynb.jupyter.inspection.prompt import reader, sources_of
from raynb.jupyter.on_worker.failures import keep_failures
from raynb.jupyter.output.registry import Cell

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds that a worker may take to find the frames.
ANSWER_SECONDS = 10.0
HEARD_SECONDS = 3.0
MAX_NESTED = 100  # tasks of a failure that went through their callers


class PostMortems:
    """Keeps failed frames on the workers, and enters them.

    Thread contract: the main thread, but for `engine_changed`.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._scopes: dict[str, int] = {}  # id of a cell of the document → its last run
        self._debug: Callable[[str], Any] | None = None

    def install(self) -> None:
        """Replaces ``%debug``, and listens for cells and runtimes."""
        shell = self.notebook.shell
        found: Any = shell.find_line_magic("debug")
        # Newer IPythons leave a stand-in that looks the name up again, and would find ours.
        self._debug = found._resolve() if hasattr(found, "_resolve") else found
        shell.register_magic_function(self.debug, "line", "debug")
        shell.events.register("pre_run_cell", self._cell_begins)
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
        error = getattr(sys, "last_value", None)
        if isinstance(error, ActorDiedError) and error.__cause__ is not None:  # what its constructor raised
            error = error.__cause__
        if line.strip() or not isinstance(error, RayTaskError) or not self._enter(error):
            return self._debug(line) if self._debug is not None else None
        return None

    def _enter(self, error: RayTaskError) -> bool:
        """Opens the failed frames; returns False when no worker has them, so that IPython's own debugger is used."""
        engine = engines.driver()
        inspection = engine.inspection if engine is not None else None
        if engine is None or inspection is None:
            return False
        try:
            found = self._session(engine, inspection, (error.task_id, error.pid))
        except (concurrent.futures.TimeoutError, RayError):
            found = None  # it has just ended, or, on a cluster, was idle for so long that it hears no questions
        if found is not None:
            while found is not None:
                found = self._talk(engine, inspection, *found)
            return True
        print(
            "The frames of this failure are not kept any more on a worker: it has ended (an actor's does when its "
            "constructor fails), the cell ran again, or Raynb.post_mortem is 0. Run the cell again and then %debug, or "
            "put breakpoint() there; here are the notebook's own frames."
        )
        return False

    def _session(
        self, engine: DriverEngine, inspection: Inspection, at: tuple[str, int] | None
    ) -> tuple[int, int] | None:
        """Returns (worker, session) of the innermost frames that are kept of a failure, of (task in hex, pid)."""
        chain: list[tuple[int, int]] = []  # (task, worker), the nested ones last
        while at is not None and at[0] and len(chain) < MAX_NESTED:
            task, worker = ids.from_hex(at[0])[1], _worker_of(engine, at[1])
            if worker is None:
                break
            chain.append((task, worker))
            at = inspection.ask(worker, "origin", task).result(ANSWER_SECONDS)
        sources = sources_of(self.notebook.shell)
        for task, worker in reversed(chain):
            session = inspection.ask(worker, "post_mortem", task, sources).result(ANSWER_SECONDS)
            if session is not None:
                return worker, session
        return None

    def _talk(
        self, engine: DriverEngine, inspection: Inspection, worker: int, session: int
    ) -> tuple[int, int] | None:
        """Converses with a debugger; returns (worker, session) of another task's failure that the person chose."""
        chosen: list[tuple[int, int]] = []

        def ask(command: str, payload: object) -> Answer:
            answer: Answer = inspection.ask(worker, "debug", session, command, payload).result()
            return answer

        def say(prompt: str, line: str) -> Answer | None:
            answer = ask("line", line)
            if answer[1] is not None and re.fullmatch(r"\s*exceptions\s+\d+\s*", line):
                chosen.extend(self._chosen(engine, inspection, worker, session))
            return None if chosen else answer

        print(f"On worker {worker}. h: help, q: leave.")
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
        try:
            origin = inspection.ask(worker, "chosen", session).result(ANSWER_SECONDS)
            found = self._session(engine, inspection, origin)
        except (concurrent.futures.TimeoutError, RayError):  # that worker has ended: its caller's frames are shown
            found = None
        if found is not None:
            yield found


def _worker_of(engine: DriverEngine, pid: int) -> int | None:
    """Returns the worker that is a process; a cluster's first word of it may still be on its way."""
    end = time.monotonic() + (HEARD_SECONDS if engine.cluster_info is not None else 0.0)
    while True:
        found = next((row.id for row in engine.snapshot().workers if row.pid == pid and not row.exit), None)
        if found is not None or time.monotonic() >= end:
            return found
        time.sleep(0.05)
