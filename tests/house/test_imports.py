"""The import table holds: who may import whom, function-level imports included."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from . import rules, source

MODULES = source.modules()


def part_of(name: str) -> str | None:
    """The part of raynb an import names; None when it is not ours."""
    top, _, rest = name.partition(".")
    return rest.partition(".")[0] if top == "raynb" else None


def parts_imported(module: source.Module) -> dict[str, int]:
    """Part → line of an import of it. ``from raynb import get`` is an import of the root."""
    found = {}
    for name, line in source.imports(module):
        part = part_of(name)
        if part is not None:
            found[part if part in rules.MAY_IMPORT else ""] = line
    return found


def allowed(module: source.Module) -> set[str]:
    extra = {part for (name, part) in rules.EXTRA_IMPORTS if name == module.name}
    return rules.MAY_IMPORT[module.part] | {module.part, "exceptions"} | extra


def test_every_module_belongs_to_a_part_of_the_table() -> None:
    assert {module.part for module in MODULES} <= set(rules.MAY_IMPORT)


@pytest.mark.parametrize("part", sorted(rules.MAY_IMPORT))
def test_parts_import_only_what_the_table_allows(part: str) -> None:
    wrong = [
        f"{module.path.relative_to(source.ROOT)}:{line} imports raynb.{other or '__init__'}"
        for module in MODULES
        if module.part == part
        for other, line in parts_imported(module).items()
        if other not in allowed(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_each_exception_to_the_table_is_needed_and_has_a_reason() -> None:
    by_name = {module.name: module for module in MODULES}
    for (name, part), reason in rules.EXTRA_IMPORTS.items():
        assert reason
        assert name in by_name, f"{name} is gone; remove its exception"
        assert part in parts_imported(by_name[name]), f"{name} no longer imports {part}"


def test_core_uses_no_clock_chance_thread_or_input_output() -> None:
    wrong = []
    for module in MODULES:
        if module.part != "core":
            continue
        for name, line in source.imports(module):
            top = name.partition(".")[0]
            if top != "raynb" and top not in rules.CORE_STDLIB:
                wrong.append(f"{module.name}:{line} imports {top}")
        for node in ast.walk(module.tree()):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in rules.CORE_FORBIDDEN_CALLS:
                wrong.append(f"{module.name}:{called.lineno} calls {called.id}()")
    assert not wrong, "\n".join(wrong)


def test_packages_of_others_are_imported_only_where_the_table_says() -> None:
    wrong = []
    for module in MODULES:
        for name, line in source.imports(module):
            top = name.partition(".")[0]
            if top == "raynb" or top in sys.stdlib_module_names:
                continue
            places = rules.THIRD_PARTY.get(top, set())
            if module.part not in places and module.name not in places:
                wrong.append(f"{module.name}:{line} imports {top}")
    assert not wrong, "\n".join(wrong)


def test_importing_raynb_loads_nothing_heavy() -> None:
    code = "import json, sys; import raynb; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode and "No module named 'raynb'" in done.stderr:  # run from a checkout, not installed
        code = f"import sys; sys.path.insert(0, {str(source.ROOT)!r}); {code}"
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "raynb" in loaded
    assert sorted(loaded & set(rules.NOT_AT_IMPORT)) == []


def test_the_reader_of_imports_sees_every_form() -> None:
    module = source.Module("raynb.core.x", source.PACKAGE / "core" / "x.py")
    tree = ast.parse(
        "import socket as s\n"
        "from raynb.wire import codec\n"
        "def f():\n"
        "    from ..engine import loop\n"
        "    import importlib\n"
        "    importlib.import_module('threading')\n"
        "    from . import machine\n"
    )
    assert sorted(name for name, _ in source.imports(module, tree)) == [
        "importlib", "raynb.core.machine", "raynb.engine.loop", "raynb.wire.codec", "socket", "threading",
    ]  # fmt: skip


def rooms_imported(part: str) -> dict[str, dict[str, list[str]]]:
    """Room → other room of the same part → the modules that import it, at run time."""
    arrows: dict[str, dict[str, list[str]]] = {}
    for module in MODULES:
        if module.part != part:
            continue
        here = source.room(module.name)
        for name, _ in source.imports(module, source.without_type_checking(module.tree())):
            there = source.room(name) if part_of(name) == part else ""
            if here and there and here != there:
                arrows.setdefault(here, {}).setdefault(there, []).append(module.name)
    return arrows


@pytest.mark.parametrize("part", ["core", "engine", "jupyter", "worker"])
def test_no_two_rooms_of_a_part_import_each_other(part: str) -> None:
    arrows = rooms_imported(part)
    wrong = [
        f"{here} and {there}: {', '.join(modules)}"
        for here, others in arrows.items()
        for there, modules in others.items()
        if here in arrows.get(there, {})
    ]
    assert not wrong, "\n".join(wrong)


def test_words_and_figures_import_no_room_of_the_notebook() -> None:
    """Every room of `jupyter` may import `formatting`; the arrow never goes back."""
    (module,) = (module for module in source.modules() if module.name == "raynb.jupyter.formatting")
    assert not [name for name, _ in source.imports(module) if name.startswith("raynb.jupyter")]
