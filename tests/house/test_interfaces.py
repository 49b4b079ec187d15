"""No code asks an engine what it is or has: the protocols of `raynb.base.interfaces` say so."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from . import rules, source

#: Calls that ask a value what it has or is.
PROBES = {"getattr", "hasattr", "isinstance", "type", "setattr", "vars", "dir"}
#: Names of variables and attributes that are engines (a leading underscore is left out).
ENGINES = {"engine", "driver", "runtime", "running_engine"}
#: Calls that return one.
GIVE_ENGINES = {"peek", "current", "driver", "engine", "owner_of", "opener", "started", "make_engine"}


def last_name(node: ast.AST) -> str:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lstrip("_")


def is_engine(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return last_name(node.func) in GIVE_ENGINES
    return last_name(node) in ENGINES


def probes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, code) of each question to an engine; names that were given an engine count as engines."""
    scopes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef))]
    seen = set()
    for scope in scopes:
        nodes = list(ast.walk(scope))
        given = {
            target.id
            for node in nodes
            if isinstance(node, ast.Assign) and is_engine(node.value) and scope is not tree
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROBES and node.args:
                asked = node.args[0]
                if node not in seen and (is_engine(asked) or (isinstance(asked, ast.Name) and asked.id in given)):
                    seen.add(node)
                    yield node.lineno, ast.unparse(node)


def test_no_engine_is_asked_what_it_has() -> None:
    wrong = {
        f"{module.name}:{line}: {code}"
        for module in source.modules()
        for line, code in probes(module.tree())
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_the_search_finds_each_way_to_ask() -> None:
    asked = (
        'getattr(engine, "failure", "")',
        'hasattr(self._engine, "nodes")',
        "isinstance(engines.peek(), Refs)",
        "type(self.engine)",
        'getattr(current(), "on_output", [])',
    )
    for code in asked:
        assert [text for _, text in probes(ast.parse(code))] == [code.replace('"', "'")]
    assert list(probes(ast.parse("def f():\n    here = slot.peek()\n    isinstance(here, Refs)")))
    assert not list(probes(ast.parse('getattr(shell, "kernel", None)\nhasattr(value, "remote")')))


def bases_of(node: ast.ClassDef) -> list[str]:
    """Returns the names of a class's bases, without their type arguments."""
    plain = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return [last_name(base) for base in plain]


def test_no_class_is_cut_into_mixins() -> None:
    """A class is made of parts that get what they use: with mixins, mypy knows nothing where they meet."""
    wrong, listed = [], set()
    for module in source.modules():
        for node in ast.walk(module.tree()):
            if not isinstance(node, ast.ClassDef) or module.name.startswith("raynb.exceptions."):
                continue
            bases = bases_of(node)
            key = f"{module.name}.{node.name}"
            if len(bases) > 1 and "Protocol" not in bases:
                listed.add(key)
                if key not in rules.SEVERAL_BASES:
                    wrong.append(f"{key} has the bases {', '.join(bases)}")
            if (ast.get_docstring(node) or "").startswith("The part of"):
                wrong.append(f"{key} is a part of another class")
    assert not wrong, "\n".join(wrong)
    assert listed == set(rules.SEVERAL_BASES), "listed, and not needed any more"
