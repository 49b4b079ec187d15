"""A name that means something else by now, and one that only was written again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from raynb.api import definitions
from raynb.api.actor import ActorClass
from raynb.api.remote_function import RemoteFunction
from raynb.base.process.surroundings import Mark
from raynb.serde import functions

NAME = "a_module_of_a_user"


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = sys.modules[NAME] = ModuleType(NAME)
    yield made
    del sys.modules[NAME]
    for key in [key for key in definitions._sent if key.startswith("test-")]:
        del definitions._sent[key]


def run(module: ModuleType, source: str) -> Any:
    exec(compile(source, "<cell>", "exec"), module.__dict__)
    return module.__dict__


F = "def f(x, k=1):\n    return [x + k for _ in range(3)]\n"


def test_a_function_that_was_redefined(module: ModuleType) -> None:
    definitions.record("test-f", run(module, F)["f"])
    assert definitions.redefined("test-f") == ""
    run(module, "\n\n# moved, and a comment\n" + F)
    assert definitions.redefined("test-f") == "", "the same code, run again"
    for other in ("x - k", "x + 2 * k"):
        run(module, F.replace("x + k", other))
        assert definitions.redefined("test-f") == "f"
    run(module, F.replace("k=1", "k=2"))
    assert definitions.redefined("test-f") == "f"
    module.f = RemoteFunction(run(module, F)["f"], {})  # type: ignore[attr-defined]
    assert definitions.redefined("test-f") == "", "what `remote` was given counts"
    del module.f
    assert definitions.redefined("test-f") == "", "a name that is gone means nothing else"


def test_what_uses_a_module_that_was_loaded_again_in_place_is_pickled_anew(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is looked through by the names it uses: they mean the objects that they meant, with new insides."""
    monkeypatch.setattr(definitions, "CHEAP_SECONDS", -1.0)
    space = {"helper": run(module, "def helper():\n    return 1\n")["helper"], "__name__": "__main__"}
    exec("def f():\n    return helper()\n", space)
    engine: Any = Mock()
    first = definitions.current(engine, space["f"], "f", None, Mark("", b""))
    assert definitions.current(engine, space["f"], "f", first, Mark("", b"")) is first
    old = space["helper"]
    old.__code__ = run(module, "def helper():\n    return 2\n")["helper"].__code__  # as %autoreload does it
    definitions.modules_were_loaded_again()
    second = definitions.current(engine, space["f"], "f", first, Mark("", b""))
    assert second.key != first.key
    assert functions.load(second.packed.data)() == 2


C = """class C:
    limit = 3
    def add(self, n):
        return self.limit + n
    @property
    def p(self):
        return 1
"""
CHANGES = [("+ n", "- n"), ("limit = 3", "limit = 4"), ("return 1", "return 2"), ("add", "sub")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_class_that_was_redefined(module: ModuleType, change: tuple[str, str]) -> None:
    definitions.record("test-c", run(module, C)["C"])
    module.C = ActorClass(run(module, "\n" + C)["C"], {})  # type: ignore[attr-defined]
    assert definitions.redefined("test-c") == ""
    module.C = ActorClass(run(module, C.replace(*change))["C"], {})  # type: ignore[attr-defined]
    assert definitions.redefined("test-c") == "C"


def test_names_that_say_nothing(module: ModuleType) -> None:
    definitions.record("test-l", run(module, "f = lambda: 1")["f"])
    definitions.record("test-n", object())
    assert definitions.redefined("test-l") == definitions.redefined("test-n") == definitions.redefined("") == ""
