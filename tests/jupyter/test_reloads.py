"""A module that is loaded again keeps its functions and classes, with new insides."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raynb.jupyter.module_reloads import load_again
from raynb.jupyter.on_worker.module_reload import renew

NAME = "a_module_that_is_edited"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / f"{NAME}.py"
    sys.modules.pop(NAME, None)


def load(file: Path, text: str) -> Any:
    """Writes the module and loads it, the first time or again."""
    again = NAME in sys.modules
    file.write_text(text)
    if not again:
        importlib.invalidate_caches()
        return importlib.import_module(NAME)
    module: ModuleType = sys.modules[NAME]
    renew(module)
    return module


def test_functions_and_classes_stay_the_same_objects(file: Path) -> None:
    text = "def f(x, k={n}):\n    return x + k\nclass C:\n    limit = {n}\n    def get(self):\n        return {n}\n"
    module = load(file, text.format(n=1) + "    def gone(self): pass\n")
    f, kind, box = module.f, module.C, module.C()
    get = box.get
    for n in (2, 3):
        load(file, text.format(n=n) + "    def new(self):\n        return self.limit\n")
        assert (module.f, module.C) == (f, kind)
        assert (f(1), box.get(), get(), box.limit, box.new(), hasattr(box, "gone")) == (1 + n, n, n, n, n, False)


def test_what_cannot_take_over_is_replaced(file: Path) -> None:
    module = load(file, "class A:\n    pass\nclass B(A):\n    pass\ndef f():\n    return 1\nn = 1\n")
    old = module.B
    load(file, "class A:\n    pass\nclass B:\n    pass\nf = 5\nn = 2\n")
    assert module.B is not old
    assert (module.f, module.n) == (5, 2)


def test_a_module_that_does_not_compile_stays_as_it_was(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = load(file, "def f():\n    return 1\n")
    file.write_text("def f(:\n")
    load_again([NAME, "a_module_that_nobody_has"])
    assert module.f() == 1
    assert f"the module {NAME} could not be loaded again: SyntaxError" in capsys.readouterr().out
    assert os.path.exists(file)
