"""Names: one class a name, numbers that say their unit, and none of the words that were given up."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from . import rules, source


def numbers(tree: ast.Module) -> Iterator[tuple[str, int | float]]:
    """Yields (name, value) of a module's constants that are a plain number."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            names, value = [node.target], node.value
        else:
            continue
        if isinstance(value, ast.Constant) and isinstance(value.value, (int, float)):
            yield from ((name.id, value.value) for name in names if isinstance(name, ast.Name) and name.id.isupper())


def test_numbers_say_their_unit() -> None:
    """What is no whole number is a duration or a share, and its name says so."""
    wrong = []
    for module in source.modules():
        for name, value in numbers(module.tree()):
            if name.strip("_") in rules.WORDS_GIVEN_UP:
                wrong.append(f"{module.name}: {name} says neither what it counts nor its unit")
            elif isinstance(value, float) and name.rpartition("_")[2] not in rules.UNITS:
                wrong.append(f"{module.name}: {name} ends with no unit ({', '.join(sorted(rules.UNITS))})")
    assert not wrong, "\n".join(wrong)


def test_a_class_has_a_name_of_its_own() -> None:
    found = defaultdict(set)
    for module in source.modules():
        if module.name in rules.NAMED_WITH_THEIR_MODULE:
            continue
        for node in module.tree().body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(module.name)
    several = {name: places for name, places in found.items() if len(places) > 1}
    wrong = {name: places for name, places in several.items() if name not in rules.SAME_NAMES}
    assert not wrong, wrong
    assert set(several) == set(rules.SAME_NAMES), "listed, and not needed any more"


def test_no_definition_has_a_name_that_was_given_up() -> None:
    wrong = []
    for module in source.modules():
        for name, node, _ in source.definitions(module.tree()):
            words = re.split(r"_|(?<=[a-z])(?=[A-Z])", name.rpartition(".")[2])
            given_up = {word for word in words if word.lower() in rules.VERBS_GIVEN_UP}
            if given_up:
                wrong.append(f"{module.name}:{node.lineno}: {name}")  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)
