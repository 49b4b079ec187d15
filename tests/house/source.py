"""Reads the source tree for the rules: modules, their imports, definitions and their lengths."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "raynb"


@dataclass(frozen=True)
class Module:
    name: str
    path: Path

    @property
    def part(self) -> str:
        """The part a module belongs to: the first name below `raynb`."""
        return (self.name.split(".") + [""])[1]

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def tree(self) -> ast.Module:
        return parsed(self.path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return tuple(found)


def imports(module: Module, tree: ast.AST | None = None) -> Iterator[tuple[str, int]]:
    """Yields (absolute dotted name, line) for each import, wherever in the module it stands.

    ``from a import b`` yields ``a.b``: whether ``b`` is a module is left to whoever compares.
    ``importlib.import_module("a")`` and ``__import__("a")`` with a literal count as well.
    """
    for node in ast.walk(tree or module.tree()):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.package.split(".")
                base = ".".join(above[: len(above) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called.endswith(("import_module", "__import__")) and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST, int]]:
    """Yields (qualified name, node, lines) of each class and function, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{prefix}{node.name}"
            yield name, node, (node.end_lineno or node.lineno) - node.lineno + 1
            yield from definitions(node, f"{name}.")
        else:
            yield from definitions(node, prefix)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that belongs to the project: what git knows, and what it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return tuple(ROOT / name for name in names if name and (ROOT / name).is_file())


def text_of(path: Path) -> str | None:
    """Returns a file's text, or None when it is not text, or was another test's and is gone."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if b"\0" in data[:8192]:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def room(name: str) -> str:
    """The room of a module or of a name in it: the folder below its part; "" for what stands at the part's root."""
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and (PACKAGE / parts[1] / parts[2]).is_dir() else ""


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Returns the tree without its ``if TYPE_CHECKING:`` blocks, which do not run."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body, [])
