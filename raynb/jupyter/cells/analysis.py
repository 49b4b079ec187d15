"""Reads a notebook cell as data: which names it needs, which it binds, and whether it has a value.

Pure: source text in, `CellCode` out; nothing is run and IPython isn't imported. Cells with IPython
syntax go through ``shell.transform_cell`` first, so ``!ls`` and ``%time`` arrive here as calls of
``get_ipython()``.

A name is *free* if some path through the cell may read it before the cell itself binds it. Bodies
of functions run later, so what they read counts when the function is first mentioned, or at the
cell's end. That is what makes a cell with a helper defined below its user safe to run twice: the
old ``helper`` of the notebook isn't dragged along.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from raynb.jupyter.cells.changes import Change, changes
from raynb.jupyter.cells.scoping import Names, comprehension_names, function_names, signature_parts, type_parameters

#: Line and cell magics whose text is Python that runs in the cell's own namespace.
CODE_MAGICS = frozenset({"time", "timeit", "prun", "memit", "mprun", "lprun", "pdb", "debug", "capture"})

_EXPANDED = re.compile(r"\$\$|\$([A-Za-z_]\w*)|\{([^{}]+)\}")
_DEEP = 20_000
_OPTION = re.compile(r"\s*--?[A-Za-z][\w-]*\s*(\d+\s+)?")


@dataclass(slots=True)
class CellCode:
    """A cell as it is known before it runs.

    Attributes:
        source: Python source, transformed.
        free: names that it may read before binding them, in order of appearance.
        outputs: names that it binds at its top level and that come back: assigned names, functions
            and classes, but not loop variables, ``as`` names, imports and ``_private`` ones.
        needed: those of ``free`` that it reads where it has not bound them on any path.
        unsure: those of ``bound`` that some path through the cell does not bind.
        bound: the same with the private ones.
        is_async: it awaits at its top level.
        has_value: its last statement is an expression.
        quiet: it ends with ``;``, so the value isn't shown.
        star_imports: modules it imports everything from.
        changes: where it changes objects that it has not bound itself.
        compiled: its code object.
    """

    source: str
    free: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    needed: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    is_async: bool = False
    has_value: bool = False
    quiet: bool = False
    star_imports: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    compiled: CodeType | None = None


def analyse(source: str, transform: Callable[[str], str] | None = None, flags: int = 0) -> CellCode:
    """Returns what is known of a cell.

    Args:
        source: Python source (IPython syntax already transformed).
        transform: turns the text of magics inside the cell into Python (``shell.transform_cell``).
        flags: compiler flags of the notebook's ``from __future__`` imports.

    Raises:
        SyntaxError: the cell isn't Python.
    """
    tree = ast.parse(source)
    code = compile(tree, "<cell>", "exec", flags=flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    flow = _Flow(transform)
    with _deep_recursion():
        flow.run(tree.body)
        flow.finish()
    outputs = [name for name in flow.outputs if name not in flow.gone]
    has_value = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    return CellCode(
        source=source,
        free=tuple(flow.free),
        outputs=tuple(name for name in outputs if not name.startswith("_")),
        bound=tuple(outputs),
        needed=frozenset(name for name, needed in flow.free.items() if needed),
        unsure=frozenset(outputs) - flow.bound,
        is_async=bool(code.co_flags & inspect.CO_COROUTINE),
        has_value=has_value,
        quiet=has_value and ends_with_semicolon(source, tree.body[-1]),
        star_imports=tuple(flow.stars),
        changes=tuple(change for change in changes(tree.body) if change.name in flow.free),
        compiled=code,
    )


@contextlib.contextmanager
def _deep_recursion() -> Iterator[None]:
    """Raises Python's recursion limit for the walk: an expression of 900 terms is 900 levels deep."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEP))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def ends_with_semicolon(source: str, last: ast.stmt) -> bool:
    """Returns whether the last statement is silenced by a ``;``, as IPython silences it."""
    lines = source.encode().splitlines(keepends=True)
    rest = lines[(last.end_lineno or 1) - 1][last.end_col_offset or 0 :]
    return rest.lstrip().startswith(b";")


