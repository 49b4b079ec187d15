"""What may only get better: public names without a text, and places where the type checker sees nothing."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from . import rules, source


def house_figures() -> Any:
    sys.path.insert(0, str(source.ROOT / "scripts"))
    try:
        import house_figures
    finally:
        sys.path.pop(0)
    return house_figures


def test_every_public_class_and_function_says_what_it_is() -> None:
    figures = house_figures()
    bare = [f"{module.name}: {name}" for module in source.modules() for name in figures.undocumented(module.tree())]
    assert not bare, "\n".join(bare)


def test_modules_in_circles_of_imports_only_fall() -> None:
    figures = house_figures()
    found = {module.name: (module.path, "", module.tree()) for module in source.modules()}
    assert figures.circles(found, typing_too=False) == 0
    assert figures.circles(found, typing_too=True) <= rules.CIRCLES
    core = {name: entry for name, entry in found.items() if figures.part_of(name) == "core"}
    assert figures.circles(core, typing_too=True) == 0


def test_any_and_type_ignores_of_a_part_only_fall() -> None:
    figures = house_figures()
    uses: Counter[str] = Counter()
    ignores: Counter[str] = Counter()
    for module in source.modules():
        uses[module.part] += figures.uses_of_any(module.tree())
        ignores[module.part] += len(figures.IGNORE.findall(module.path.read_text(encoding="utf-8")))
    assert set(rules.UNTYPED) == set(rules.MAY_IMPORT)
    wrong = [
        f"{part or 'raynb/__init__.py'}: `{what}` {counts[part]} times, at the most {most}"
        for part, ceilings in rules.UNTYPED.items()
        for what, counts, most in (("Any", uses, ceilings[0]), ("type: ignore", ignores, ceilings[1]))
        if counts[part] > most
    ]
    assert not wrong, "\n".join(wrong)
