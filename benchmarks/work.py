"""The functions and the class that every engine runs: importable, so nobody pickles code."""

from __future__ import annotations

from typing import Any


def nothing() -> bytes:
    """Returns a few bytes: the empty task."""
    return b"ok"


def nothing_of(_: object) -> bytes:
    """Takes one argument and returns a few bytes."""
    return b"ok"


def first_and_size(array: Any) -> tuple[float, int]:
    """Touches both ends of an array and returns (first + last, bytes)."""
    return float(array[0] + array[-1]), int(array.nbytes)


class Counter:
    """The actor: it counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


_made: dict[int, Any] = {}


def array_of(size: int) -> Any:
    """Returns an array of so many bytes, the same one each time in a process.

    Making it costs page faults that have nothing to do with its travel.
    """
    if size not in _made:
        import numpy

        _made.clear()
        _made[size] = numpy.ones(max(1, size // 8), dtype=numpy.float64)
    return _made[size]


def length_of(value: Any) -> int:
    """Returns the length of a list, a frame, …"""
    return len(value)
