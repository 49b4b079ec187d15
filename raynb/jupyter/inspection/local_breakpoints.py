"""`breakpoint` in tasks that run in the kernel itself (``init(local_mode=True)``).

debugpy, which ipykernel brings, passes every `breakpoint` of the kernel while no editor is attached.
"""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook


class LocalBreakpoints:
    """Replaces debugpy's hook while the runtime is in the kernel.

    Thread contract: the main thread, but for the hook: any.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._before: Callable[..., object] | None = None  # debugpy's hook

    def install(self) -> None:
        """Starts listening to runtimes."""
        engines.on_change.append(self.engine_changed)
        self.engine_changed(engines.driver())

    def uninstall(self) -> None:
        """Stops listening, and puts the hook back."""
        if self.engine_changed in engines.on_change:
            engines.on_change.remove(self.engine_changed)
        self._put_back()

    def engine_changed(self, engine: DriverEngine | None) -> None:
        """Replaces the hook for a runtime in the kernel, and puts it back for any other."""
        if engine is None or not engine.config.local_mode:
            self._put_back()
        elif self._before is None and sys.breakpointhook is not sys.__breakpointhook__:
            self._before, sys.breakpointhook = sys.breakpointhook, self._stop

    def _put_back(self) -> None:
        if self._before is not None and sys.breakpointhook == self._stop:
            sys.breakpointhook = self._before
        self._before = None

    def _stop(self, *args: object, **kwargs: object) -> object:
        """Stops a task at its caller's next line; outside of tasks it is what the kernel has."""
        debugpy, engine = sys.modules.get("debugpy"), engines.driver()
        attached = debugpy is not None and vars(debugpy)["is_client_connected"]()
        if attached or engine is None or not engine.context().task:
            return self._before(*args, **kwargs) if self._before is not None else None
        cell = self.notebook.cells.running()
        if cell is not None and cell.batch:
            print("raynb: breakpoint() was passed: this front end cannot ask for commands.", file=sys.stderr)
        else:
            pdb.Pdb().set_trace(sys._getframe(1))
        return None
