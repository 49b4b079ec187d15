"""The rules of the front end: no circle of imports, and no Jupyter in what the widget and the panel share."""

from __future__ import annotations

import re
from pathlib import Path

from . import source

SOURCES = source.ROOT / "labextension" / "src"
IMPORT = re.compile(r"^\s*(?:import|export)\s+(type\s)?[^;]*?from\s+'([^']+)'", re.MULTILINE)


def imports(path: Path) -> set[str]:
    """Returns what a module imports at run time: modules of ours by their path, others by their name."""
    found = set()
    for only_types, name in IMPORT.findall(path.read_text(encoding="utf-8")):
        if only_types or name.endswith(".json"):
            continue
        if not name.startswith("."):
            found.add(name)
            continue
        there = (path.parent / name).resolve()
        module = next((there.with_suffix(end) for end in (".ts", ".tsx") if there.with_suffix(end).exists()), there)
        found.add(str(module.relative_to(SOURCES)))
    return found


def test_no_module_of_the_front_end_imports_itself_by_a_detour() -> None:
    paths = [path for path in SOURCES.rglob("*.ts*") if ".test." not in path.name and not path.name.endswith(".d.ts")]
    graph = {str(path.relative_to(SOURCES)): imports(path) for path in paths}
    assert len(graph) > 25
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module in graph and module not in done:
            for other in sorted(graph[module]):
                visit(other, [*way, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_views_know_nothing_of_jupyter() -> None:
    for path in (SOURCES / "ui").glob("*.ts*"):
        foreign = {name for name in imports(path) if name.startswith(("@jupyterlab", "@lumino", "lab/"))}
        assert not foreign, (path.name, foreign)
