"""Finds the module's names that a function, lambda or comprehension uses, nested ones included.

Python's scope rules on the syntax tree: parameters and assigned names are local, ``global`` makes
the module's, nested functions see the function around them, class bodies are seen by nobody.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


@dataclass(slots=True)
class Names:
    """Module-level names that a body ``reads``, and those it ``writes`` through ``global``."""

    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


def type_parameters(node: ast.AST) -> list[str]:
    """Returns the names of ``def f[T]`` and ``class A[T]`` (Python 3.12)."""
    return [part.name for part in getattr(node, "type_params", ())]


def signature_parts(node: Function) -> list[ast.AST]:
    """Returns what is evaluated when the function is defined: defaults and annotations."""
    arguments = node.args
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


def _body(node: Function) -> Sequence[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else node.body


def bound_names(node: Function) -> frozenset[str]:
    """Returns the names that are local to a function or lambda."""
    walk = _Walk().over(_body(node))
    local = {argument.arg for argument in _parameters(node.args)}
    return frozenset((local | walk.bound) - walk.declared - walk.outer)


def function_names(node: Function) -> Names:
    """Returns the module's names that calling the function may use."""
    local = {argument.arg for argument in _parameters(node.args)}
    local.update(type_parameters(node))
    return _resolve(_body(node), local)


def _resolve(body: Iterable[ast.AST], local: set[str]) -> Names:
    walk = _Walk().over(body)
    local = (local | walk.bound) - walk.declared - walk.outer
    found = Names(writes=[*sorted(walk.bound & walk.declared), *walk.writes])
    found.reads.extend(name for name in walk.reads if name not in local)
    # A name written through ``global`` is read from the module as well when it is read at all;
    # ``x += 1`` on it reads without a Load in the tree.
    found.reads.extend(name for name in walk.augmented if name in walk.declared)
    # ``nonlocal`` names belong to the function around: hand them up as reads, it owns them.
    found.reads.extend(sorted(walk.outer & walk.bound))
    return found


