"""The dashboard as a widget in the notebook (``%raynb dashboard``).

The views are one JavaScript file, built from ``labextension/src``. Without a front end that can
show it, the widget's text and HTML forms say the same in plain words.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import TASK_STATES
from raynb.jupyter.formatting import did_you_mean
from raynb.jupyter.views import actions
from raynb.jupyter.views.channel import Conversation, take_any_subshell
from raynb.jupyter.views.feed import Feed, shared
from raynb.jupyter.views.view_model import runtime_name

#: What `labextension/src/lab/outputs.ts` draws, with the panel's connection.
DASHBOARD_TYPE = "application/vnd.raynb.dashboard+json"

STATIC = Path(__file__).parents[1] / "static"

_STYLE = (
    "border-collapse:collapse;font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:6px"
)


class NotBuiltError(RuntimeError):
    """Raised when the dashboard's JavaScript is missing: the source tree was not built."""


def bundle(name: str) -> str:
    """Returns the text of a built file.

    Raises:
        NotBuiltError: it is missing.
    """
    path = STATIC / name
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotBuiltError(
            f"{path} is missing: the dashboard has not been built. Install raynb with pip, or run "
            "'npm ci && npm run build' in the folder labextension of the source tree."
        ) from None


class Dashboard(anywidget.AnyWidget):
    """The views of the runtime, live, in an output cell.

    Args:
        tab: the view to open first: overview, tasks, actors, objects, workers or timeline.
        feed: where the picture comes from; default the process's.
        engine: returns the engine that runs; default the process's.

    Thread contract: make it on the main thread; requests of the browser are answered on any.
    """

    TABS = ("overview", "tasks", "actors", "objects", "workers", "nodes", "timeline", "history", "cells", "kernels")

    tab = traitlets.Unicode("overview").tag(sync=True)
    #: Whether the views fill the height of the box that they are put into (a sidecar, a layout).
    fill = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        tab: str = "overview",
        feed: Feed | None = None,
        engine: Callable[[], DriverEngine | None] = engines.driver,
    ) -> None:
        if tab not in self.TABS:
            meant = did_you_mean(tab, self.TABS)
            raise ValueError(f"There is no view {tab!r}{meant}; the views are: {', '.join(self.TABS)}.")
        self.add_traits(
            _esm=traitlets.Unicode(bundle("widget.js")).tag(sync=True),
            _css=traitlets.Unicode(bundle("widget.css")).tag(sync=True),
        )
        super().__init__(tab=tab)
        self._peek = engine
        lease = self.comm is not None and take_any_subshell(self.comm)
        self.conversation = Conversation(feed or shared(), self.send, engine, lease)
        self.on_msg(lambda widget, content, buffers: self.conversation.receive(content))

    def close(self) -> None:
        """Stops the updates and closes the comm."""
        conversation = getattr(self, "conversation", None)
        if conversation is not None:
            conversation.close()
        super().close()

    def __repr__(self) -> str:
        return "raynb dashboard\n" + actions.status_text(self._peek())

    def _repr_mimebundle_(self, **kwargs: object) -> Any:
        shown = super()._repr_mimebundle_(**kwargs)
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        engine = self._peek()
        runtime = runtime_name(engine) if engine is not None else ""
        data = {
            **data, "text/plain": repr(self), "text/html": static_html(engine),
            DASHBOARD_TYPE: {"tab": self.tab, "runtime": runtime},
        }  # fmt: skip
        return data, metadata


def static_html(engine: DriverEngine | None) -> str:
    """Returns the runtime's state as a small table: what a saved notebook shows."""
    lines = list(actions.status_lines(engine))
    if engine is not None and engine.alive and not engine.failure:
        groups = engine.snapshot().groups
        for name in sorted(groups, key=lambda name: -sum(groups[name].values()))[:10]:
            counts = groups[name]
            states = ", ".join(
                f"{counts[state]:,} {state.lower().replace('_', ' ')}"
                for state in TASK_STATES
                if counts.get(state)
            )
            lines.append((name, states))
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left;padding:2px 14px 2px 10px">{html.escape(what)}</th>'
        f'<td style="text-align:left;padding:2px 10px;white-space:pre-wrap">{html.escape(value)}</td></tr>'
        for what, value in lines
    )
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    return f'<table style="{_STYLE}"><caption style="text-align:left">raynb, {when}</caption>{rows}</table>'
