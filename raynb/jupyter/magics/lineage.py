"""``%raynb stale``, ``%raynb graph`` and ``%raynb rerun``."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from raynb.jupyter.lineage.words import stale_table


def show_stale(magics: Any, rest: str) -> None:
    """Lists the results that are no longer true, and why."""
    if rest:
        raise UsageError(f"%raynb stale takes no arguments, got {rest!r}.")
    record = magics.notebook.lineage
    record.refresh()
    print(stale_table(record))
