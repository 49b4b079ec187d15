"""Finds in a cell's text where it changes a captured object: the change stays on the worker.

Pure, and only what is plain to see: ``df["b"] = …``, ``d.x = …``, ``items.append(…)``, ``inplace=True``,
``random.shuffle(items)``. The notebook's functions that a cell uses are looked through, too; what a function
does to its argument is not looked for.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

from raynb.jupyter.cells.scoping import bound_names, function_names

#: Functions that are looked through for one cell.
MAX_FUNCTIONS = 100

#: Methods of Python's containers, and of classes that are named after them, that change the object.
_CONTAINERS = frozenset((
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard", "update",
    "setdefault", "popitem", "appendleft", "extendleft", "popleft", "rotate", "difference_update",
    "intersection_update", "symmetric_difference_update", "move_to_end", "subtract",
))  # fmt: skip

#: Package → its methods that change the object; its other methods return a new one.
_BY_PACKAGE = {
    "numpy": frozenset(("sort", "fill", "put", "partition", "resize", "itemset", "setflags")),
    "pandas": frozenset(("insert", "pop", "update")),
    "polars": frozenset(("extend", "insert_column", "replace_column", "drop_in_place")),
    "pyarrow": frozenset[str](),
    "torch": frozenset(("load_state_dict", "train", "eval", "step", "zero_grad", "requires_grad_", "add_module")),
}
_FITTING = frozenset(("fit", "partial_fit", "fit_transform", "fit_predict", "set_params"))
_METHODS = _CONTAINERS.union(_FITTING, *_BY_PACKAGE.values())

#: Functions that change their first argument.
_FUNCTIONS = frozenset(("shuffle", "heappush", "heappop", "heapify", "heapreplace", "insort", "insort_left",
                        "insort_right", "setattr", "delattr"))  # fmt: skip

#: Values that nothing changes.
_FIXED = (int, float, complex, str, bytes, bool, tuple, frozenset, type(None), ModuleType)


@dataclass(slots=True, frozen=True)
class Change:
    """One place where an object is changed.

    Attributes:
        name: the variable.
        line: of the cell.
        text: the code, short.
        method: the method that changes it; empty: an assignment, a deletion, ``inplace=True`` or a function.
        inside: the method is one of something inside the object: ``d["k"].append(…)``.
        function: whose code it is; empty: the cell's.
    """

    name: str
    line: int
    text: str
    method: str = ""
    inside: bool = False
    function: str = ""


def changes(body: Iterable[ast.AST]) -> Iterator[Change]:
    """Yields where statements change objects that they have not made themselves."""
    stack: list[tuple[ast.AST, frozenset[str]]] = [(node, frozenset()) for node in body]
    stack.reverse()
    while stack:
        node, hidden = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            hidden |= bound_names(node)
        for found in _changed_by(node):
            if found.name not in hidden:
                yield found
        stack.extend((child, hidden) for child in reversed(list(ast.iter_child_nodes(node))))


def changes_of_functions(functions: Iterable[FunctionType]) -> Iterator[Change]:
    """Yields where the notebook's functions, and those that they call, change names of the notebook."""
    seen: set[int] = set()
    waiting = list(functions)
    while waiting and len(seen) < MAX_FUNCTIONS:
        function = waiting.pop()
        if id(function) in seen or function.__module__ != "__main__":
            continue
        seen.add(id(function))
        yield from _changes_in(function.__code__)
        called = (function.__globals__.get(name) for name in function.__code__.co_names)
        waiting.extend(value for value in called if type(value) is FunctionType)


@functools.lru_cache(maxsize=1_000)
def _changes_in(code: CodeType) -> tuple[Change, ...]:
    """Returns what a function of the notebook changes; nothing if its source is not known."""
    try:
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, ValueError):
        return ()
    if len(tree.body) != 1 or not isinstance(tree.body[0], (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ()  # a lambda is found with what is around it
    node = tree.body[0]
    found = list(changes([node]))
    written = set(function_names(node).writes)
    found += [
        Change(part.id, part.lineno, f"{part.id} = …")
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id in written
    ]
    first = max(first, 1) - 1
    return tuple(dataclasses.replace(one, line=one.line + first, function=code.co_name) for one in found)


def _changed_by(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target] if node.value is not None else []
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        targets = [node.target]
    elif isinstance(node, ast.withitem):
        targets = [node.optional_vars] if node.optional_vars is not None else []
    elif isinstance(node, ast.Call):
        yield from _changed_by_call(node)
        return
    else:
        return
    for target in targets:
        for part in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
            name = _root(part)
            if name and not isinstance(part, ast.Name):
                prefix, suffix = ("del ", "") if isinstance(node, ast.Delete) else ("", " = …")
                yield Change(name, part.lineno, prefix + _short(part) + suffix)


def _changed_by_call(node: ast.Call) -> Iterator[Change]:
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Attribute):
        name = _root(function.value)
        in_place = any(
            word.arg == "inplace" and isinstance(word.value, ast.Constant) and word.value.value is True
            for word in node.keywords
        )
        if name and (in_place or called in _METHODS):
            inside = not isinstance(function.value, ast.Name)
            yield Change(name, node.lineno, f"{_short(function)}(…)", "" if in_place else called, inside)
    if called in _FUNCTIONS and node.args:
        name = _root(node.args[0])
        if name:
            yield Change(name, node.lineno, f"{_short(function)}({_short(node.args[0])})")


def _root(node: ast.AST) -> str:
    """Returns ``a`` of ``a``, ``a.b`` and ``a[0].b``; empty for what is no such place."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:39] + "…"


def is_lost(change: Change, value: object) -> bool:
    """Returns whether a change concerns a value of this kind: ``add`` changes a set, but no frame."""
    if change.text == f"{change.name} = …":  # through ``global``
        return True
    if isinstance(value, _FIXED):
        return False
    if not change.method:
        return True
    package = type(value).__module__.partition(".")[0]
    if package in _BY_PACKAGE:
        return change.method in _BY_PACKAGE[package]
    if package == "raynb":  # a ref: nobody knows of what
        return change.method in _CONTAINERS
    if change.inside:  # of a container, or of an object of the user's
        return change.method in (_CONTAINERS | _FITTING)
    return change.method in (_CONTAINERS | _FITTING) and hasattr(type(value), change.method)


def format_changes(lost: list[Change]) -> str:
    """Returns the line that says what is lost and what to do."""
    first = {change.name: change for change in reversed(lost)}
    places = [
        f"`{change.text}` (line {change.line}" + (f" of `{change.function}`'s cell)" if change.function else ")")
        for change in reversed(list(first.values()))
    ]
    names = [change.name for change in reversed(list(first.values()))]
    listed = ", ".join(f"`{name}`" for name in names)
    bindings = "; ".join(f"{name} = {name}" for name in names)
    verb = "changes" if len(places) == 1 else "change"
    return (
        f"{', '.join(places[:3])}{' …' if len(places) > 3 else ''} {verb} a copy on the worker: the notebook's "
        f"{listed} stay{'s' if len(names) == 1 else ''} as before. To have the change, end the cell with `{bindings}`."
    )
