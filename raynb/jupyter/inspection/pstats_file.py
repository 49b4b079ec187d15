"""A profile as the file that ``pstats`` reads, and what shows such files (snakeviz, gprof2dot)."""

from __future__ import annotations

import marshal
from collections.abc import Iterable

from raynb.jupyter.inspection.profiles import Place, Profile

#: A function: (file, the first of its lines that was seen, name).
_Function = tuple[str, int, str]
#: Samples (twice: pstats tells recursive calls apart), own seconds, seconds with what it called.
_Figures = tuple[int, int, float, float]


class _Entry:
    def __init__(self) -> None:
        self.hits, self.own, self.all = 0, 0.0, 0.0
        self.callers: dict[_Function, _Entry] = {}

    def add(self, hits: int, own: float, seconds: float) -> None:
        self.hits, self.own, self.all = self.hits + hits, self.own + own, self.all + seconds

    def figures(self) -> _Figures:
        return self.hits, self.hits, self.own, self.all


def pstats_of(profile: Profile) -> bytes:
    """Returns the profile by functions: samples in the place of calls, and seconds."""
    first: dict[tuple[str, str], int] = {}
    for _, places in profile.stacks:
        for file, line, name in places:
            first[file, name] = min(line, first.get((file, name), line))
    entries: dict[_Function, _Entry] = {}
    for key, seconds in profile.stacks.items():
        _enter(entries, _functions(key[1], first), max(1, profile.hits[key]), seconds)
    return marshal.dumps({
        function: (*entry.figures(), {caller: found.figures() for caller, found in entry.callers.items()})
        for function, entry in entries.items()
    })  # fmt: skip


def _functions(places: Iterable[Place], first: dict[tuple[str, str], int]) -> list[_Function]:
    return [(file, first[file, name], name) for file, _, name in places]


def _enter(entries: dict[_Function, _Entry], stack: list[_Function], hits: int, seconds: float) -> None:
    """Enters one stack; a function that calls itself counts once."""
    seen: set[tuple[_Function, _Function | None]] = set()
    caller: _Function | None = None
    for depth, function in enumerate(stack):
        entry = entries.setdefault(function, _Entry())
        own = seconds if depth == len(stack) - 1 else 0.0
        again = (function, None) in seen
        entry.add(0 if again else hits, own, 0.0 if again else seconds)
        seen.add((function, None))
        if caller is not None:
            found = entry.callers.setdefault(caller, _Entry())
            again = (function, caller) in seen
            found.add(0 if again else hits, own, 0.0 if again else seconds)
            seen.add((function, caller))
        caller = function
