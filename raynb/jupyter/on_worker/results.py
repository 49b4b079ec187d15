"""Outputs of a cell on their way back, each with a fate of its own.

One output that cannot be pickled, or that the cell never bound, must fail its own ref and leave
the others alone: the executor stores the returns of a task one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raynb import api
from raynb.base.ref import ObjectRef
from raynb.base.spec import FailedReturn

#: Types that always travel: no need to say their name in an error.
_SURE = frozenset({int, float, complex, bool, str, bytes, type(None)})


def packed_output(name: str, value: Any, title: str) -> Any:
    """Returns the value, or a stand-in that becomes it on arrival and knows its name meanwhile.

    Args:
        name: what the cell calls it.
        value: what comes back.
        title: the cell (``In[5]``).
    """
    if type(value) in _SURE or type(value).__module__ in ("numpy", "pandas"):
        return value
    return _Output(name, value)


def outputs_of(names: Iterable[str], namespace: Mapping[str, Any], before: Mapping[str, Any],
               kept: Mapping[str, list[Any]], title: str) -> tuple[list[Any], list[str]]:  # fmt: skip
    """Returns (what comes back for each name, the names that the cell did not bind and that keep their values).

    Args:
        names: the outputs.
        namespace: the cell's, at its end.
        before: what stood there before, of names that the cell may not bind.
        kept: old values of such names that the cell does not read: each in a list, a ref as a ref.
        title: the cell (``In[5]``).
    """
    found: list[Any] = []
    left: list[str] = []
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
    return found, left


def _old_value(name: str, value: Any, title: str) -> Any:
    if isinstance(value, ObjectRef):
        try:
            value = api.get(value)
        except Exception as error:
            return FailedReturn(error)
    return packed_output(name, value, title)


def unbound(name: str, title: str) -> Any:
    """Returns what fails as a name that the cell did not bind."""
    return FailedReturn(NameError(f"{title} ended without binding {name!r}", name=name))


class _Output:
    """Pickles as the value it holds. Its one attribute has the output's name, so the error of a
    value that cannot be pickled says which output it is."""

    def __init__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        (value,) = self.__dict__.values()
        return _itself, (value,)


def _itself(value: Any) -> Any:
    return value
