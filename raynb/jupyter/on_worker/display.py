"""Rich display on a worker: ``display()``, the value of a cell's last expression, figures.

IPython takes about 100 ms to import, so nothing here does until a task wants to display. Then a
small InteractiveShell is made whose publisher hands everything to the worker's engine, which
carries it to the cell that submitted the task.
"""

from __future__ import annotations

import builtins
import sys
import threading
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from raynb.base import engine as engines
from raynb.base.process.late_imports import when_imported
from raynb.base.spec import plain
from raynb.jupyter.on_worker.kernel_only import text_bars, without_views

_SHELL = "IPython.core.interactiveshell"

#: Exactly these show as their ``repr``, in Jupyter too; IPython needn't be imported for them.
_PLAIN = (int, float, complex, bool, str, bytes)

_lock = threading.RLock()
_shell: Any = None
_hooked = False
_making = False


def emit(kind: str, bundle: dict[str, Any]) -> None:
    """Sends a rich output by the worker's engine."""
    from raynb.base.engine import current

    if not _in_a_kernel():
        bundle = {**bundle, "data": without_views(bundle.get("data") or {})}
    current().emit(kind, bundle=plain(bundle))  # `Markup` and the like are strings where they arrive


def show_value(value: object) -> None:
    """Displays the value of a cell's last expression as IPython would."""
    if type(value) in _PLAIN:
        emit("display", {"data": {"text/plain": repr(value)}, "metadata": {}})
        return
    shell = worker_shell()
    hook = shell.display_formatter
    if hook.ipython_display_formatter(value):
        return
    data, metadata = hook.format(value)
    if data:
        emit("display", {"data": data, "metadata": metadata})


def flush_figures() -> None:
    """Displays the figures that are open, in the order they were made, and closes them."""
    from matplotlib import pyplot

    shell = worker_shell()
    _choose_figure_formats(shell)
    for number in pyplot.get_fignums():
        data, metadata = shell.display_formatter.format(pyplot.figure(number))
        emit("display", {"data": data, "metadata": metadata})
    pyplot.close("all")


def end_figures() -> None:
    """At the end of a task, failed or not: shows the figures that it left open, as a notebook cell does, and
    closes them, so that the next task on this worker doesn't draw into them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        return
    try:
        flush_figures()
    except Exception:  # of a figure that cannot be drawn; the task's own end counts
        traceback.print_exc()
        pyplot.close("all")


def _choose_figure_formats(shell: Any) -> None:
    """Shows figures as the notebook does (``%config InlineBackend.figure_formats``), else as PNG."""
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib.figure import Figure

    from raynb.api.surroundings import unpacked

    printers = unpacked("figures")
    if not printers:
        select_figure_formats(shell, {"png"}, bbox_inches="tight")
        return
    for mime, formatter in shell.display_formatter.formatters.items():
        formatter.type_printers.pop(Figure, None)
        if mime in printers:
            formatter.for_type(Figure, printers[mime])


def worker_shell() -> Any:
    """Returns this worker's InteractiveShell, made on first use."""
    global _shell, _making
    with _lock:
        if _shell is None and _in_a_kernel():
            _shell = sys.modules[_SHELL].InteractiveShell.instance()
        if _shell is None:
            _making = True
            try:
                _shell = _make_shell()
            finally:
                _making = False
    return _shell


def _make_shell() -> Any:
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class WorkerPublisher(DisplayPublisher):
        """Sends displays to the submitting cell."""

        def publish(
            self, data: object, metadata: object = None, source: object = None, *, transient: object = None,
            update: bool = False, **_: object,
        ) -> None:  # fmt: skip
            emit(
                "update_display" if update else "display",
                {"data": data, "metadata": metadata or {}, "transient": transient or {}},
            )

        def clear_output(self, wait: bool = False) -> None:
            emit("clear", {"wait": wait})

    class WorkerShell(InteractiveShell):
        """IPython's formatters and magics, without a prompt, a history or a ``__main__`` of its own."""

        display_pub_class = WorkerPublisher

        def enable_gui(self, gui: object = None) -> None:
            """No event loop runs here."""

    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    # A module of its own: the worker's real __main__ must stay where pickles look for it.
    scratch = ModuleType("__raynb_shell__")
    hook = sys.displayhook, sys.excepthook
    shell = WorkerShell(config=config, user_module=scratch)
    sys.displayhook, sys.excepthook = hook
    for owner in WorkerShell._walk_mro():
        owner._instance = shell  # what ``InteractiveShell.instance()`` would have done
    return shell


def leave(namespace: dict[str, Any]) -> None:
    """At the end of a cell: its magics ran in this namespace, which the shell would hold until the next one's."""
    if type(_shell).__name__ == "WorkerShell" and _shell.user_ns is namespace:  # not the kernel's
        _shell.user_ns = _shell.user_module.__dict__


# -- installing ----------------------------------------------------------------------------------
def install() -> None:
    """Makes ``display`` work in tasks of this worker, at no cost until it is used."""
    if _in_a_kernel():
        return
    if end_figures not in engines.at_end_of_task:
        engines.at_end_of_task.append(end_figures)
    if not hasattr(builtins, "display"):
        builtins.display = _display  # type: ignore[attr-defined]
    while _hooks:
        name, hook = _hooks.popitem()
        when_imported(name, "display", hook)


def _in_a_kernel() -> bool:
    """Returns whether a shell that isn't ours is here already: tasks run in the kernel (``local_mode``)."""
    module = sys.modules.get(_SHELL)
    return module is not None and not _hooked and _shell is None and bool(module.InteractiveShell.initialized())


def _display(*objects: object, **options: object) -> Any:
    """Replaces IPython's ``display``, a name that every notebook has without importing it."""
    worker_shell()
    from IPython.display import display

    return display(*objects, **options)


def _hook(module: ModuleType) -> None:
    """Makes IPython report a shell, which is made when somebody asks for it."""
    global _hooked
    _hooked = True
    shell_class: Any = module.InteractiveShell

    def initialized(cls: object) -> bool:
        if _making:  # asked by the very modules that are needed to make it
            return False
        worker_shell()
        return True

    shell_class.initialized = classmethod(initialized)


#: Module → what is done once it is loaded; empty once that is arranged.
_hooks: dict[str, Callable[[ModuleType], None]] = {_SHELL: _hook, "tqdm.notebook": text_bars}
