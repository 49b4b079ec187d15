"""The name `ray` in a notebook that uses raynb by it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import raynb
from raynb.jupyter.taken_names import NameWatch


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stands for Ray's own module."""
    module = ModuleType("ray")
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


class Notebook:
    def __init__(self, **names: object) -> None:
        self.names: dict[str, object] = dict(names)
        self.said: list[int] = []
        self.watch = NameWatch(self.names, self._say)
        self.count = 0

    def _say(self, scope: int, text: str) -> None:
        assert "import raynb as ray" in text
        self.said.append(scope)

    def run(self, source: str, **bound: object) -> list[int]:
        """Ends a cell that has bound these names; returns in which cells something was said of it."""
        self.count += 1
        self.names.update(bound)
        self.said.clear()
        cell: Any = SimpleNamespace(scope=self.count, source=source)
        self.watch.cell_ended(cell, None)
        return self.said.copy()


def test_a_cell_that_makes_ray_rays_own_is_told_so_once(theirs: ModuleType) -> None:
    notebook = Notebook()
    assert notebook.run("import raynb as ray", ray=raynb) == []
    assert notebook.run("import ray.data", ray=theirs) == [2]
    assert notebook.run("ray.get(ref)") == []
    assert notebook.run("import raynb as ray", ray=raynb) == []
    assert notebook.run("from ray import data", data=theirs) == []
    assert notebook.run("import ray", ray=theirs) == [6]


def test_both_imports_in_one_cell_and_a_name_from_before_the_extension_count_too(theirs: ModuleType) -> None:
    assert Notebook().run("import os, raynb as ray\nimport ray.data", ray=theirs) == [1]
    assert Notebook().run("if True:\n    import raynb as ray\n    import ray.data", ray=theirs) == [1]
    assert Notebook(ray=raynb).run("import ray.data", ray=theirs) == [1]


def test_who_uses_ray_by_its_own_name_or_another_thing_by_that_name_hears_nothing(theirs: ModuleType) -> None:
    notebook = Notebook()
    assert notebook.run("import ray, raynb", ray=theirs) == []
    assert notebook.run("import raynb as raynb_, ray", ray=theirs) == []
    assert notebook.run("import raynb as ray", ray=raynb) == []
    assert notebook.run("ray = 5", ray=5) == []
    assert notebook.run("import raynb as ray", ray=raynb) == []
    notebook.names.clear()
    assert notebook.run("%reset -f") == []
    assert notebook.run("import ray", ray=theirs) == []
