"""``%raynb stale``, ``%raynb graph`` and ``%raynb rerun``."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from raynb.jupyter.lineage.drawing import Picture, graph
from raynb.jupyter.lineage.formatting import stale_table
from raynb.jupyter.lineage.rerun import format_plan, plan_for, run_again
from raynb.jupyter.magics.arguments import parse
from raynb.jupyter.magics.help import cell_number
from raynb.jupyter.notebook import Notebook


def show_stale(notebook: Notebook, rest: str) -> None:
    """Lists the results that are no longer true, and why."""
    if rest:
        raise UsageError(f"%raynb stale takes no arguments, got {rest!r}.")
    record = notebook.lineage
    record.refresh()
    print(stale_table(record))


def show_graph(notebook: Notebook, rest: str) -> Any:
    """Returns the picture of which cell took what from which."""
    if rest:
        raise UsageError(f"%raynb graph takes no arguments, got {rest!r}.")
    return Picture(graph(notebook.lineage))


@magic_arguments("%raynb rerun")
@argument("names", nargs="*", metavar="NAME", help="Results that are made anew, with what is stale of their inputs.")
@argument("--stale", action="store_true", help="Everything that is stale (the default).")
@argument("--from", dest="start", metavar="N", help="Cell N, and everything that took something from it.")
@argument("--dry-run", action="store_true", help="Show which cells, in which order; submit nothing.")
def rerun(notebook: Notebook, rest: str) -> None:
    """Submits %%remote cells again, in the order of their inputs, each with its output in its own cell."""
    args = parse(rerun, rest)
    if bool(args.names) + args.stale + (args.start is not None) > 1:
        raise UsageError("%raynb rerun takes names of results, or --stale, or --from N.")
    start = cell_number(args.start) if args.start is not None else None
    if args.start is not None and start is None:
        raise UsageError(f"%raynb rerun: --from takes the number of a cell, got {args.start!r}.")
    plan = plan_for(notebook.lineage, args.names, start)
    print(format_plan(plan, not args.dry_run))
    if not args.dry_run and plan.runs:
        remote = notebook.shell.magics_manager.registry["RemoteMagics"]
        run_again(notebook, plan, remote.remote_cell)
