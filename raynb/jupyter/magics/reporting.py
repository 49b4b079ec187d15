"""Shows the past for `%raynb`: logs, timelines, a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from raynb import api
from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import FAILED
from raynb.jupyter.formatting import short_error
from raynb.jupyter.magics.help import cell_number
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.output.registry import cell_name
from raynb.jupyter.reports import text_tables
from raynb.jupyter.views.view_model import Labels


def running_engine(notebook: Notebook) -> DriverEngine:
    """Returns the engine that runs; waits for one that is starting.

    Raises:
        UsageError: there is none.
    """
    if notebook.starting is not None:
        notebook.started()
    engine = engines.driver()
    if engine is None:
        raise UsageError("No raynb runtime is running; start one with `%raynb start`.")
    return engine


def labels_of(notebook: Notebook) -> Labels:
    """Returns the notebook's names of cells and objects as they are now."""
    from raynb.jupyter.views.labels import notebook_labels

    labels = notebook_labels(notebook.shell, cell_name, notebook.lineage.why)
    labels.refresh()
    return labels


def logs(notebook: Notebook, engine: DriverEngine, rest: str) -> None:
    """Prints what the tasks (of a cell) have printed; with ``--cell N`` shows it as the cell would have."""
    if rest.split()[:1] == ["--cell"]:
        _replay(notebook, engine, rest.partition("--cell")[2])
        return
    cell, _, pattern = rest.partition("--grep")
    if cell.strip() and cell_number(cell) is None:
        raise UsageError(f"%raynb logs takes the number of a cell, got {cell.strip()!r}.")
    print(text_tables.logs(engine.logs(), cell_number(cell), pattern.strip()))


def _replay(notebook: Notebook, engine: DriverEngine, text: str) -> None:
    scope = cell_number(text)
    if scope is None:
        raise UsageError(f"%raynb logs: --cell takes the number of a cell, got {text.strip()!r}.")
    outputs = [output for output in engine.logs() if output.scope == scope]
    failed = [row for row in engine.snapshot(settled=True).tasks if row.scope == scope and row.state == FAILED]
    if not (outputs or failed):
        print(f"The tasks of {cell_name(scope)} have shown nothing that is still known.")
        return
    notebook.router.replay(notebook.scope, scope, outputs)
    for row in failed:
        print(f"{row.name} failed: {short_error(row.error, row.error_type)}", file=sys.stderr)


def kernels(rest: str) -> None:
    """Prints the runtimes of this user on this machine, or asks that of another notebook to stop."""
    from raynb.jupyter.views import kernels

    command, _, name = rest.partition(" ")
    if command not in ("", "stop") or bool(command) != bool(name.strip()):
        raise UsageError(f"%raynb kernels shows all; %raynb kernels stop NAME stops one. Got {rest!r}.")
    try:
        print(kernels.stop(kernels.named(name.strip()).key) if command else text_tables.kernels())
    except ValueError as error:
        raise UsageError(f"%raynb kernels: {error}") from None


def timeline(notebook: Notebook, engine: DriverEngine, rest: str) -> Any:
    """Returns the picture of a cell's time, or writes a trace of all tasks."""
    if rest and cell_number(rest) is None:
        api.timeline(rest)
        print(f"Wrote {rest}; open it in https://ui.perfetto.dev or chrome://tracing.")
        return None
    from raynb.jupyter.reports.card import Plain
    from raynb.jupyter.reports.timeline import Timeline
    from raynb.jupyter.reports.timing import cut, latest_scope

    picture = notebook.with_items(engine.snapshot(settled=True))
    scope = cell_number(rest) or latest_scope(picture)
    found = cut(picture, scope, cell_name(scope), notebook.serialisation_log.of(scope), labels_of(notebook))
    if found is None:
        known = f"{cell_name(scope)} has submitted no tasks that are still known."
        return Plain(known if scope else "No cell has submitted tasks yet.")
    return Timeline(found)


def report(notebook: Notebook, engine: DriverEngine, rest: str) -> None:
    """Writes the report (default: ``raynb-report.html``)."""
    from raynb.jupyter.reports.html_report import report as made

    path = Path(rest.strip("\"'") or "raynb-report.html")
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"%raynb report writes HTML: name a file that ends in .html, not {path.name!r}.")
    try:
        path.write_text(made(notebook, engine, labels_of(notebook)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"%raynb report: cannot write {path}: {error.strerror}.") from None
    print(f"Wrote {path}; any browser opens it.")
