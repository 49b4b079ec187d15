"""Prints figures of the package's structure as a table of Markdown: `python scripts/house_figures.py [ROOT...]`.

Each ROOT is a checkout (default: this one); each gets a column. `docs/architecture.md` quotes them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

IGNORE = re.compile(r"#\s*type:\s*ignore(\[[^\]]*\])?")


def modules(root: Path) -> dict[str, tuple[Path, str, ast.Module]]:
    """Returns module name → (file, text, tree) of the package in a checkout."""
    found = {}
    for path in sorted((root / "raynb").rglob("*.py")):
        text = path.read_text()
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        found[name] = (path, text, ast.parse(text))
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _imports(node: ast.AST, typing_too: bool, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue  # runs later
        if _is_type_checking(child) and not typing_too:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)
        else:
            yield from _imports(child, typing_too, package)


def circles(found: dict[str, tuple[Path, str, ast.Module]], typing_too: bool) -> int:
    """Returns how many modules are in circles of imports."""
    edges = {
        name: {one for one in _imports(tree, typing_too, name) if one in found and one != name}
        for name, (_, _, tree) in found.items()
    }
    for name, targets in edges.items():  # `from package import module` needs the module, not the package's other names
        edges[name] = {one for one in targets if not any(other.startswith(one + ".") for other in targets)}
    reach: dict[str, set[str]] = {}
    for name in edges:
        seen: set[str] = set()
        waiting = list(edges[name])
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += edges[one]
        reach[name] = seen
    return sum(name in seen for name, seen in reach.items())


def undocumented(tree: ast.AST) -> Iterator[str]:
    """Yields the public classes and functions without a docstring; a property's setter has its getter's."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_") or any(ast.unparse(d).endswith(".setter") for d in node.decorator_list):
                continue
            if ast.get_docstring(node) is None:
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node)


def part_of(name: str) -> str:
    """Returns the part of raynb that a module belongs to; "" for `raynb` itself."""
    return (name.split(".") + [""])[1]


def uses_of_any(tree: ast.AST) -> int:
    """Returns how often a module names `Any`, its import left out."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))


def figures(root: Path) -> dict[str, str]:
    """Returns title → figure of a checkout."""
    found = modules(root)
    folders: dict[str, int] = {}
    for path, _, _ in found.values():
        folder = str(path.parent.relative_to(root))
        folders[folder] = folders.get(folder, 0) + (path.name != "__init__.py")
    widest = sorted(folders.items(), key=lambda item: -item[1])[:3]
    result = {
        "modules; lines": f"{len(found)}; {sum(text.count(chr(10)) for _, text, _ in found.values()):,}",
        "modules in the three widest folders": ", ".join(f"`{name}` {count}" for name, count in widest),
        "folders of more than 15 modules": str(sum(count > 15 for count in folders.values())),
    }
    for part in ("engine", "jupyter", "worker", "core"):
        uses = sum(uses_of_any(tree) for name, (_, _, tree) in found.items() if part_of(name) == part)
        result[f"`Any` in `{part}/`"] = str(uses)
    lines = sum(text.count("\n") for _, text, _ in found.values())
    uses = sum(uses_of_any(tree) for _, _, tree in found.values())
    result["`Any` per 1,000 lines, the whole package"] = f"{1000 * uses / lines:.0f}"
    ignores = [match[0] for _, text, _ in found.values() for match in IGNORE.finditer(text)]
    result["`type: ignore`, all"] = str(len(ignores))
    result["  of them `attr-defined`"] = str(sum("attr-defined" in one for one in ignores))
    names = {node.name for _, _, tree in found.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    mixed = [
        base.id
        for name, (_, _, tree) in found.items()
        if name.startswith(("raynb.engine", "raynb.worker"))
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Engine", "Adapter"))
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in names and base.id not in ("Protocol", "Exception")
    ]
    result["classes that an engine inherits from"] = str(len(mixed))
    result["modules in circles of imports, at run time"] = str(circles(found, typing_too=False))
    result["  annotations counted too"] = str(circles(found, typing_too=True))
    result["public classes and functions without a docstring"] = str(
        sum(len(list(undocumented(tree))) for _, _, tree in found.values())
    )
    return result


def main() -> None:
    """Prints the table."""
    columns = [figures(Path(root)) for root in sys.argv[1:] or [Path(__file__).parents[1]]]
    for title in columns[-1]:
        print(f"| {title} | " + " | ".join(column.get(title, "—") for column in columns) + " |")


if __name__ == "__main__":
    main()
