"""One notebook and its runtime: what the extension keeps while it is loaded.

`Notebook` joins the parts: cells and their scopes, the output router, the runtime that starts in
the background, and what happens when a cell ends or is interrupted. It lives here and not in the
package's top module, because ``%reload_ext`` reloads that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from raynb import api
from raynb.api import session
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as engines
from raynb.base import interrupts
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import TASK_ENDED, Snapshot
from raynb.exceptions import RayError, RayTaskError, RuntimeGoneError
from raynb.jupyter.config import Raynb, forget_bad_settings
from raynb.jupyter.on_worker.display import install
from raynb.jupyter.on_worker.failures import keep_failures
from raynb.jupyter.output import tracebacks
from raynb.jupyter.output.registry import Cell, Cells, cell_name
from raynb.jupyter.output.router import Router
from raynb.jupyter.output.sinks import sink_for

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Tasks of loops whose items are remembered by name.
MAX_ITEMS = 20_000

#: The start of a runtime waits so long for what prepares its workers, which takes a few milliseconds.
PREPARE_SECONDS = 2.0

_loaded: Notebook | None = None


def loaded() -> Notebook | None:
    """Returns the notebook that the extension is loaded in, or None."""
    return _loaded


class Notebook:
    """The extension's state in one shell.

    Args:
        shell: the InteractiveShell.

    Thread contract: `attach`, `detach` and magics run in the thread of the shell; `engine_changed`
    and callbacks of futures may come from any thread and don't block.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        forget_bad_settings(shell)
        self.config = Raynb(parent=shell)
        self.cells = Cells(shell)
        self.sink = sink_for(shell)
        self.router = Router(self.cells, self.sink, lambda: self.config.output_lines)
        self.renderer = tracebacks.Renderer(shell)
        self.starting: threading.Thread | None = None
        self.unasked: DriverEngine | None = None  # the runtime that runs because the extension was loaded
        #: Called when a cell that nobody watches has ended and its tasks have too.
        self.at_rest: list[Callable[[], None]] = []
        self.start_error: BaseException | None = None
        # name → handle, of those that ``%%actor`` made; weak, so that a dropped handle ends its actor
        self.actors: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self.surroundings: Any = None  # what of the kernel follows to the tasks
        self.cards: Any = None  # the cards that were shown
        self.waits: Any = None  # the watch over the main thread's waits
        self.on_failure: list[Callable[[int, BaseException], None]] = []  # called with what a cell shows later
        self.breakpoints: Any = None  # the tasks that wait for somebody who debugs them
        self.profiles: Any = None  # of the cells that asked for one
        self.serialisation_log: Any = None  # what the kernel spent on each cell
        self.kept: Any = None  # results of cells that outlive the kernel
        self.lineage: Any = None  # what each cell was made of
        self.again: list[Any] | None = None  # what `%raynb rerun` has submitted so far, while it submits
        self._progress = "kernel"
        self.items: dict[int, str] = {}  # task of a loop → what its items are called
        self.on_names: list[Callable[[], None]] = []  # called when items have got their names
        self._owed: list[Any] = []  # refs of ``%remote`` in a cell that nobody watches
        self._followed: list[threading.Event] = []  # set when a task of the running cell has shown its end
        self.extras: list[Callable[[], None]] = []  # undone on detach, last first

    # -- loading -------------------------------------------------------------------------------
    def attach(self) -> None:
        """Hooks into the shell."""
        global _loaded
        self.shell.configurables.append(self.config)
        self.cells.attach()
        self.cells.on_end.append(self.cell_ended)
        self.router.start()
        tracebacks.install(self.shell)
        engines.on_change.append(self.engine_changed)
        self.engine_changed(engines.driver())
        _loaded = self

    def detach(self) -> None:
        """Removes everything that `attach` added. The runtime must be stopped by then."""
        global _loaded
        for undo in reversed(self.extras):
            undo()
        self.extras.clear()
        with contextlib.suppress(ValueError):
            engines.on_change.remove(self.engine_changed)
        self._leave(engines.driver())
        tracebacks.uninstall(self.shell)
        self.router.stop()
        self.cells.detach()
        with contextlib.suppress(ValueError):
            self.shell.configurables.remove(self.config)
        _loaded = None

    # -- the runtime ---------------------------------------------------------------------------
    def start(self, shows: bool = True) -> None:
        """Starts the runtime in the background; does nothing if one runs or is starting.

        Args:
            shows: an error is shown in the running cell; False: whoever calls gets it raised by `started`.
        """
        if engines.peek() is not None or (self.starting is not None and self.starting.is_alive()):
            return
        self.start_error = None
        scope = self._scope()
        arguments = self.config.start_arguments()
        self.starting = threading.Thread(
            target=self._start, args=(arguments, scope, shows), name="raynb-start", daemon=True
        )
        session.global_slot().expected = self.starting
        self.starting.start()

    def _start(self, arguments: dict[str, Any], scope: int, shows: bool) -> None:
        try:
            api.init(ignore_reinit_error=True, **arguments)
            self.unasked = engines.driver() if shows else None
        except BaseException as error:
            self.start_error = error
            if self.cards is not None:
                self.cards.refresh()
            if shows:
                name, value, lines = self.renderer.message(error)
                self.router.show_error(scope, name, f"raynb could not start: {value}", lines)

    def started(self) -> DriverEngine:
        """Returns the running engine; waits for one that is starting, and starts one if need be.

        Raises:
            whatever `raynb.init` raised, if it did.
        """
        starting = self.starting
        if starting is not None:
            try:
                interrupts.join(starting)
            except KeyboardInterrupt:
                interrupts.given_up.set()  # a cluster that starts no worker would be waited for in the background
                starting.join(2.0)
                raise
            self.starting = None
        if engines.peek() is None:
            if self.start_error is not None:
                error, self.start_error = self.start_error, None
                raise error
            api.init(ignore_reinit_error=True, **self.config.start_arguments())
        engine = engines.current().driver
        assert engine is not None, "magics run in the driver"
        return engine

    def stop(self) -> None:
        """Shuts the runtime down, in order."""
        self.unasked = None
        if self.starting is not None:
            interrupts.join(self.starting)
            self.starting = None
        api.shutdown()
        self.actors.clear()
        self.router.drain()

    def engine_changed(self, engine: DriverEngine | None) -> None:
        """Routes the output of a new runtime, and updates the cards that were shown."""
        if self.cards is not None:
            self.cards.refresh()
        self.items.clear()  # another runtime counts its tasks anew
        if engine is None:
            return
        if self.router.receive not in engine.on_output:
            engine.on_output.append(self.router.receive)
            # ``display`` works in every task from the first on: who waits for the runtime has it once this returns.
            thread = threading.Thread(target=self._prepare_workers, args=(engine,), name="raynb-prepare", daemon=True)
            thread.start()
            if engine.cluster_info is None:  # a cluster is asked by network
                thread.join(PREPARE_SECONDS)

    def _prepare_workers(self, engine: DriverEngine) -> None:
        with contextlib.suppress(RuntimeGoneError, NotImplementedError):
            run_on_workers(api.remote(install), engine=engine)
            if self.config.post_mortem and engine.inspection is not None:
                engine.inspection.may_keep = True
                run_on_workers(api.remote(keep_failures), self.config.post_mortem, engine=engine)

    def _leave(self, engine: DriverEngine | None) -> None:
        if engine is not None:
            with contextlib.suppress(ValueError):
                engine.on_output.remove(self.router.receive)

    # -- a cell's end --------------------------------------------------------------------------
    def cell_ended(self, cell: Cell, result: object) -> None:
        """Shows the rest of a cell's output, and cancels its tasks if it was interrupted."""
        engine = engines.driver()
        error = getattr(result, "error_in_exec", None)
        if engine is not None and isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            self._interrupted(engine, cell)
        elif engine is not None and cell.batch:
            self._fail_as_tasks_do(engine, result)
            self._await_tasks(engine, cell.scope, self.config.drain_seconds)
            self.kept.flush(self.config.drain_seconds)
            for refresh in self.at_rest:
                refresh()
        self.router.drain()

    def _interrupted(self, engine: DriverEngine, cell: Cell) -> None:
        self._followed.clear()
        if not engine.scope_counts(cell.scope):
            return
        if self.config.interrupt == "leave":
            left = unfinished(engine.scope_counts(cell.scope))
            text = f"Interrupted. {_tasks(left)} of this cell {'goes' if left == 1 else 'go'} on running.\n"
        else:
            cancelled, finished = engine.cancel_scope(cell.scope)
            text = f"Interrupted: {_tasks(cancelled)} of this cell cancelled, {finished:,} had finished.\n"
        self.router.show_text(cell.scope, "stderr", text)

    def follow(self, shown: threading.Event) -> None:
        """Takes what is set when tasks in the background have shown their end: where nobody watches, the cell that
        submitted them waits for it, because what comes after a cell is not saved."""
        cell = self.cells.running()
        if cell is not None and cell.batch:
            self._followed.append(shown)

    def owe(self, ref: object) -> None:
        """Takes the ref of a ``%remote``: where nobody watches, the cell ends with it, and fails as it does unless
        somebody asks."""
        if self.waits_at_end():
            self._owed.append(ref)

    def _fail_as_tasks_do(self, engine: DriverEngine, result: Any) -> None:
        owed, self._owed = self._owed, []
        if not getattr(result, "success", False):
            return
        for ref in owed:
            try:
                error = ref.future().exception() if engine.is_unasked(ref) else None
            except KeyboardInterrupt as interrupt:
                error = interrupt
            if error is not None:
                self.router.drain()
                result.error_in_exec = error
                self.shell.showtraceback((type(error), error, None))
                return

    def _await_tasks(self, engine: DriverEngine, scope: int, seconds: float) -> None:
        """Waits until the tasks of a cell have ended and shown it, so that their output isn't lost."""
        import time

        from raynb.jupyter.progress.waiting import until

        deadline = time.monotonic() + seconds
        if unfinished(engine.scope_counts(scope)):
            until(lambda: not unfinished(engine.scope_counts(scope)), deadline)
        followed, self._followed = self._followed, []
        for shown in followed:
            shown.wait(max(0.0, deadline - time.monotonic()))

    # -- for magics ----------------------------------------------------------------------------
    def _scope(self) -> int:
        cell = self.cells.running() or self.cells.latest()
        return cell.scope if cell is not None else 0

    @property
    def scope(self) -> int:
        """The scope of the running cell, 0 outside cells."""
        cell = self.cells.running()
        return cell.scope if cell is not None else 0

    def title(self) -> str:
        """Returns the running cell's name: ``In[5]``."""
        return cell_name(self.scope)

    def shows_bars(self, scope: int) -> bool:
        """Returns whether a cell shows progress: not where nobody watches, so that what such a run
        saves doesn't depend on how fast it was."""
        cell = self.cells.get(scope)
        wanted = self.config.progress if self._progress == "kernel" else self._progress == "on"
        if self.cells.redirected("display") is not None:  # ``%%capture`` is quiet
            return False
        return bool(wanted) and not (cell is not None and cell.batch)

    def show_progress(self, wanted: str) -> None:
        """Applies the front end's setting: ``"on"`` and ``"off"`` override `Raynb.progress`, ``"kernel"`` doesn't."""
        self._progress = wanted if wanted in ("on", "off") else "kernel"

    def name_items(self, tasks: Iterable[int], names: Iterable[str]) -> None:
        """Keeps the names of a loop's tasks."""
        self.items.update(zip(tasks, names, strict=True))
        while len(self.items) > MAX_ITEMS:
            del self.items[next(iter(self.items))]
        for tell in self.on_names:
            tell()

    def with_items(self, picture: Snapshot) -> Snapshot:
        """Names tasks of loops by their items: ``In[5] x=3``."""
        for row in picture.tasks:
            row.name = self.items.get(row.id, row.name)
        return picture

    def waits_at_end(self) -> bool:
        """Returns whether a cell of tasks is to end with them, and to fail as they do: where nobody watches."""
        cell = self.cells.running()
        return bool(self.config.batch_errors) and cell is not None and cell.batch

    def keep_as_last(self, value: object) -> None:
        """Makes a value ``_``, as a displayed value becomes it, but not ``Out[n]``: showing pins nothing."""
        hook = self.shell.displayhook
        namespace = self.shell.user_ns
        hook.___, hook.__, hook._ = hook.__, hook._, value
        for place in (namespace, self.shell.user_ns_hidden):
            place.update({"_": hook._, "__": hook.__, "___": hook.___})

    def show_stuck(self, scope: int, name: str, error: BaseException) -> None:
        """Says in a cell that one of its outputs cannot come back."""
        cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
        why = str(cause).partition(f"the result.{name}")[2].partition(": ")[2] or str(cause)
        self.router.show_text(scope, "stderr", f"{cell_name(scope)}: `{name}` cannot come back: {why.rstrip('.')}.\n")

    def show_failure(self, scope: int, error: BaseException) -> None:
        """Shows an error of a task in the cell that submitted it."""
        if not isinstance(error, (RayError, Exception)):
            return
        name, value, lines = self.renderer.message(error)
        for function in list(self.on_failure):  # first: who sees the error may ask for its frames at once
            function(scope, error)
        self.router.show_error(scope, name, value, lines)


def unfinished(counts: dict[str, int]) -> int:
    """Returns how many tasks haven't ended, of a scope's counts."""
    return sum(count for state, count in counts.items() if state not in TASK_ENDED)


def _tasks(count: int) -> str:
    return f"{count:,} task" if count == 1 else f"{count:,} tasks"
