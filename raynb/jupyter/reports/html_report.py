"""``%raynb report``: everything that the views show now, as one HTML file that needs no Jupyter.

Overview, the life of the runtime, the timelines of the latest cells, tables, settings, versions. Nothing in
it is loaded from elsewhere, and whatever comes from tasks is escaped.
"""

from __future__ import annotations

import html
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from raynb.base.interfaces import DriverEngine
from raynb.base.rows import Snapshot, TaskRow
from raynb.jupyter.formatting import (
    PLACE_WORDS,
    STATE_WORDS,
    counted,
    format_bytes,
    format_seconds,
    memory_added,
    short_error,
)
from raynb.jupyter.output.registry import cell_name
from raynb.jupyter.reports.timeline import Timeline
from raynb.jupyter.reports.timing import cut
from raynb.jupyter.views import series
from raynb.jupyter.views.actions import status_lines
from raynb.jupyter.views.view_model import Labels, actor_label, held_by

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Rows of a table, and cells whose timeline is drawn.
ROWS_SHOWN, CELLS_SHOWN = 1_000, 12

#: Packages whose versions matter when somebody else reads the report.
PACKAGES = ("raynb", "ipykernel", "ipython", "jupyterlab", "notebook", "ipywidgets", "numpy", "pandas", "ray")

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: color-mix(in srgb, currentColor 72%, transparent); }
body { max-width: 1100px; margin: 24px auto; padding: 0 16px; font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { margin-top: 32px; font-size: 17px; } h3 { font-size: 14px; margin: 0; }
table { width: 100%; border-collapse: collapse; font-size: 13px; }
th, td { padding: 2px 10px 2px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: 600; } td.n { text-align: right; white-space: nowrap; }
.scroll { max-height: 480px; overflow: auto; border: 1px solid var(--line); border-radius: 6px; padding: 4px 10px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px; }
.charts section { border: 1px solid var(--line); border-radius: 6px; padding: 8px 12px; }
svg.chart { width: 100%; height: 56px; } .dim { color: var(--dim); }
"""


def _table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    listed = list(rows)
    if not listed:
        return f'<p class="dim">{empty}</p>'
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row) + "</tr>" for row in listed[:ROWS_SHOWN]
    )
    more = f'<p class="dim">{len(listed) - ROWS_SHOWN:,} more are left out.</p>' if len(listed) > ROWS_SHOWN else ""
    heads = "".join(f'<th scope="col">{html.escape(one)}</th>' for one in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{cells}</tbody></table></div>{more}"
    )


def _took(row: TaskRow, now: float) -> str:
    return format_seconds(max(0.0, (row.ended or now) - row.started)) if row.started else ""


def _day(picture: Snapshot, when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(picture.wall + when)) if when else ""


def _tables(picture: Snapshot, labels: Labels) -> str:
    names = {row.id: row.name for row in picture.tasks}
    actors = {row.worker: actor_label(row) for row in picture.actors if row.worker}
    tasks = _table(
        "Tasks", ("task", "state", "time", "start", "cell", "worker", "attempt", "memory added", "error"),
        (
            (row.name, STATE_WORDS[row.state], _took(row, picture.now), _day(picture, row.started),
             cell_name(row.scope) if row.scope else "", str(row.worker or ""), str(row.attempt + 1),
             memory_added(row.peak, row.added), short_error(row.error, row.error_type))
            for row in sorted(picture.tasks, key=lambda row: -row.submitted)
        ), "no tasks yet",
    )  # fmt: skip
    groups = _table(
        "Functions", ("function", "tasks", "by state"),
        (
            (name, f"{sum(states.values()):,}",
             ", ".join(f"{count:,} {STATE_WORDS[state]}" for state, count in states.items() if count))
            for name, states in sorted(picture.groups.items(), key=lambda pair: -sum(pair[1].values()))
        ), "no tasks yet",
    )  # fmt: skip
    found_actors = _table(
        "Actors", ("actor", "name", "state", "pending", "restarts", "memory", "why it ended"),
        (
            (row.class_name, row.name, STATE_WORDS[row.state], str(row.pending), str(row.restarts),
             format_bytes(row.rss) if row.rss else "", row.death_cause)
            for row in picture.actors
        ), "no actors yet",
    )  # fmt: skip
    objects = _table(
        "Objects", ("object", "size", "where", "made by", "cell", "held by"),
        (
            (", ".join(labels.names(row.id)) or "unnamed", format_bytes(row.size), PLACE_WORDS[row.where],
             names.get(row.task, ""), cell_name(row.scope) if row.scope else "",
             ", ".join(held_by(row, labels.names(row.id), actors, labels.holders(row.id))))
            for row in sorted(picture.objects, key=lambda row: -row.size)
        ), "no objects yet",
    )  # fmt: skip
    workers = _table(
        "Workers", ("worker", "process", "state", "memory", "CPU", "tasks done", "why it ended"),
        (
            (str(row.id), str(row.pid), STATE_WORDS["EXITED" if row.exit else row.state],
             format_bytes(row.rss) if row.rss else "", f"{row.cpu:.0%}".replace("%", " %"),
             f"{row.finished:,}", row.exit)
            for row in picture.workers
        ), "no workers yet",
    )  # fmt: skip
    return (
        f"<h2>Functions</h2>{groups}<h2>Tasks</h2>{tasks}<h2>Actors</h2>{found_actors}<h2>Objects</h2>{objects}"
        f"<h2>Workers</h2>{workers}"
    )


def _charts() -> str:
    recorder = series.shared()
    points = recorder.points() if recorder is not None else []
    if len(points) < 2:
        return '<p class="dim">Too short for a history.</p>'
    percent = lambda value: f"{value:.0%}".replace("%", " %")  # noqa: E731
    wanted: list[tuple[str, str, Any]] = [
        ("CPU of the machine", "cpu", percent), ("Memory of the machine", "memory", format_bytes),
        ("Memory of the workers", "workers_memory", format_bytes), ("Object store", "store", format_bytes),
        ("On disk", "spilled", format_bytes), ("Tasks per second", "rate", lambda value: f"{value:,.1f}"),
    ]  # fmt: skip
    begin, span = points[0].time, max(points[-1].time - points[0].time, 1e-9)
    out = []
    for title, field, words in wanted:
        values = [getattr(point, field) for point in points]
        top = max(values) or 1
        line = " ".join(
            f"{300 * (point.time - begin) / span:.1f},{54 - 50 * value / top:.1f}"
            for point, value in zip(points, values, strict=True)
        )
        said = f"now {words(values[-1])}, at most {words(max(values))}"
        out.append(
            f'<section><h3>{title}</h3><svg class="chart" viewBox="0 0 300 56" preserveAspectRatio="none" role="img" '
            f'aria-label="{title}: {said}"><polyline points="{line}" fill="none" stroke="#1976d2" stroke-width="1.5" '
            f'vector-effect="non-scaling-stroke"/></svg><div class="dim">{said}</div></section>'
        )
    return f'<p class="dim">{format_seconds(span)} in all.</p><div class="charts">{"".join(out)}</div>'


def _timelines(notebook: Notebook, picture: Snapshot, labels: Labels) -> str:
    latest: dict[int, float] = {}
    for row in picture.tasks:
        if row.scope:
            latest[row.scope] = max(latest.get(row.scope, 0.0), row.submitted)
    scopes = sorted(latest, key=lambda scope: -latest[scope])[:CELLS_SHOWN]
    drawn = []
    for scope in scopes:
        notes = notebook.serialisation_log.of(scope) if notebook.serialisation_log is not None else ()
        found = cut(picture, scope, cell_name(scope), notes, labels)
        if found is not None:
            drawn.append(f"<section>{Timeline(found)._repr_html_()}</section>")
    return "<br>".join(drawn) or '<p class="dim">No cell has submitted tasks yet.</p>'


def _versions() -> list[tuple[str, str]]:
    found = [("python", sys.version.split()[0]), ("system", platform.platform())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def report(notebook: Notebook, engine: DriverEngine, labels: Labels) -> str:
    """Returns the page."""
    picture: Snapshot = notebook.with_items(engine.snapshot(settled=True))
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    overview = "".join(
        f'<tr><th scope="row">{html.escape(what)}</th><td>{html.escape(value)}</td></tr>'
        for what, value in status_lines(engine)
    )
    settings = _table("Settings", ("setting", "value"), ((f"Raynb.{n}", v) for n, v, _ in notebook.config.table()), "")
    versions = _table("Versions", ("what", "version"), _versions(), "")
    tasks = counted(sum(sum(states.values()) for states in picture.groups.values()), "task")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>raynb report, {when}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f'<h1>raynb report</h1><p class="dim">{when}, {tasks}</p>'
        f"<h2>Overview</h2><table><tbody>{overview}</tbody></table><h2>Over time</h2>{_charts()}"
        f"<h2>Timelines of the latest cells</h2>{_timelines(notebook, picture, labels)}{_tables(picture, labels)}"
        f"<h2>Settings</h2>{settings}<h2>Versions</h2>{versions}</main></body></html>\n"
    )
