"""The card that loading the extension shows: what runs here and how to see more."""

from __future__ import annotations

import html
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base import interrupts, limits
from raynb.base.rows import TASK_ENDED
from raynb.jupyter.formatting import at, counted, format_bytes
from raynb.jupyter.output.displays import CARD_TYPE
from raynb.jupyter.output.displays import shown as displays

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook


_LEFT = "text-align:left"

#: What the card's buttons do, by the extension's commands.
BUTTONS = [
    {"label": "Open panel", "command": "raynb:open"},
    {"label": "Dashboard", "command": "raynb:open-view", "args": {"tab": "overview"}},
    {"label": "Timeline", "command": "raynb:open-view", "args": {"tab": "timeline"}},
    {"label": "Tour", "command": "raynb:tour"},
]


class Plain:
    """A text that shows as it is, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class Card:
    """One look at the runtime: version, engine, CPU slots, store, dashboard.

    What is known before the runtime has started is taken from the settings and the container's
    limits, so the card never waits.

    Args:
        notebook: the notebook.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.rows = rows(notebook)

    def bundle(self, display_id: str = "") -> dict[str, Any]:
        """Returns its forms: JupyterLab's extension draws it with buttons, others show HTML or text.

        Args:
            display_id: the id under which it is updated; empty: it stays as it is.
        """
        gone = [
            [what, f"{value.partition(';')[0]}; its kernel is gone" if what == "engine" else value]
            for what, value in self.rows
            if what != "now"
        ]
        data = {
            "id": display_id, "live": bool(display_id), "rows": [list(row) for row in self.rows], "gone": gone,
            "buttons": BUTTONS,
        }  # fmt: skip
        return {"text/plain": repr(self), "text/html": self._repr_html_(), CARD_TYPE: data}

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, Any]:
        return self.bundle()

    def __repr__(self) -> str:
        return "\n".join(["raynb", *(f"  {what:<10} {value}" for what, value in self.rows)])

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><th scope="row" style="{_LEFT};padding:1px 14px 1px 10px">{html.escape(what)}</th>'
            f'<td style="{_LEFT};padding:1px 10px">{html.escape(value)}</td></tr>'
            for what, value in self.rows
        )
        return (
            '<table style="border-collapse:collapse;font:13px/1.5 system-ui,sans-serif;'
            'border:1px solid #8884;border-radius:6px">'
            f'<caption style="text-align:left;font-weight:600;padding:2px 0">raynb</caption>{cells}</table>'
        )


class LiveCards:
    """Keeps the cards that cells show true: a runtime that was starting runs, or has stopped.

    Args:
        notebook: the notebook.

    Thread contract: `show` in the shell's thread; `refresh` from any thread.
    """

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._shown: dict[int, str] = {}  # cell → display id of its card
        self._lock = threading.RLock()  # the last of several threads shows the last state

    def show(self) -> None:
        """Shows a card in the running cell; where nobody watches, when the runtime has started."""
        from IPython.display import publish_display_data

        notebook = self._notebook
        cell = notebook.cells.running()
        if cell is None:
            return
        if cell.batch and notebook.starting is not None:
            interrupts.join(notebook.starting)
        name = f"raynb-card-{id(self):x}-{cell.scope}"
        bundle = Card(notebook).bundle(name)
        displays.record({"data": bundle})
        publish_display_data(bundle, transient={"display_id": name})
        if getattr(notebook.shell, "kernel", None) is not None and not cell.batch:
            self._shown[cell.scope] = name
            self.refresh()

    def refresh(self) -> None:
        """Brings the cards up to date."""
        if not self._shown:
            return
        with self._lock:
            card = Card(self._notebook)
            for scope, name in list(self._shown.items()):
                shown = {"data": card.bundle(name), "metadata": {}, "transient": {"display_id": name}}
                self._notebook.router.show_rich(scope, "update_display", shown)


def version() -> str:
    """Returns the installed version, or ``"(source tree)"``."""
    from importlib import metadata

    try:
        return metadata.version("raynb")
    except metadata.PackageNotFoundError:
        return "(source tree)"


def rows(notebook: Notebook) -> list[tuple[str, str]]:
    """Returns (what, value) of the card."""
    config = notebook.config
    engine = engines.driver()
    python = ".".join(map(str, sys.version_info[:3]))
    # What runs, if something does: it may have been started with other words than the settings'.
    settings: Any = engine.config if engine is not None else config
    address = "" if settings.address == "local" else settings.address
    if engine is not None:
        picture = engine.snapshot()
        cpus, store = picture.total.get("CPU", 0.0), picture.store.limit
        state = "failed; go on with %raynb restart" if engine.failure else "running"
    else:
        cpus = config.num_cpus if config.num_cpus is not None else float(limits.cpu_count())
        store = config.object_store_memory or limits.default_object_store_memory()
        state = "stopped; start it with %raynb start"
        if notebook.start_error is not None:
            state = "could not start; see below"
        elif notebook.starting is not None and notebook.starting.is_alive():
            state = "starting"
    if address:
        found = (engine.address if engine is not None else "") or address  # what "auto" stands for
        where = f"Ray cluster at {found}" if found == address else f"Ray cluster at {found} ({address})"
    else:
        where = "this kernel itself (local mode)" if settings.local_mode else "this machine, embedded"
    shown = [
        ("version", f"{version()}, Python {python}"),
        ("engine", f"{where}; {state}"),
    ]
    if not address or (engine is not None and cpus):  # how large a cluster is, it says itself, a moment after its start
        shown.append(("workers", _workers(cpus, settings)))
    if engine is not None and picture.nodes:
        alive = [row for row in picture.nodes if row.alive]
        hosts = ", ".join(sorted({row.host or row.address for row in alive}))
        shown.append(("nodes", f"{len(alive)}: {hosts}; %raynb nodes"))
    if not address and not settings.local_mode:
        shown.append(("store", f"{format_bytes(int(store))}, shared memory"))
    if engine is not None:
        unfinished = sum(
            count for states in picture.groups.values() for state, count in states.items() if state not in TASK_ENDED
        )
        words = counted(unfinished, "unfinished task") if unfinished else "nothing is running"
        shown.append(("now", at(words, time.time())))  # JupyterLab's extension keeps it up to date
    shown.append(("see", "%raynb dashboard · %%remote? · %raynb help"))
    return shown


def _workers(cpus: float, settings: Any) -> str:
    if settings.local_mode:
        return "none: tasks run at once, one after the other"
    return f"{cpus:g} CPU {'slot' if cpus == 1 else 'slots'}"
