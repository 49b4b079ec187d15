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

#: Longer containers are read less often, and in a way that costs less, ``MAX_READ`` items of all of them: a look must
#: stay cheap.
MAX_ITEMS, MAX_READ = 1_000, 100_000

#: A long container that is the same object, and as long as before, is read again after so many looks.
MAX_AGE_LOOKS = 10

#: Frames of the last error that are looked into, and errors behind it.
FRAMES, ERRORS = 50, 5

#: How far a tuple that is a dict's key is written, and an integer, of which Python refuses to write very long ones.
MAX_KEYS, MAX_DEPTH, MAX_BITS = 10, 3, 200

#: Dict keys that are written as they are, by type, or by the type's module; of others, only their type is named.
_PLAIN_KEYS = (int, float, bool, complex, type(None))
_KNOWN_MODULES = ("numpy", "datetime")

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


@dataclass(slots=True)
class LongContainer:
    """The refs of a long list, tuple or dict, as dicts of plain values, which the garbage collector doesn't look at.

    Attributes:
        mark: which container this is; nothing here keeps it, or a ref, alive.
        places: object id → index, or how the key is written; of an object that is there twice, the last.
        refs: object id → which ref that is.
        age: the looks since it was read.
    """

    mark: tuple[int, int]
    places: dict[int, int | str] = field(default_factory=dict)
    refs: dict[int, int] = field(default_factory=dict)
    age: int = 0


Found = dict[int, HeldObject]
#: Name of a container → what it has.
Long = dict[str, LongContainer]


def held_in(namespace: Mapping[str, object]) -> Found:
    """Returns object id → who holds it, for the refs that a notebook's namespace holds (`long_in` has the others)."""
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
        _record(name, value, found, name_it)
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
            part = f".{index}" if attribute and type(index) is str else f"[{_written(index)}]"
            _record(name + part, item, found, name_it)


def _written(key: object, depth: int = 0) -> str:
    """Returns how the key of a dict is written, in at most 40 characters; no code of the user's runs for that."""
    kind = type(key)
    if type(key) is tuple and depth < MAX_DEPTH:
        inner = ", ".join(_written(one, depth + 1) for one in key[:MAX_KEYS])
        return f"({inner}{',' if len(key) == 1 else ''})"[:40]
    if type(key) is str or type(key) is bytes:
        return repr(key[:40])[:40]
    if type(key) is int and key.bit_length() > MAX_BITS:
        return "int"
    return repr(key)[:40] if kind in _PLAIN_KEYS or kind.__module__ in _KNOWN_MODULES else kind.__name__[:40]


def long_in(namespace: Mapping[str, Any], before: Long) -> Long:
    """Returns what the long containers of a notebook's namespace have.

    Args:
        namespace: the notebook's.
        before: what the last look found, which holds for most of them.
    """
    found: Long = {}
    outputs = namespace.get("Out")
    named = [(name, value) for name, value in dict(namespace).items() if name not in _HIDDEN | _LAST]
    if isinstance(outputs, dict):
        named += [(f"Out[{number}]", value) for number, value in dict(outputs).items()]
    room = MAX_READ
    for name, value in named:
        if type(value) not in (list, tuple, dict) or not MAX_ITEMS < len(value) <= room or _ALIAS.fullmatch(name):
            continue
        if not _has_refs(value):
            continue
        room -= len(value)
        known = before.get(name)
        if known is not None and known.mark == (id(value), len(value)) and known.age < MAX_AGE_LOOKS:
            known.age += 1
            found[name] = known
        else:
            found[name] = _read(value)
    return found


def _has_refs(container: list[object] | tuple[object, ...] | dict[object, object]) -> bool:
    """Returns whether the first or the last item is a ref; long containers of other things are not read."""
    try:
        if isinstance(container, dict):
            return is_ref(next(iter(container.values()))) or is_ref(next(reversed(container.values())))
        return is_ref(container[0]) or is_ref(container[-1])
    except (IndexError, RuntimeError, StopIteration):  # it changes at this moment; a later look finds it
        return False


def _read(container: Any) -> LongContainer:
    one = LongContainer((id(container), len(container)))
    written = type(container) is dict
    try:
        pairs = list(container.items()) if written else enumerate(list(container))
    except RuntimeError:  # it changed size meanwhile; a later look finds it
        return one
    for place, item in pairs:
        if is_ref(item) and type(item) is not ShownRef:
            one.places[item._id] = _written(place) if written else place
            one.refs[item._id] = id(item)
    return one


def _record(name: str, ref: ObjectRef[object], found: Found, name_it: bool) -> None:
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

    def __init__(self, namespace: Callable[[], Mapping[str, object]]) -> None:
        self._namespace = namespace
        self._found: Found = {}
        self._long: Long = {}

    def refresh(self) -> None:
        """Looks the names up again."""
        namespace = self._namespace()
        self._found, self._long = held_in(namespace), long_in(namespace, self._long)

    def __call__(self, object_id: int) -> list[str]:
        held = self._found.get(object_id)
        names = held.names if held is not None else []
        if not self._long:
            return list(names)
        long = self._long.items()
        return names + [f"{name}[{one.places[object_id]}]" for name, one in long if object_id in one.places]

    def holders(self, object_id: int) -> tuple[list[str], int]:
        """Returns (what else holds it, how many different refs these and the names are)."""
        held = self._found.get(object_id)
        if held is None and not self._long:  # as of most in a flood
            return [], 0
        others, refs = (held.holders, held.refs) if held is not None else ([], frozenset[int]())
        return others, len({*refs, *(one.refs[object_id] for one in self._long.values() if object_id in one.refs)})


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
