"""Starts, stops, restarts and scales the runtime for the views' buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.base import engine as engines
from raynb.base import interrupts
from raynb.base.interfaces import DriverEngine
from raynb.jupyter import notebook as notebooks
from raynb.jupyter.formatting import counted
from raynb.jupyter.views import kernels

#: Slots that a person may ask for; each is a process.
MAX_CPUS = 1024


def scale(engine: DriverEngine, cpus: int) -> str:
    """Gives the runtime so many CPU slots, while everything goes on.

    Args:
        engine: the driver's engine.
        cpus: slots from now on.

    Raises:
        ValueError: it cannot be scaled, or not to this number.
    """
    if engine.scaling is None:
        where = "the cluster's" if engine.address else "those of the kernel itself (local_mode)"
        raise ValueError(f"The slots of this runtime are {where}; only workers of this machine can be scaled.")
    if not 1 <= cpus <= MAX_CPUS:
        raise ValueError(f"A runtime has from 1 to {MAX_CPUS:,} CPU slots, got {cpus}.")
    engine.scaling.scale(cpus)
    return f"{counted(cpus, 'CPU slot')} from now on."


def start() -> str:
    """Starts the notebook's runtime; returns when it runs."""
    notebook = _notebook()
    notebook.start()
    notebook.started()
    return "The runtime runs."


def stop() -> str:
    """Stops the runtime; what runs is cancelled."""
    _notebook().stop()
    return "The runtime is stopped."


def restart() -> str:
    """Stops the runtime and starts it anew; refs of the former one are gone."""
    stop()
    return start()


def gives_way(notebook: notebooks.Notebook) -> bool:
    """Returns whether another runtime may take the place of this one without a word: nobody has asked for it, and
    nothing has been done in it. Waits for one that is starting."""
    if notebook.starting is not None:
        interrupts.join(notebook.starting)
    engine = engines.driver()
    if engine is None or engine is not notebook.unasked:
        return engine is None
    picture = engine.snapshot()
    return not (picture.tasks or picture.actors or picture.objects)


def _notebook() -> notebooks.Notebook:
    notebook = notebooks.loaded()
    if notebook is None:
        raise ValueError("The extension is not loaded; run %load_ext raynb.")
    return notebook


#: Requests that need no runtime: name → what to do with the request.
WITHOUT_RUNTIME: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "start": lambda request: {"text": start()}, "stop": lambda request: {"text": stop()},
    "restart": lambda request: {"text": restart()}, "kernels": lambda request: kernels.listed(),
    "stop_kernel": lambda request: {"text": kernels.stop(str(request["key"]))},
}  # fmt: skip
