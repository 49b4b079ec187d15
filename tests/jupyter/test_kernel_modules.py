"""A real kernel: modules that are edited on disk while the notebook runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)

MODULE = "def value(): return {n}\n\nclass Box:\n    def inside(self): return {n}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[KernelSession]:
    session = KernelSession(tmp_path_factory.mktemp("kernel"))
    session.run(f"import sys\nsys.path.insert(0, {str(folder)!r})")
    session.run("%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart\nimport raynb as ray")
    yield session
    session.close()


def write(file: Path, n: int) -> None:
    """Writes the module's ``n``-th version, with a later time of change than the one before."""
    file.write_text(MODULE.format(n=n))
    os.utime(file, (1_700_000_000 + 10 * n, 1_700_000_000 + 10 * n))


@pytest.mark.parametrize("loaded", ["after", "before"])
def test_autoreload_reaches_the_workers(notebook: KernelSession, folder: Path, loaded: str) -> None:
    """Also where ``%autoreload`` was loaded before raynb's own look at the start of a cell."""
    module = f"edited_{loaded}"
    file = folder / f"{module}.py"
    write(file, 1)
    notebook.run("%load_ext autoreload\n%autoreload 2")
    if loaded == "before":
        notebook.run("%unload_ext raynb\n%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart")
    notebook.run(f"import {module}\nfrom {module} import value, Box")
    notebook.run(
        f"@ray.remote\ndef whole():\n    return {module}.value()\n"
        "@ray.remote\ndef part():\n    return value()\n"
        "@ray.remote\ndef held(box):\n    return box.inside()\nbox = Box()"
    )
    calls = "ray.get([f.remote() for f in (whole, part) for _ in range(4)] + [held.remote(box)])"
    assert notebook.run(calls).shown[-1:] == [str([1] * 9)]
    cell = f"%%remote --get\nseen = ({module}.value(), value(), Box().inside())"
    notebook.run(cell)
    assert notebook.run("seen").shown == ["(1, 1, 1)"]
    for version in (2, 3):
        write(file, version)
        assert notebook.run(calls).shown[-1:] == [str([version] * 9)], "the same definitions, in the next cell"
        notebook.run(cell)
        assert notebook.run("seen").shown == [f"({version}, {version}, {version})"]
    notebook.run("%autoreload 0")


def test_a_module_that_was_loaded_again_by_hand(notebook: KernelSession, folder: Path) -> None:
    write(folder / "by_hand.py", 1)
    notebook.run("import importlib, by_hand\n@ray.remote\ndef hand():\n    return by_hand.value()")
    assert notebook.run("ray.get([hand.remote() for _ in range(4)])").shown[-1:] == ["[1, 1, 1, 1]"]
    write(folder / "by_hand.py", 2)
    notebook.run("importlib.reload(by_hand);")
    assert notebook.run("ray.get([hand.remote() for _ in range(4)])").shown[-1:] == ["[2, 2, 2, 2]"]


def test_a_module_that_is_broken_for_a_while_says_so(notebook: KernelSession, folder: Path) -> None:
    write(folder / "broken.py", 1)
    notebook.run("import importlib, broken\n@ray.remote\ndef use():\n    return broken.value()\nray.get(use.remote())")
    (folder / "broken.py").write_text("def value(: return 2\n")
    notebook.run("try:\n    importlib.reload(broken)\nexcept SyntaxError:\n    pass")
    assert notebook.run("ray.get(use.remote())").shown[-1:] == ["1"], "the kernel's module is the old one too"
