"""Which of the module's names a function, lambda or comprehension uses, nested ones included.

Python's scope rules on the syntax tree: parameters and assigned names are local, ``global`` makes
the module's, nested functions see the function around them, class bodies are seen by nobody.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


@dataclass(slots=True)
class Names:
    """Module-level names that a body ``reads``, and those it ``writes`` through ``global``."""

    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


def type_parameters(node: ast.AST) -> list[str]:
    """Returns the names of ``def f[T]`` and ``class A[T]`` (Python 3.12)."""
    return [part.name for part in getattr(node, "type_params", ())]


def signature_parts(node: ast.AST) -> list[ast.AST]:
    """Returns what is evaluated when the function is defined: defaults and annotations."""
    arguments: ast.arguments = node.args  # type: ignore[attr-defined]
    generic = set(type_parameters(node))
    parts: list[ast.AST] = [d for d in [*arguments.defaults, *arguments.kw_defaults] if d is not None]
    annotations = [argument.annotation for argument in _parameters(arguments)]
    annotations.append(getattr(node, "returns", None))
    if not generic:
        parts.extend(annotation for annotation in annotations if annotation is not None)
    return parts


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def function_names(node: ast.AST) -> Names:
    """Returns the module's names that calling the function may use."""
    body = node.body if isinstance(node.body, list) else [node.body]  # type: ignore[attr-defined]
    local = {argument.arg for argument in _parameters(node.args)}  # type: ignore[attr-defined]
    local.update(type_parameters(node))
    return _resolve(body, local)


def _resolve(body: Iterable[ast.AST], local: set[str]) -> Names:
    body = list(body)
    declared = {name for part in _inside(body) if isinstance(part, ast.Global) for name in part.names}
    outer = {name for part in _inside(body) if isinstance(part, ast.Nonlocal) for name in part.names}
    bound = set(_bound(body))
    local = (local | bound) - declared - outer
    found = Names(writes=[name for name in sorted(bound) if name in declared])
    for name in _reads(body, found.writes):
        if name not in local:
            found.reads.append(name)
    # A name written through ``global`` is read from the module as well when it is read at all;
    # ``x += 1`` on it reads without a Load in the tree.
    for part in _inside(body):
        target = part.target if isinstance(part, ast.AugAssign) else None
        if isinstance(target, ast.Name) and target.id in declared:
            found.reads.append(target.id)
    # ``nonlocal`` names belong to the function around: hand them up as reads, it owns them.
    found.reads.extend(sorted(outer & bound))
    return found


def _inside(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yields the nodes of one scope in order: doesn't go into nested functions, classes, comprehensions."""
    stack = list(nodes)[::-1]
    while stack:
        node = stack.pop()
        yield node
        look = _OWN_PARTS.get(type(node))
        stack.extend([*(look(node) if look is not None else ast.iter_child_nodes(node))][::-1])


def _function_parts(node: Any) -> list[ast.AST]:
    return [*node.decorator_list, *signature_parts(node)]


def _class_parts(node: Any) -> list[ast.AST]:
    return [*node.decorator_list, *node.bases, *(word.value for word in node.keywords)]


def _first_iterable(node: Any) -> list[ast.AST]:
    return [node.generators[0].iter]


def _nothing(node: Any) -> list[ast.AST]:
    return []


#: What of a node belongs to the scope around it; for all others, their children.
_OWN_PARTS: dict[type, Callable[[Any], list[ast.AST]]] = {
    ast.FunctionDef: _function_parts, ast.AsyncFunctionDef: _function_parts, ast.Lambda: signature_parts,
    ast.ClassDef: _class_parts, ast.Name: _nothing, ast.Constant: _nothing,
    **dict.fromkeys(_COMPREHENSIONS, _first_iterable),
}  # fmt: skip


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    for node in _inside(body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        elif isinstance(node, _COMPREHENSIONS):
            yield from comprehension_names(node)[1]


def _reads(body: Iterable[ast.AST], writes: list[str]) -> Iterator[str]:
    for node in _inside(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Load, ast.Del)):
            yield node.id
        elif isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            inner = function_names(node)
            writes.extend(inner.writes)
            yield from inner.reads
        elif isinstance(node, ast.ClassDef):
            yield from _class_reads(node, writes)
        elif isinstance(node, _COMPREHENSIONS):
            yield from comprehension_names(node)[0]


def _class_reads(node: ast.ClassDef, writes: list[str]) -> Iterator[str]:
    """A class body's own reads count even if the class binds the name (it may bind it later);
    its methods don't see the class's names."""
    generic = set(type_parameters(node))
    for name in _reads(node.body, writes):
        if name not in generic:
            yield name


def comprehension_names(node: ast.AST) -> tuple[list[str], list[str]]:
    """Returns (names read from around, names that walruses bind around) of a comprehension."""
    generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
    targets = {n for g in generators for n in _stored(g.target)}
    values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]  # type: ignore[attr-defined]
    inner: list[ast.AST] = list(values)
    for number, generator in enumerate(generators):
        inner.extend(generator.ifs)
        inner.append(generator.target)
        if number:
            inner.append(generator.iter)
    reads = list(_reads([generators[0].iter], []))
    reads.extend(name for name in _reads(inner, []) if name not in targets)
    walrus: list[str] = []
    for part in _inside([*inner, generators[0].iter]):
        if isinstance(part, ast.NamedExpr):
            walrus.append(part.target.id)
        elif isinstance(part, _COMPREHENSIONS):
            walrus.extend(comprehension_names(part)[1])
    if not walrus:
        return reads, walrus
    bound = set(walrus)
    return [name for name in reads if name not in bound or _reads_first(node, name)], walrus


def _stored(target: ast.AST) -> Iterator[str]:
    for part in ast.walk(target):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _reads_first(node: ast.AST, name: str) -> bool:
    """Returns whether a name that a walrus binds might be read before: by position in the text."""
    places = [
        (part.lineno, part.col_offset, isinstance(part.ctx, ast.Load))
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and part.id == name
    ]
    # A filter runs before the element, although it is written after it.
    tests = [t for g in node.generators for t in g.ifs]  # type: ignore[attr-defined]
    in_test = any(
        isinstance(part, ast.NamedExpr) and part.target.id == name for t in tests for part in ast.walk(t)
    )
    return not in_test and min(places)[2]
