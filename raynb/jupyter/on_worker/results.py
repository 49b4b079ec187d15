"""Outputs of a cell on their way back, each with a fate of its own.

One output that cannot be pickled, or that the cell never bound, must fail its own ref and leave
the others alone: the executor stores the returns of a task one by one.
"""

from __future__ import annotations

from typing import Any

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
