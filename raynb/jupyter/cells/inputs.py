"""Gathers the inputs of a cell: the captured names, and how each travels.

Refs become dependencies of the task and arrive as values; modules travel as names; large values go
through the object store once; the rest is pickled with the task. Nothing is submitted here, so a
dry run is the same call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from raynb.base.ref import ObjectRef, is_ref
from raynb.base.sizes import size_of
from raynb.jupyter.on_worker.runner import CONTAINERS, ModuleName, Nested, RefPlaceholder, holds_refs

#: Names of the notebook itself; a cell that mentions one gets the worker's own or none.
NOTEBOOK_NAMES = frozenset(
    {"get_ipython", "exit", "quit", "open", "In", "_ih", "_oh", "_dh", "_sh", "__builtins__", "__name__"}
)


#: Types of values with no function of the notebook in them.
_WITHOUT_CODE = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None)))
_NOTHING = (lambda: None).__code__
_DICT_OF_MODULE: Any = vars(ModuleType)["__dict__"]


@dataclass(slots=True)
class Captured:
    """One captured name.

    Attributes:
        how: ``"value"``, ``"ref"``, ``"refs"`` (a container with refs inside), ``"module"``,
            ``"shared"`` (through the object store) or ``"kept"`` (an old value that may come back).
        size: bytes, about; 0 where it doesn't say anything.
    """

    name: str
    how: str
    size: int
    kind: str


@dataclass(slots=True)
class Inputs:
    """Everything that a cell takes with it.

    Attributes:
        names: name → what travels in its place.
        refs: the refs that travel as arguments of their own, in the order of their slots.
        kept: name → old value (in a list, refs as they are) of what the cell may end without binding.
        captured: sentences for the user, in the order of the cell.
        anchor: brings the namespace that the notebook's functions see, if any of them may be among the names.
    """

    names: dict[str, Any] = field(default_factory=dict)
    refs: list[ObjectRef[object]] = field(default_factory=list)
    kept: dict[str, list[Any]] = field(default_factory=dict)
    captured: list[Captured] = field(default_factory=list)
    anchor: Any = None
    _slots: dict[ObjectRef[object], int] = field(default_factory=dict)

    def slot(self, ref: ObjectRef[object]) -> RefPlaceholder:
        """Returns the place of a ref among the arguments; the same ref has one place."""
        index = self._slots.get(ref)
        if index is None:
            index = self._slots[ref] = len(self.refs)
            self.refs.append(ref)
        return RefPlaceholder(index)

    def replaced(self, value: Any, depth: int = 0) -> Any:
        """Returns the value with the refs in it replaced by slots; itself if there are none."""
        if is_ref(value):
            return self.slot(value)
        if type(value) not in CONTAINERS or not holds_refs(value, depth):
            return value
        kind = type(value).__name__
        items: Iterable[Any] = value
        if kind == "dict":
            items = [part for pair in value.items() for part in pair]
        return Nested(kind, [self.replaced(item, depth + 1) for item in items])


def gather(
    free: Iterable[str],
    namespace: Mapping[str, Any],
    shared_from: int,
    put: Callable[[Any], ObjectRef[object]] | None = None,
    skip: Iterable[str] = (),
) -> Inputs:
    """Looks up a cell's free names in the notebook.

    Args:
        free: the names.
        namespace: the notebook's.
        shared_from: values of at least this many bytes go through the object store.
        put: stores a value; None: a dry run, values stay where they are.
        skip: names that the cell is given otherwise (a loop's target).
    """
    inputs = Inputs()
    skipped = NOTEBOOK_NAMES.union(skip)
    for name in free:
        if name in skipped or name not in namespace:
            continue
        value = namespace[name]
        kind = type(value).__name__
        if issubclass(type(value), ModuleType):
            module = module_name(value)
            if module is not None:
                inputs.names[name] = module
                inputs.captured.append(Captured(name, "module", 0, module.name))
                continue
        replaced = inputs.replaced(value)
        size = 0
        if replaced is not value:
            how = "ref" if is_ref(value) else "refs"
        else:
            size = size_of(value)
            how = "shared" if size >= shared_from else "value"
            if inputs.anchor is None and type(value) not in _WITHOUT_CODE and isinstance(namespace, dict):
                inputs.anchor = FunctionType(_NOTHING, namespace)
            if how == "shared" and put is not None:
                replaced = inputs.slot(put(value))
        inputs.names[name] = replaced
        inputs.captured.append(Captured(name, how, size, kind))
    return inputs


def keep(
    inputs: Inputs, names: Iterable[str], namespace: Mapping[str, object], shared_from: int,
    put: Callable[[Any], ObjectRef[object]] | None,
) -> None:  # fmt: skip
    """Sends old values along that the cell may leave as they are; no task waits for refs among them."""
    for name in names:
        value = namespace[name]
        size = 0 if isinstance(value, ObjectRef) else size_of(value)
        kept = put(value) if put is not None and size >= shared_from else value
        inputs.kept[name] = [kept]
        inputs.captured.append(Captured(name, "kept", size, type(value).__name__))


def module_name(module: ModuleType) -> ModuleName | None:
    """Returns how a module travels by name; None for one that exists only in this kernel.

    Looks into its ``__dict__`` only: any other look would load a lazy module.
    """
    own: dict[str, Any] = _DICT_OF_MODULE.__get__(module)
    name = own.get("__name__", "")
    if sys.modules.get(name) is not module or name == "__main__":
        return None
    file = own.get("__file__")
    if file is None and own.get("__spec__") is None:
        return None
    return ModuleName(name, _changed(file))


def _changed(file: str | None) -> float:
    """Returns when a module's file changed last; 0 for installed ones, which don't change."""
    import os

    if not file or not file.endswith(".py") or "site-packages" in file or file.startswith(sys.base_prefix):
        return 0.0
    try:
        return os.stat(file).st_mtime
    except OSError:
        return 0.0

