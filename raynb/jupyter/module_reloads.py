"""Modules that the kernel loaded again are loaded again on the workers: ``%autoreload``, ``importlib.reload``.

Without this, a worker that imported a module once would run its old code for ever. Actors keep theirs.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from raynb import api
from raynb.api import definitions
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as engines
from raynb.exceptions import RuntimeGoneError
from raynb.jupyter.on_worker.module_reload import renew

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook


class Reloads:
    """Detects at the start of each cell which modules were loaded again.

    Args:
        notebook: the notebook.

    Thread contract: used by the thread that runs cells.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._specs: dict[str, Any] = {}
        self._times: dict[str, float] = {}  # when %autoreload last saw a module's file change

    def install(self) -> None:
        """Starts watching."""
        self.changed()
        self.notebook.shell.events.register("pre_run_cell", self._cell_begins)
        self.notebook.cells.on_end.append(self._cell_ended)

    def uninstall(self) -> None:
        """Stops watching."""
        with contextlib.suppress(ValueError):
            self.notebook.shell.events.unregister("pre_run_cell", self._cell_begins)
        with contextlib.suppress(ValueError):
            self.notebook.cells.on_end.remove(self._cell_ended)

    def changed(self) -> list[str]:
        """Returns the modules that were loaded again since the last call."""
        found = []
        for name, module in sys.modules.copy().items():
            if not isinstance(module, ModuleType):
                continue
            spec = module.__dict__.get("__spec__")
            before = self._specs.get(name)
            if before is not spec and spec is not None:  # each load makes a new spec
                self._specs[name] = spec
                if before is not None:
                    found.append(name)
        return [*found, *(name for name in self._patched() if name not in found)]

    def _patched(self) -> list[str]:
        """Returns the modules that ``%autoreload`` changed in place, without loading them again."""
        magics = self.notebook.shell.magics_manager.registry.get("AutoreloadMagics")
        reloader = getattr(magics, "_reloader", None)  # private, so its absence is no error
        times = getattr(reloader, "modules_mtimes", None)
        if not isinstance(times, dict):
            return []
        found = [name for name, when in times.items() if self._times.get(name, when) != when]
        self._times = dict(times)
        return found

    def _cell_begins(self, info: object) -> None:
        names = self.changed()
        if names:
            definitions.modules_were_loaded_again()
        engine = engines.driver()
        if names and engine is not None:
            with contextlib.suppress(RuntimeGoneError, NotImplementedError):
                run_on_workers(api.remote(load_again), names, engine=engine)

    def _cell_ended(self, cell: object, result: object) -> None:
        # ``%autoreload`` works at a cell's start too, and may have come later: ours goes last.
        callbacks = self.notebook.shell.events.callbacks["pre_run_cell"]
        if self._cell_begins in callbacks and callbacks[-1] != self._cell_begins:
            callbacks.remove(self._cell_begins)
            callbacks.append(self._cell_begins)


def load_again(names: list[str]) -> None:
    """Loads those modules again that this worker has."""
    for name in names:
        module = sys.modules.get(name)
        if module is not None:
            try:
                renew(module)
            except Exception as error:
                print(f"raynb: the module {name} could not be loaded again: {type(error).__name__}: {error}")
