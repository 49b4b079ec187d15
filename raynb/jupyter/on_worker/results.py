"""Packs the outputs of a cell, each of which can fail by itself.

One output that cannot be pickled, or that the cell never bound, must fail its own ref and leave
the others alone: the executor stores the returns of a task one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raynb import api
from raynb.base.ref import ObjectRef
from raynb.base.spec import FailedReturn

#: What the value of the last expression is called among a cell's outputs.
VALUE = "_"

#: Types that always travel: no need to say their name in an error.
_SURE = frozenset({int, float, complex, bool, str, bytes, type(None)})


def packed_output(name: str, value: object, title: str) -> Any:
    """Returns the value, or a stand-in that becomes it on arrival and knows its name meanwhile.

    Args:
        name: what the cell calls it.
        value: what comes back.
        title: the cell (``In[5]``).
    """
    if type(value) in _SURE:
        return value
    if type(value).__module__ == "numpy" and not getattr(getattr(value, "dtype", None), "hasobject", True):
        return value
    return _Output(name, value)


def outputs_of(names: Iterable[str], namespace: Mapping[str, object], before: Mapping[str, object],
               kept: Mapping[str, list[Any]], title: str) -> tuple[list[Any], CellEnd]:  # fmt: skip
    """Returns (what comes back for each name, which of the names the cell did not bind).

    Args:
        names: the outputs.
        namespace: the cell's, at its end.
        before: what stood there before, of names that the cell may not bind.
        kept: old values of such names that the cell does not read: each in a list, a ref as a ref.
        title: the cell (``In[5]``).
    """
    found: list[Any] = []
    left: list[str] = []
    missing: list[str] = []
    for name in names:
        if name in namespace:
            found.append(packed_output(name, namespace[name], title))
            if name in before and namespace[name] is before[name]:
                left.append(name)
        elif name in kept:
            found.append(_old_value(name, kept[name][0], title))
            left.append(name)
        else:
            found.append(unbound(name, title))
            missing.append(name)
    return found, CellEnd(tuple(left), tuple(missing))


def _old_value(name: str, value: object, title: str) -> Any:
    if isinstance(value, ObjectRef):
        try:
            value = api.get(value)
        except Exception as error:
            return FailedReturn(error)
    return packed_output(name, value, title)


def unbound(name: str, title: str) -> Any:
    """Returns what fails as a name that the cell did not bind."""
    return FailedReturn(NameError(f"{title} ended without binding {name!r}", name=name))


@dataclass(slots=True)
class CellEnd:
    """The values and errors of a cell's names, at its end.

    Attributes:
        kept: those that it did not bind, and that keep their values.
        unbound: those that it did not bind, and that have no value.
        stuck: those whose value cannot be pickled.
    """

    kept: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


class Status:
    """A cell's last return: pickled after the outputs, it says what became of them, or None.

    Args:
        end: what is known of the names at the end of the cell.
        outputs: what comes back, in the order in which it is pickled.
    """

    def __init__(self, end: CellEnd, outputs: Sequence[object]) -> None:
        self.end = end
        self.outputs = outputs

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        stuck = tuple(name for output in self.outputs if (name := stuck_name(output)))
        if not (self.end.kept or self.end.unbound or stuck):
            return type(None), ()
        return CellEnd, (self.end.kept, self.end.unbound, stuck)


@dataclass(slots=True)
class LoopEnd:
    """The values and errors of the items of one task of a loop.

    Attributes:
        failed: how many raised. place: which return has the first one's error.
        stuck: (name, return) of the first value of each name that cannot be pickled.
        lost: how many items have no other outputs. lost_place: a return of the first of them.
    """

    failed: int = 0
    place: int = 0
    stuck: tuple[tuple[str, int], ...] = ()
    lost: int = 0
    lost_place: int = 0


class LoopStatus:
    """The last return of a loop's task: pickled after the outputs, it says what became of the items, or None.

    Args:
        failed: items that raised, by their number in the task.
        outputs: what comes back, ``width`` returns an item.
    """

    def __init__(self, failed: Sequence[int], outputs: Sequence[object], width: int) -> None:
        self.failed = failed
        self.outputs = outputs
        self.width = width

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        stuck: dict[str, int] = {}
        lost: list[int] = []
        for start in range(0, len(self.outputs), self.width):
            names = [stuck_name(output) for output in self.outputs[start : start + self.width]]
            for column, name in enumerate(names):
                if name:
                    stuck.setdefault(name, start + column)
            if all(names):
                lost.append(start)
        if not (self.failed or stuck):
            return type(None), ()
        place = self.failed[0] * self.width if self.failed else 0
        return LoopEnd, (len(self.failed), place, tuple(stuck.items()), len(lost), lost[0] if lost else 0)


class _Output:
    """Pickles as the value it holds. Its one attribute has the output's name, so the error of a
    value that cannot be pickled says which output it is."""

    __slots__ = ("__dict__", "_pickled")

    def __init__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        self._pickled: bool | None = None  # while it is not known

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        (value,) = self.__dict__.values()
        self._pickled = False
        return _itself, (value, _End(self))


class _End:
    """A marker pickled after an output's value: it proves that the value can travel."""

    def __init__(self, output: _Output) -> None:
        self.output = output

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        self.output._pickled = True
        return type(None), ()


def _itself(value: object, end: None = None) -> Any:
    return value


def stuck_name(output: object) -> str:
    """Returns the name of an output that could not be pickled when that was tried; empty: there is none such."""
    if type(output) is _Output and output._pickled is False:
        (name,) = output.__dict__
        return str(name)
    return ""