def target_names(target: ast.AST) -> list[str]:
    """Returns the names that an assignment target binds: ``a, (b, *c)`` → a, b, c."""
    return [
        node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def _matches_all(pattern: ast.pattern) -> bool:
    """Returns whether a pattern is ``_`` or a name."""
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


#: (names that are surely bound, names that are surely deleted) at a place in the cell.
_State = tuple[set[str], set[str]]


class _Flow:
    """Walks the statements of a module in order and keeps what is surely bound so far.

    ``local`` is None at the module's level; inside a class body it is the set of names bound by
    the class so far.
    """

    def __init__(self, transform: Callable[[str], str] | None = None) -> None:
        self.transform = transform
        self.free: dict[str, bool] = {}  # name → it is read where no path has bound it
        self.outputs: dict[str, None] = {}
        self.stars: list[str] = []
        self.bound: set[str] = set()  # surely
        self.gone: set[str] = set()  # surely deleted again
        self.deferred: dict[str, Names] = {}
        self.loose: list[Names] = []  # of functions that have lost their name
        self.local: set[str] | None = None
        self.methods = Names()  # of the class whose body is being walked

    # -- names -------------------------------------------------------------------------------
    def read(self, name: str) -> None:
        """Records that a name is read: free, if it is not surely bound before."""
        if self.local is not None and name in self.local:
            return
        if name not in self.bound:
            self.free[name] = self.free.get(name, False) or name not in self.outputs
        waiting = self.deferred.pop(name, None)
        if waiting is not None:  # from here on it may be called
            self.loose.append(waiting)
            for used in waiting.reads:
                self.read(used)

    def bind(self, name: str, output: bool = True) -> None:
        """Records that a name is bound here."""
        if self.local is not None:
            self.local.add(name)
            return
        self.bound.add(name)
        self.gone.discard(name)
        if output:
            self.outputs.setdefault(name)

    def unbind(self, name: str) -> None:
        """Records that a name is deleted here."""
        if self.local is not None:
            self.local.discard(name)
            return
        self.bound.discard(name)
        self.gone.add(name)

    def finish(self) -> None:
        """Counts what functions that were defined but never mentioned would read."""
        waiting = list(self.deferred.values())
        self.deferred = {}
        for deferred in waiting:
            for name in deferred.reads:
                self.read(name)
        for deferred in [*waiting, *self.loose]:
            for name in deferred.writes:
                self.outputs.setdefault(name)

    # -- statements --------------------------------------------------------------------------
    def run(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                self.expressions(ast.iter_child_nodes(statement))
            else:
                handler(self, statement)

    def branch(self, body: Iterable[ast.AST]) -> _State:
        """Walks statements or expressions that may not be reached; returns what holds at their end."""
        before = set(self.bound), set(self.gone)
        self.expressions(body)
        after = self.bound, self.gone
        self.bound, self.gone = before
        return after

    def meet(self, *ends: _State) -> None:
        """Joins paths: a name stays bound if each path has bound it."""
        self.bound = set.intersection(*(bound for bound, _ in ends))
        self.gone = set.intersection(*(gone for _, gone in ends))

    def perhaps(self, body: Iterable[ast.AST]) -> None:
        """Walks statements that may be skipped."""
        self.meet(self.branch(body), (self.bound, self.gone))

    def assign(self, node: ast.Assign) -> None:
        self.expression(node.value)
        for target in node.targets:
            self.target(target)

    def augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.read(node.target.id)
        self.expression(node.value)
        self.target(node.target)

    def annotated(self, node: ast.AnnAssign) -> None:
        self.expression(node.annotation)
        if node.value is not None:
            self.expression(node.value)
            self.target(node.target)
        elif not isinstance(node.target, ast.Name):
            self.expression(node.target)

    def target(self, target: ast.AST, output: bool = True) -> None:
        """Binds the names of an assignment's target, and reads what its subscripts and attributes use."""
        if isinstance(target, ast.Name):
            self.bind(target.id, output)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self.target(part, output)
        elif isinstance(target, ast.Starred):
            self.target(target.value, output)
        else:  # ``a[i] = …`` and ``a.x = …`` read ``a``
            self.expressions(ast.iter_child_nodes(target))

    def delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            for part in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                if isinstance(part, ast.Name):
                    self.read(part.id)
                    self.unbind(part.id)
                else:
                    self.expressions(ast.iter_child_nodes(part))

    def imports(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(getattr(node, "module", None) or ".")
            else:
                self.bind(alias.asname or alias.name.split(".")[0], output=False)

    def condition(self, node: ast.If) -> None:
        self.expression(node.test)
        self.meet(self.branch(node.body), self.branch(node.orelse))

    def loop(self, node: ast.For | ast.AsyncFor) -> None:
        self.expression(node.iter)
        before = set(self.bound), set(self.gone)
        self.target(node.target, output=False)
        self.run(node.body)
        self.meet((self.bound, self.gone), before)
        self.run(node.orelse)

    def while_(self, node: ast.While) -> None:
        self.expression(node.test)
        self.perhaps(node.body)
        self.run(node.orelse)

    def with_(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.expression(item.context_expr)
            if item.optional_vars is not None:
                self.target(item.optional_vars, output=False)
        self.run(node.body)

    def try_(self, node: ast.Try) -> None:
        ends = [self.branch([*node.body, *node.orelse])]
        for handler in node.handlers:
            if handler.type is not None:
                self.expression(handler.type)
            before = set(self.bound), set(self.gone)
            if handler.name:
                self.bind(handler.name, output=False)
            bound, gone = self.branch(handler.body)
            ends.append((bound - {handler.name}, gone))
            self.bound, self.gone = before
        self.meet(*ends)
        self.run(node.finalbody)

    def match(self, node: ast.Match) -> None:
        self.expression(node.subject)
        ends: list[_State] = []
        sure = False
        for case in node.cases:
            before = set(self.bound), set(self.gone)
            sure = sure or (case.guard is None and _matches_all(case.pattern))
            for part in ast.walk(case.pattern):
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if isinstance(name, str):
                    self.bind(name, output=False)
                elif isinstance(part, ast.expr):
                    self.expression(part)
            if case.guard is not None:
                self.expression(case.guard)
            ends.append(self.branch(case.body))
            self.bound, self.gone = before
        self.meet(*ends, *([] if sure else [(self.bound, self.gone)]))

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.expressions([*node.decorator_list, *signature_parts(node)])
        names = function_names(node)
        self.bind(node.name)
        self.defer(node.name, names)

    def class_(self, node: ast.ClassDef) -> None:
        self.expressions([*node.decorator_list, *node.bases, *(word.value for word in node.keywords)])
        outer = self.local, self.methods
        self.local, self.methods = set(type_parameters(node)), Names()
        self.run(node.body)
        methods = self.methods
        self.local, self.methods = outer
        self.bind(node.name)
        self.defer(node.name, methods)

    def defer(self, name: str, names: Names) -> None:
        """Keeps the names that a function or class uses until somebody mentions it."""
        if self.local is not None:
            self.methods.reads.extend(names.reads)
            self.methods.writes.extend(names.writes)
            return
        old = self.deferred.get(name)
        if old is not None:
            self.loose.append(old)
        self.deferred[name] = names

    def global_(self, node: ast.Global) -> None:
        """``global x`` at the module's own level changes nothing."""

    # -- expressions -------------------------------------------------------------------------
    def expressions(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.expression(node)

    def expression(self, node: ast.AST) -> None:
        """Walks an expression: names are read, walruses bind."""
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.read(node.id)
            else:
                self.bind(node.id)
        elif isinstance(node, ast.Lambda):
            self.expressions(signature_parts(node))
            for name in function_names(node).reads:
                self.read(name)
        elif isinstance(node, ast.NamedExpr):
            self.expression(node.value)
            self.bind(node.target.id)
        elif isinstance(node, ast.BoolOp):
            self.expression(node.values[0])
            self.perhaps(node.values[1:])
        elif isinstance(node, ast.IfExp):
            self.expression(node.test)
            self.meet(self.branch([node.body]), self.branch([node.orelse]))
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            self.comprehension(node)
        elif isinstance(node, ast.stmt):
            self.run([node])
        else:
            if isinstance(node, ast.Call):
                self.magic_call(node)
            self.expressions(ast.iter_child_nodes(node))

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        reads, walrus = comprehension_names(node)
        for name in reads:
            self.read(name)
        before = set(self.bound), set(self.gone)
        for name in walrus:
            self.bind(name)
        self.meet((self.bound, self.gone), before)  # there may have been no item

    def magic_call(self, node: ast.Call) -> None:
        """Looks into the text of ``get_ipython().system(…)``, ``run_line_magic(…)`` and kin."""
        call = node.func
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, ast.Call)):
            return
        if not (isinstance(call.value.func, ast.Name) and call.value.func.id == "get_ipython"):
            return
        texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if call.attr in ("run_line_magic", "run_cell_magic") and texts:
            name, *texts = texts
            if name in CODE_MAGICS and texts and self.code_text(texts[-1]):
                return
        for text in texts:
            self.expanded_text(text)

    def code_text(self, text: str) -> bool:
        """Reads a magic's text as Python; returns False if it is none."""
        while found := _OPTION.match(text):  # ``%timeit -n 3 f(x)``
            text = text[found.end() :]
        try:
            tree = ast.parse(self.transform(text) if self.transform else text)
        except SyntaxError:
            return False
        self.run(tree.body)
        return True

    def expanded_text(self, text: str) -> None:
        """Reads the names that IPython puts into a magic's text: ``$name`` and ``{expression}``."""
        for found in _EXPANDED.finditer(text):
            if found[1]:
                self.read(found[1])
            elif found[2]:
                try:
                    self.expression(ast.parse(found[2], mode="eval").body)
                except SyntaxError:
                    continue  # braces of the shell's or awk's own


_STATEMENTS: dict[type, Callable[[_Flow, Any], None]] = {
    ast.Assign: _Flow.assign, ast.AugAssign: _Flow.augmented, ast.AnnAssign: _Flow.annotated,
    ast.Delete: _Flow.delete, ast.Import: _Flow.imports, ast.ImportFrom: _Flow.imports,
    ast.If: _Flow.condition, ast.For: _Flow.loop, ast.AsyncFor: _Flow.loop, ast.While: _Flow.while_,
    ast.With: _Flow.with_, ast.AsyncWith: _Flow.with_, ast.Try: _Flow.try_, ast.Match: _Flow.match,
    ast.FunctionDef: _Flow.function, ast.AsyncFunctionDef: _Flow.function, ast.ClassDef: _Flow.class_,
    ast.Global: _Flow.global_,
}  # fmt: skip
if hasattr(ast, "TryStar"):
    _STATEMENTS[ast.TryStar] = _Flow.try_
