"""Records how long the kernel serialised values for each cell, by the notebook's names.

Thread contract: `record` on any thread that submits; `of` from any thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FrameType, FunctionType
from typing import Any

from raynb.base import engine as engines
from raynb.base.scope import current_scope
from raynb.base.sizes import size_of
from raynb.jupyter.on_worker.runner import CellPayload

#: How many cells are remembered, and entries of each.
MAX_CELLS, MAX_ENTRIES_PER_CELL = 100, 2_000

_PACKAGE = __name__.partition(".")[0] + "."


@dataclass(slots=True)
class Serialised:
    """One value that took its time. Times are `time.monotonic` seconds."""

    name: str
    size: int
    began: float
    took: float


class SerialisationLog:
    """Keeps what serialising took, cell by cell.

    Args:
        namespace: the notebook's.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._cells: dict[int, list[Serialised]] = {}
        self._lock = threading.Lock()

    def install(self) -> None:
        """Starts listening."""
        engines.on_serialised = self.record

    def uninstall(self) -> None:
        """Stops listening."""
        if engines.on_serialised == self.record:
            engines.on_serialised = None

    def record(self, values: tuple[object, ...], began: float, took: float) -> None:
        """Records one serialisation (the engine's ``on_serialised``)."""
        name, size = largest(values, sys._getframe(1), self._namespace)
        with self._lock:
            entries = self._cells.setdefault(current_scope(), [])
            if len(entries) >= MAX_ENTRIES_PER_CELL:  # the sum stays right, the picture loses a stroke
                entries[-1].took += took
            else:
                entries.append(Serialised(name, size, began, took))
            while len(self._cells) > MAX_CELLS:
                del self._cells[next(iter(self._cells))]

    def of(self, scope: int) -> list[Serialised]:
        """Returns the entries of a cell."""
        with self._lock:
            return list(self._cells.get(scope, ()))


def largest(
    values: tuple[object, ...], frame: FrameType | None, namespace: Mapping[str, object]
) -> tuple[str, int]:
    """Returns (what people call the largest value, its size in bytes, about).

    Args:
        values: what was serialised.
        frame: where; the first frame outside raynb has the names.
        namespace: the notebook's, for what a magic serialised.
    """
    candidates: list[tuple[str, Any]] = []
    for value in values:
        if type(value) is CellPayload:  # a cell with its captured names
            candidates += value.names.items()
        elif type(value) is FunctionType:  # a definition, which carries the globals that it uses
            own = {value.__name__: value} | value.__globals__
            candidates += [(used, own[used]) for used in (value.__name__, *value.__code__.co_names) if used in own]
        else:
            candidates.append(("", value))
    sized = [(size_of(value), name, value) for name, value in candidates]
    if not sized:
        return "its arguments", 0
    size, name, value = max(sized, key=lambda one: one[0])
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        frame = frame.f_back
    places = [frame.f_locals, frame.f_globals] if frame is not None else []
    return name or name_of(value, [*places, namespace]) or _value_in_words(value), size


def name_of(value: object, places: Iterable[Mapping[str, object]]) -> str:
    """Returns the first variable that is the value; empty when there is none."""
    for place in places:
        for name, found in list(place.items()):
            if found is value and not name.startswith("_"):
                return name
    return ""


def _value_in_words(value: Any) -> str:
    if issubclass(type(value), (FunctionType, type)):
        return f"{value.__qualname__} and what it uses"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
