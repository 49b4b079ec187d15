"""``%raynb kept`` and ``%raynb forget``."""

from __future__ import annotations

import os

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from raynb.jupyter.formatting import format_bytes
from raynb.jupyter.kept.formatting import is_own, seconds_of, table
from raynb.jupyter.magics.arguments import parse
from raynb.jupyter.notebook import Notebook


def show_kept(notebook: Notebook, rest: str) -> None:
    """Lists what ``--keep`` has on disk: name, cell, size, age, time saved."""
    if rest:
        raise UsageError(f"%raynb kept takes no arguments, got {rest!r}.")
    kept = notebook.kept
    print(table(*kept.ages()) if kept.exists() else "Nothing is kept.")


@magic_arguments("%raynb forget")
@argument("names", nargs="*", metavar="NAME", help="Outputs whose cells, of this notebook, are forgotten.")
@argument("--all", action="store_true", help="Everything that is kept in the folder, of other notebooks too.")
@argument("--older", metavar="AGE", help="What was kept longer ago: 30m, 12h, 7d; without names of all notebooks.")
def forget(notebook: Notebook, rest: str) -> None:
    """Removes kept results."""
    args = parse(forget, rest)
    if not (args.names or args.all or args.older):
        raise UsageError("%raynb forget takes names of outputs, or --all, or --older 7d.")
    age = seconds_of(args.older) if args.older else 0.0
    if age is None:
        raise UsageError(f"%raynb forget: --older takes an age such as 30m, 12h or 7d, got {args.older!r}.")
    kept = notebook.kept
    entries, now = kept.ages() if kept.exists() else ([], 0.0)
    everything = args.all or not args.names
    chosen = entries if everything else [entry for entry in entries if is_own(entry, kept.session())]
    for name in args.names:
        if not any(name in entry.names for entry in chosen):
            others = {os.path.basename(path) for entry in entries if name in entry.names for path in entry.notebooks}
            why = f" of this notebook has an output {name!r}, but of {', '.join(sorted(others))}" if others else (
                f" has an output {name!r}"
            )
            raise UsageError(f"%raynb forget: no kept result{why}; `%raynb kept` lists them.")
    wanted = set(args.names)
    keys = {
        entry.key for entry in chosen
        if (everything or wanted.intersection(entry.names)) and now - entry.created >= age
    }  # fmt: skip
    count, size = kept.box().forget(lambda entry: entry.key in keys) if keys else (0, 0)
    print(f"Forgot {count:,} kept {'result' if count == 1 else 'results'}, {format_bytes(size)}.")
