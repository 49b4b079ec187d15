"""The notebook's own names for objects: variables, items of short lists, and ``Out[n]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raynb.base.ref import ObjectRef
from raynb.jupyter.viewmodel import Labels

#: Containers longer than this are not looked into: a look must stay cheap.
LONGEST = 1_000

_HIDDEN = frozenset(("In", "Out", "_ih", "_oh", "_dh", "get_ipython", "exit", "quit", "open"))


def names_in(namespace: Mapping[str, Any]) -> dict[int, list[str]]:
    """Returns object id → names, for the refs that a notebook's namespace holds.

    ``_``, ``__``, ``_5`` are IPython's aliases of ``Out[...]`` and are not repeated.
    """
    found: dict[int, list[str]] = {}
    # A copy made in one step: the main thread goes on assigning while this thread looks.
    for name, value in dict(namespace).items():
        if name in _HIDDEN or name.startswith("_"):
            continue
        _collect(name, value, found)
    outputs = namespace.get("Out")
    if isinstance(outputs, dict):
        for number, value in dict(outputs).items():
            _collect(f"Out[{number}]", value, found)
    return found


def _collect(name: str, value: Any, found: dict[int, list[str]]) -> None:
    if isinstance(value, ObjectRef):
        found.setdefault(value._id, []).append(name)
        return
    kind = type(value)
    if kind not in (list, tuple, dict) or len(value) > LONGEST:
        return
    try:
        items: Iterable[tuple[Any, Any]] = list(value.items() if kind is dict else enumerate(value))
    except RuntimeError:  # it changed size while being read; the next look finds it
        return
    for index, item in items:
        if isinstance(item, ObjectRef):
            found.setdefault(item._id, []).append(f"{name}[{index!r:.40}]")


class NotebookNames:
    """Object names of one shell, looked up afresh on `refresh`.

    Args:
        namespace: returns the user's namespace.

    Thread contract: used by the feed's thread; reads the namespace in one step.
    """

    def __init__(self, namespace: Callable[[], Mapping[str, Any]]) -> None:
        self._namespace = namespace
        self._names: dict[int, list[str]] = {}

    def refresh(self) -> None:
        self._names = names_in(self._namespace())

    def __call__(self, object_id: int) -> list[str]:
        return self._names.get(object_id, [])


def notebook_labels(shell: Any, cell: Callable[[int], str]) -> Labels:
    """Returns the labels of a shell.

    Args:
        shell: the IPython shell.
        cell: scope → ``"In [n]"`` or ``""``.
    """
    names = NotebookNames(lambda: shell.user_ns)
    return Labels(cell=cell, names=names, refresh=names.refresh)