class _Walk:
    """One walk over the nodes of one scope, in order; nested functions, classes and comprehensions
    are walked by themselves, once each, and hand up what they read.

    Attributes:
        reads: names in order of appearance, with repeats.
        writes: names that nested functions write through ``global``.
        bound: names that the scope binds or deletes.
        walrus: those of them that a walrus binds.
        declared: names in ``global`` statements. outer: names in ``nonlocal`` statements.
        augmented: targets of ``x += 1``.
    """

    __slots__ = ("augmented", "bound", "declared", "outer", "reads", "walrus", "writes")

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.bound: set[str] = set()
        self.walrus: list[str] = []
        self.declared: set[str] = set()
        self.outer: set[str] = set()
        self.augmented: list[str] = []

    def over(self, nodes: Iterable[ast.AST]) -> _Walk:
        """Walks nodes in order; returns itself."""
        stack = list(nodes)[::-1]
        while stack:
            node = stack.pop()
            if type(node) is ast.Name:
                self._name(node)
                continue
            kind = type(node)
            if kind is ast.Constant:
                continue
            see = _SEEN.get(kind)
            if see is not None:
                see(self, node)
            look = _OWN_PARTS.get(kind)
            if look is not None:
                stack.extend(look(node)[::-1])
                continue
            for field_name in reversed(kind._fields):
                value = getattr(node, field_name, None)
                if isinstance(value, ast.AST):
                    if not isinstance(value, ast.expr_context):
                        stack.append(value)
                elif isinstance(value, list):
                    stack.extend([part for part in value if isinstance(part, ast.AST)][::-1])
        return self

    def _name(self, node: ast.Name) -> None:
        context = type(node.ctx)
        if context is not ast.Store:  # ``del x`` reads and binds
            self.reads.append(node.id)
        if context is not ast.Load:
            self.bound.add(node.id)

    def _function(self, node: Function) -> None:
        if not isinstance(node, ast.Lambda):
            self.bound.add(node.name)
        inner = function_names(node)
        self.writes.extend(inner.writes)
        self.reads.extend(inner.reads)

    def _class(self, node: ast.ClassDef) -> None:
        """A class body's own reads count even if the class binds the name (it may bind it later);
        its methods don't see the class's names."""
        self.bound.add(node.name)
        generic = set(type_parameters(node))
        inner = _Walk().over(node.body)
        self.writes.extend(inner.writes)
        self.reads.extend(name for name in inner.reads if name not in generic)

    def _comprehension(self, node: Comprehension) -> None:
        reads, walrus = comprehension_names(node)
        self.reads.extend(reads)
        self.walrus.extend(walrus)
        self.bound.update(walrus)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bound.update(alias.asname or alias.name.split(".")[0] for alias in node.names)

    def _named(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.bound.add(node.name)

    def _rest(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bound.add(node.rest)

    def _walrus(self, node: ast.NamedExpr) -> None:
        self.walrus.append(node.target.id)

    def _global(self, node: ast.Global) -> None:
        self.declared.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal) -> None:
        self.outer.update(node.names)

    def _augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.augmented.append(node.target.id)


_SEEN: dict[type, Callable[[_Walk, Any], None]] = {
    **dict.fromkeys((*_FUNCTIONS, ast.Lambda), _Walk._function), ast.ClassDef: _Walk._class,
    **dict.fromkeys(_COMPREHENSIONS, _Walk._comprehension),
    **dict.fromkeys((ast.Import, ast.ImportFrom), _Walk._import),
    **dict.fromkeys((ast.ExceptHandler, ast.MatchAs, ast.MatchStar), _Walk._named),
    ast.MatchMapping: _Walk._rest, ast.NamedExpr: _Walk._walrus, ast.Global: _Walk._global,
    ast.Nonlocal: _Walk._nonlocal, ast.AugAssign: _Walk._augmented,
}  # fmt: skip


def _function_parts(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    return [*node.decorator_list, *signature_parts(node)]


def _class_parts(node: ast.ClassDef) -> list[ast.AST]:
    return [*node.decorator_list, *node.bases, *(word.value for word in node.keywords)]


def _first_iterable(node: Comprehension) -> list[ast.AST]:
    return [node.generators[0].iter]


#: What of a node belongs to the scope around it; for all others, their children.
_OWN_PARTS: dict[type, Callable[[Any], list[ast.AST]]] = {
    ast.FunctionDef: _function_parts, ast.AsyncFunctionDef: _function_parts, ast.Lambda: signature_parts,
    ast.ClassDef: _class_parts,
    **dict.fromkeys(_COMPREHENSIONS, _first_iterable),
}  # fmt: skip


def comprehension_names(node: Comprehension) -> tuple[list[str], list[str]]:
    """Returns (names read from around, names that walruses bind around) of a comprehension."""
    generators = node.generators
    targets = {n for g in generators for n in _stored(g.target)}
    inner: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    for number, generator in enumerate(generators):
        inner.extend(generator.ifs)
        inner.append(generator.target)
        if number:
            inner.append(generator.iter)
    first, rest = _Walk().over([generators[0].iter]), _Walk().over(inner)
    reads = [*first.reads, *(name for name in rest.reads if name not in targets)]
    walrus = [*rest.walrus, *first.walrus]
    if not walrus:
        return reads, walrus
    bound = set(walrus)
    return [name for name in reads if name not in bound or _reads_first(node, name)], walrus


def _stored(target: ast.AST) -> Iterator[str]:
    for part in ast.walk(target):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _reads_first(node: Comprehension, name: str) -> bool:
    """Returns whether a name that a walrus binds might be read before: by position in the text."""
    places = [
        (part.lineno, part.col_offset, isinstance(part.ctx, ast.Load))
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and part.id == name
    ]
    # A filter runs before the element, although it is written after it.
    tests = [t for g in node.generators for t in g.ifs]
    in_test = any(
        isinstance(part, ast.NamedExpr) and part.target.id == name for t in tests for part in ast.walk(t)
    )
    return not in_test and min(places)[2]
