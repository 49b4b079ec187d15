"""Files, classes and functions stay small; each one that does not is listed with its reason."""

from __future__ import annotations

import ast
from collections import Counter

from . import rules, source


def too_long() -> dict[str, str]:
    """Key of `rules.TOO_LONG` → what is wrong, for everything over a limit."""
    found = {}
    for path in source.tracked():
        name = str(path.relative_to(source.ROOT))
        if path.suffix not in (".py", ".ts", ".tsx", ".css", ".mjs", ".js"):
            continue
        text = source.text_of(path)
        if text is None:
            continue
        lines = len(text.splitlines())
        if lines > rules.FILE_LINES:
            found[name] = f"{lines} lines; the limit is {rules.FILE_LINES}"
        if path.suffix != ".py":
            continue
        for qualified, node, length in source.definitions(source.parsed(path)):
            limit = rules.CLASS_LINES if isinstance(node, ast.ClassDef) else rules.FUNCTION_LINES
            if length > limit:
                found[f"{name}::{qualified}"] = f"{length} lines; the limit is {limit}"
    return found


def test_nothing_is_over_its_limit_unless_listed() -> None:
    wrong = {key: why for key, why in too_long().items() if key not in rules.TOO_LONG}
    assert not wrong, "\n".join(f"{key}: {why}" for key, why in wrong.items())


def test_folders_hold_few_enough_modules_to_be_read_at_a_glance() -> None:
    counts = Counter(
        str(path.parent.relative_to(source.ROOT))
        for path in source.tracked()
        if path.suffix == ".py" and source.PACKAGE in path.parents and path.name != "__init__.py"
    )
    wide = {folder: count for folder, count in counts.items() if count > rules.FOLDER_MODULES}
    assert set(wide) == set(rules.WIDE_FOLDERS), wide
    assert all(rules.WIDE_FOLDERS.values())


def test_each_listed_exception_is_needed_and_has_a_reason() -> None:
    assert all(rules.TOO_LONG.values())
    assert set(rules.TOO_LONG) <= set(too_long())


def test_lengths_are_counted_with_decorated_and_nested_definitions() -> None:
    tree = ast.parse("class A:\n    def f(self):\n        def g():\n            pass\n        return g\n")
    assert [(name, length) for name, _, length in source.definitions(tree)] == [
        ("A", 5),
        ("A.f", 4),
        ("A.f.g", 2),
    ]
