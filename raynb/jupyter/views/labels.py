"""The notebook's own names for objects, and who there holds them: variables, items of short lists,
attributes, ``Out[n]``, ``_``, and the frames of the last error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raynb.base.ref import ObjectRef, is_ref
from raynb.base.sizes import attributes_of
from raynb.jupyter.output.shown import ShownRef
from raynb.jupyter.views.view_model import Labels

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Containers longer than this are not looked into: a look must stay cheap.
MAX_ITEMS = 1_000

#: Frames of the last error that are looked into, and errors behind it.
FRAMES, ERRORS = 50, 5

_HIDDEN = frozenset(("In", "Out", "get_ipython", "exit", "quit", "open"))
#: IPython's aliases of ``Out[5]`` and ``In[5]``, which are not repeated.
_ALIAS = re.compile(r"_\d+|_i+\d*|_[iod]h|_exit_code|__\w+__")
_LAST = frozenset(("_", "__", "___"))


@dataclass(slots=True)
class HeldObject:
    """One object, as the notebook knows it.

    Attributes:
        names: what people call it.
        holders: what else keeps it alive.
        refs: the different refs these are.
    """

    names: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    refs: set[int] = field(default_factory=set)


Found = dict[int, HeldObject]


def held_in(namespace: Mapping[str, Any]) -> Found:
    """Returns object id → who holds it, for the refs that a notebook's namespace holds."""
    found: Found = {}
    # A copy made in one step: the main thread goes on assigning while this thread looks.
    for name, value in dict(namespace).items():
        if name in _LAST:
            _collect(name, value, found, name_it=False)
        elif name not in _HIDDEN and not _ALIAS.fullmatch(name):
            _collect(name, value, found)
    outputs = namespace.get("Out")
    if isinstance(outputs, dict):
        for number, value in dict(outputs).items():
            _collect(f"Out[{number}]", value, found)
    for words, value in _in_last_error():
        _collect(words, value, found, name_it=False)
    return found


def _collect(name: str, value: Any, found: Found, name_it: bool = True) -> None:
    if is_ref(value):
        _note(name, value, found, name_it)
        return
    kind = type(value)
    attribute = False
    items: Iterable[tuple[Any, Any]]
    try:
        if kind in (list, tuple):
            items = enumerate(list(value)) if len(value) <= MAX_ITEMS else ()
        elif kind is dict:
            items = list(value.items()) if len(value) <= MAX_ITEMS else ()
        elif kind.__module__ == "__main__":
            own = attributes_of(value) or {}
            items, attribute = list(own.items()) if len(own) <= MAX_ITEMS else (), True
        else:
            return
    except RuntimeError:  # it changed size meanwhile; the next look finds it
        return
    for index, item in items:
        if is_ref(item):
            part = f".{index}" if attribute else f"[{index!r:.40}]"
            _note(name + part, item, found, name_it)


def _note(name: str, ref: ObjectRef[Any], found: Found, name_it: bool) -> None:
    if type(ref) is ShownRef:  # it holds nothing
        return
    held = found.get(ref._id)
    if held is None:
        held = found[ref._id] = HeldObject()
    held.refs.add(id(ref))
    names = held.names if name_it else held.holders
    if name not in names:
        names.append(name)


def _in_last_error() -> Iterator[tuple[str, Any]]:
    """Yields (words, value) of what the frames of the last error still hold."""
    error = getattr(sys, "last_value", None)
    for _ in range(ERRORS):
        if not isinstance(error, BaseException):
            return
        words = f"the traceback of {type(error).__name__} (sys.last_value)"
        step = error.__traceback__
        for _ in range(FRAMES):
            if step is None:
                break
            frame, step = step.tb_frame, step.tb_next
            if frame.f_code.co_name == "<module>":  # its locals are the notebook's own
                continue
            for value in list(frame.f_locals.values()):
                if is_ref(value):
                    yield words, value
                elif type(value) in (list, tuple) and len(value) <= MAX_ITEMS:
                    yield from ((words, item) for item in value if is_ref(item))
        error = error.__cause__ or error.__context__


class NotebookNames:
    """Object names of one shell, looked up afresh on `refresh`.

    Args:
        namespace: returns the user's namespace.

    Thread contract: used by the feed's thread; reads the namespace in one step.
    """

    def __init__(self, namespace: Callable[[], Mapping[str, Any]]) -> None:
        self._namespace = namespace
        self._found: Found = {}

    def refresh(self) -> None:
        """Looks the names up again."""
        self._found = held_in(self._namespace())

    def __call__(self, object_id: int) -> list[str]:
        held = self._found.get(object_id)
        return held.names if held is not None else []

    def holders(self, object_id: int) -> tuple[list[str], int]:
        """Returns (what else holds it, how many different refs these and the names are)."""
        held = self._found.get(object_id)
        return (held.holders, len(held.refs)) if held is not None else ([], 0)


def notebook_labels(
    shell: InteractiveShell, cell: Callable[[int], str], stale: Callable[[int], str] = lambda task: "",
    graph: Callable[[], str] = str, graphed: Callable[[], int] = int, title: Callable[[int], str] = lambda task: "",
) -> Labels:  # fmt: skip
    """Returns the labels of a shell.

    Args:
        shell: the IPython shell.
        cell: scope → ``"In [n]"`` or ``""``.
        stale: task → why what it has made is no longer true.
        graph, graphed, title: as in `Labels`.
    """
    names = NotebookNames(lambda: shell.user_ns)
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)

    def place(filename: str) -> str:
        named = name_of(filename) if name_of is not None else None
        return f"{named[0]} {named[1]}" if named is not None else ""

    return Labels(cell=cell, names=names, holders=names.holders, stale=stale, title=title, graph=graph,
                  graphed=graphed, place=place, refresh=names.refresh)  # fmt: skip
