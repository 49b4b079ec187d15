"""Finds what code takes from a notebook: tokens of the names that it reads, and the runs that made the refs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raynb.base.ref import ObjectRef
from raynb.lineage.graph import NotebookLineage, Run
from raynb.lineage.tokens import ABSENT, REF, Reader, kind_in, kind_of, refs_of

#: Refs of one list that are looked at.
MAX_REFS = 64


@dataclass(slots=True)
class Taken:
    """The names that were read: name → token, name → kind, name → numbers of runs."""

    reads: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    upstream: dict[str, tuple[int, ...]] = field(default_factory=dict)


def take(
    reader: Reader, lineage: NotebookLineage, names: Iterable[str], run_of: Callable[[ObjectRef[object]], Run | None]
) -> Taken:
    """Returns what the names stand for now, with all that the functions among them read.

    Args:
        run_of: the run that made a ref; None: nobody knows.
    """
    found = Taken(reader.read(names))
    space = reader.namespace
    for name in found.reads:
        value = reader.before.get(name, space.get(name, ABSENT))
        if value is ABSENT:
            found.kinds[name] = kind_in({}, name)
            continue
        kind = found.kinds[name] = kind_of(value)
        if kind == REF:
            makers = [run_of(ref) for ref in refs_of(value, MAX_REFS)]
            numbers = tuple(dict.fromkeys(run.number for run in makers if run is not None))
            if numbers:
                found.upstream[name] = numbers
    return found
