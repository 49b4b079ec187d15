"""Formats the runs whose results are stale as a table of text."""

from __future__ import annotations

from raynb.jupyter.lineage.record import Record
from raynb.jupyter.output.registry import cell_name
from raynb.jupyter.reports.text_tables import table


def stale_table(record: Record) -> str:
    """Returns which results are stale and why: name, cell, first line, reason."""
    rows = []
    for run in record.shown():
        why = record.why_run(run)
        if why:
            rows.append((", ".join(run.outputs) or "—", cell_name(run.scope), _short(run.line), why))
    if not rows:
        return "Nothing is stale."
    again = "`%raynb rerun` submits the %%remote cells among them again; `%raynb rerun --dry-run` shows in which order."
    return f"{table(('name', 'cell', 'code', 'why it is stale'), rows, '')}\n\n{again}"


def _short(line: str) -> str:
    return line if len(line) <= 40 else line[:39] + "…"
