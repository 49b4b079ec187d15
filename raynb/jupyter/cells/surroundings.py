"""Sends the notebook's surroundings (path, environment, options) to its tasks.

`Surroundings.look` runs before every submission, so it compares as little as it can. `sys.path`,
warning filters and the root logger's handlers are compared by the identity of what is in them;
`logging` empties a cache whenever a level is set, so an entry of ours in it is a change counter; the
environment and the folder are counted where they are changed. The rest (print options, ``rcParams``)
is compared at the first submission of a cell, and later in it unless a submission came right before
this one: setting an option takes longer than that.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.api.surroundings import marked, packed
from raynb.base.interfaces import Engine
from raynb.base.process import module_path, surroundings
from raynb.base.process.surroundings import Mark
from raynb.base.process.waits import time
from raynb.jupyter.cells import kernel_state

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between the end of a submission and the next look in which no option can have been set.
GAP_SECONDS = 1e-6

#: Our entry in the root logger's cache of levels; `logging` drops it whenever a level changes.
_UNCHANGED = "raynb"

_now = time.monotonic


def _formats(handlers: list[logging.Handler]) -> list[Any]:
    return [part for handler in handlers for part in (handler.formatter, handler.level)]


class Surroundings:
    """Watches the kernel's surroundings while the extension is loaded.

    Args:
        notebook: the notebook.

    Thread contract: `look` from any thread that submits; the rest in the thread of the shell.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._lock = threading.RLock()
        self._base = dict(os.environ)
        self._touched: dict[str, set[str]] = {"env": set(), "pandas": set(), "matplotlib": set()}
        self._values: dict[str, Any] = {}  # part → what was packed last
        self._packed: dict[str, bytes] = {}
        self._complaints: set[str] = set()
        self._fresh = True  # a new cell, or something was counted
        self._looking = 0  # the thread that looks closely, and has not made a mark yet
        self._path: list[str] = []
        self._filters: list[Any] = []
        self._handlers: list[Any] = []
        self._formats: list[Any] = []  # formatter and level of each handler
        self._env: dict[Any, Any] = {}
        self._folder = ""
        self._stdout: Any = None
        self._displays: tuple[Any, ...] = (None, None, None, ())
        self._changed = True  # since the last mark
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Starts watching."""
        surroundings.look = self.look
        self.notebook.shell.events.register("pre_run_cell", self._cell_begins)
        self.notebook.config.observe(self._follow_others, "follow")
        for name in ("putenv", "unsetenv", "chdir", "fchdir"):
            self._count_calls(name)

    def uninstall(self) -> None:
        """Stops watching; nothing follows any more."""
        surroundings.look = None
        surroundings.mark = Mark()
        for undo in self._undo:
            undo()
        self._undo.clear()
        self.notebook.config.unobserve(self._follow_others, "follow")
        try:
            self.notebook.shell.events.unregister("pre_run_cell", self._cell_begins)
        except ValueError:
            pass  # somebody cleared the shell's events
        logging.root._cache.pop(_UNCHANGED, None)  # type: ignore[attr-defined]

    def flags(self) -> int:
        """Returns the compiler flags (of ``from __future__`` imports) that hold in the notebook's cells."""
        if "flags" not in self.notebook.config.follow:
            return 0
        flags: int = self.notebook.shell.compile.flags
        return flags & _FUTURES

    # -- looking -------------------------------------------------------------------------------
    def look(self, engine: Engine) -> Mark:
        """Returns the surroundings that a submission takes along."""
        if sys.stdout is not self._stdout:  # the cell may have redirected its output, or no longer
            self._stdout = sys.stdout
            self.notebook.router.redirections.look()
        if (
            self._fresh
            or sys.path != self._path
            or warnings.filters != self._filters
            or logging.root.handlers != self._handlers
            or (self._handlers and _formats(self._handlers) != self._formats)
            or _UNCHANGED not in logging.root._cache  # type: ignore[attr-defined]
            or (_now() - surroundings.submitted_at > GAP_SECONDS and self._shows_differently())
            # Last: another thread has seen what differs, and not made the mark of it yet.
            or (self._looking and self._looking != threading.get_ident())
        ):
            with self._lock:
                self._look_closely()
        return surroundings.mark

    def _shows_differently(self) -> bool:
        rc, numpy, pandas, figures = self._displays
        rc_now, numpy_now = kernel_state.rc_raw(), kernel_state.numpy_raw()
        return (
            (rc_now is not None and (rc is None or not dict.__eq__(rc_now, rc)))
            or (numpy_now is not numpy and numpy_now != numpy)
            or kernel_state.pandas_raw() != pandas
            or kernel_state.figures_raw(self.notebook.shell) != figures
        )

    def _look_closely(self) -> None:
        """Packs the parts that have changed; a cell's first look makes a new mark in any case."""
        again, self._looking = bool(self._looking), threading.get_ident()  # an exception stopped the last look half way
        fresh, self._fresh = self._fresh or again, False
        path, filters, handlers = list(sys.path), list(warnings.filters), list(logging.root.handlers)
        if again or path != self._path or not self._values:
            self._path = path
            self._take("path", path)
            module_path.took()
        if fresh:
            self._look_at_folder_and_env()
        if again or filters != self._filters or not self._values:
            self._filters = filters
            self._take("warnings", kernel_state.warning_filters(filters))
        formats = _formats(handlers)
        loggers_differ = _UNCHANGED not in logging.root._cache  # type: ignore[attr-defined]
        if again or handlers != self._handlers or formats != self._formats or loggers_differ:
            self._handlers, self._formats = handlers, formats
            logging.root._cache[_UNCHANGED] = True  # type: ignore[attr-defined]
            self._take("logging", kernel_state.logging_levels())
        if again or self._shows_differently():
            self._look_at_displays()
        if self._changed:
            self._changed = False
            surroundings.mark = self._marked()
        elif fresh:
            surroundings.mark = Mark(surroundings.mark.key, surroundings.mark.blob)
        self._looking = 0

    def _look_at_folder_and_env(self) -> None:
        try:
            folder = os.getcwd()
        except OSError:  # it was deleted
            folder = self._folder
        if folder != self._folder:
            self._folder = folder
            self._take("cwd", folder)
            module_path.took()
        env = os.environ._data  # type: ignore[attr-defined]
        if env != self._env:
            self._env = dict(env)
            self._take("env", kernel_state.environment(self._base, self._touched["env"]))

    def _look_at_displays(self) -> None:
        shell = self.notebook.shell
        rc, pandas = kernel_state.rc_raw(), kernel_state.pandas_raw()
        self._displays = (dict.copy(rc) if rc is not None else None, kernel_state.numpy_raw(),
                          _copied(pandas) if pandas is not None else None, kernel_state.figures_raw(shell))  # fmt: skip
        self._take("numpy", kernel_state.numpy_options())
        self._take("pandas", kernel_state.pandas_options(self._touched["pandas"]))
        self._take("matplotlib", kernel_state.rc_options(self._touched["matplotlib"]))
        self._take("figures", kernel_state.figure_printers(shell))

    # -- taking --------------------------------------------------------------------------------
    def _take(self, part: str, value: object) -> None:
        if value is None or value == {}:
            self._changed |= self._values.pop(part, None) is not None
            self._packed.pop(part, None)
            return
        if part in self._values and self._values[part] == value:
            return
        self._changed = True
        try:
            self._packed[part] = packed(value)
        except Exception as error:
            self._packed.pop(part, None)
            text = f"raynb: the kernel's {part} does not follow to the workers: {error}"
            if text not in self._complaints:
                self._complaints.add(text)
                print(text, file=sys.stderr)
        self._values[part] = value

    def _marked(self) -> Mark:
        wanted = self.notebook.config.follow
        return marked({name: self._packed[name] for name in _ORDER
                       if name in self._packed and _GROUP.get(name, name) in wanted})  # fmt: skip

    # -- counting ------------------------------------------------------------------------------
    def _cell_begins(self, info: object) -> None:
        self._fresh = True

    def _follow_others(self, change: object) -> None:
        self._fresh = self._changed = True

    def _count_calls(self, name: str) -> None:
        """Wraps a function of `os`, to count changes of `os.environ` or the folder."""
        original = getattr(os, name, None)
        if original is None:
            return

        def counted(*args: object, **kwargs: object) -> Any:
            self._fresh = True
            return original(*args, **kwargs)

        counted.__name__, counted.__doc__ = name, original.__doc__
        setattr(os, name, counted)

        def undo() -> None:
            if getattr(os, name) is counted:
                setattr(os, name, original)

        self._undo.append(undo)


#: Part → the name by which ``Raynb.follow`` knows it.
_GROUP = dict.fromkeys(("numpy", "pandas", "matplotlib", "figures"), "display")

#: The path comes first: the others may need modules that it leads to.
_ORDER = ("path", "cwd", "env", "logging", "warnings", "numpy", "pandas", "matplotlib", "figures")


def _copied(table: dict[str, Any]) -> dict[str, Any]:
    own = table.copy()  # at once: another thread may be in the middle of importing what has the table
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in own.items()}


def _all_futures() -> int:
    import __future__

    flags = 0
    for name in __future__.all_feature_names:
        flags |= getattr(__future__, name).compiler_flag
    return flags


_FUTURES = _all_futures()
