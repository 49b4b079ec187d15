"""What is around a task goes into its key, or makes it unsure, without a runtime."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError

import raynb as ray
from raynb.base import engine as engines
from raynb.base.process import surroundings
from raynb.jupyter.cells.analysis import analyse
from raynb.jupyter.kept import keys
from raynb.jupyter.kept.results import Kept
from raynb.jupyter.magics.kept import forget
from raynb.jupyter.on_worker.runner import CellJob
from raynb.keeping import session, values
from raynb.keeping.box import Box, Entry
from raynb.keeping.versions import Unsure
from raynb.util import kept_functions


class Engine:
    """Has the part of an engine that keys are made with."""

    nonce = 77
    driver = None

    def __init__(self, **job_env: Any) -> None:
        self.job_env = job_env

    def context(self) -> Any:
        return SimpleNamespace(task=None)


ENVS: list[dict[str, Any]] = [{}, {"env_vars": {"MODE": "a"}}, {"env_vars": {"MODE": "b"}}]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a `Kept` needs of a notebook."""
    monkeypatch.setattr(session, "provider", None)
    monkeypatch.setattr(session, "follows", None)
    monkeypatch.setattr(engines, "before_stop", [])
    return SimpleNamespace(config=SimpleNamespace(follow=["env"]))


def kept_call() -> Any:
    return kept_functions.keep(ray.remote(lambda x: x))


def test_what_every_task_inherits_is_in_the_key_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_first_folder", surroundings.folder())

    def key(env: dict[str, Any]) -> str:
        found: list[str] = []
        box = SimpleNamespace(lookup=found.append)
        monkeypatch.setattr(engines, "current", lambda: Engine(**env))
        monkeypatch.setattr(kept_functions, "options_for", lambda *_: {})
        monkeypatch.setattr(session, "provider", lambda: SimpleNamespace(box=box))
        with pytest.raises(TypeError):  # what the box has found
            kept_call().remote(1)
        return str(found[0])

    assert len({key(env) for env in ENVS}) == 3
    assert key(ENVS[1]) == (before := key(dict(ENVS[1])))
    monkeypatch.chdir(tmp_path)
    assert key(ENVS[1]) != before
    monkeypatch.setattr(session, "_first_folder", surroundings.folder())  # as a project that was moved
    assert key(ENVS[1]) == before


def test_tasks_that_do_not_follow_count_by_the_folder_that_they_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = Engine()
    engines.starts[engine] = engines.Start(0, {}, folder=surroundings.folder())
    monkeypatch.setattr(session, "_first_folder", surroundings.folder())
    monkeypatch.chdir(tmp_path)
    assert session.folder_facts(engine, ()) == []
    assert session.folder_facts(engine, ["path", "cwd"]) != []


def test_what_every_task_inherits_is_in_the_key_of_a_cell(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(notebook)
    monkeypatch.setattr(kept, "box", lambda: None)
    monkeypatch.setattr(kept, "_not_kept", lambda *_: None)
    key_of_cell, found = keys.key_of_cell, []

    def stops(*arguments: Any) -> str:
        found.append(key_of_cell(*arguments))
        raise Unsure("that is enough")

    monkeypatch.setattr(keys, "key_of_cell", stops)
    code = analyse("y = 1")
    job = CellJob("y = 1", "", "y = 1", ("y",))
    monkeypatch.setattr(session, "_first_folder", surroundings.folder())
    for env in [*ENVS, ENVS[1], {}]:
        if env is not ENVS[0] and not env:
            monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(engines, "current", lambda env=env: Engine(**env))
        assert kept.plan(SimpleNamespace(code=code), job, {}, {}, [], [], None, False) is None  # type: ignore[arg-type]
    assert len(set(found)) == 4
    assert found[1] == found[3]


def test_a_call_follows_the_environment_where_the_notebook_says_so(
    notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follows() -> Any:
        found: list[Any] = []
        monkeypatch.setattr(kept_functions, "options_for", lambda *given: found.append(given[-1]) or {})
        with pytest.raises(TypeError):
            kept_call().remote(1)
        return found[0]

    monkeypatch.setattr(engines, "current", Engine)
    keeper = SimpleNamespace(box=SimpleNamespace(lookup=lambda _: None))
    monkeypatch.setattr(surroundings, "look", lambda _: surroundings.Mark())
    monkeypatch.setattr(Kept, "keeper", lambda _: keeper)
    kept = Kept(notebook)
    assert follows() == ["env"]
    notebook.config.follow = ["path"]
    assert follows() == ["path"]
    monkeypatch.setattr(kept, "close", lambda: None)
    kept.uninstall()
    assert session.follows is None


def test_names_are_forgotten_of_this_notebook_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / name) for name in ("a.ipynb", "b.ipynb", "was.ipynb")]
    boxes = [Box(str(tmp_path / "kept"), lambda: 10**9, print) for _ in paths]
    for number, (path, box) in enumerate(zip(paths, boxes, strict=True)):
        if "was" not in path:  # that one was renamed
            Path(path).touch()
        box.notebook = path
        box.add([Entry(f"{name}{number}", "In[1]", "", {name: values.write(box.folder, 1)}) for name in ("x", path)])
    boxes[1].add([Entry("y", "In[2]", "", {"y": values.write(boxes[1].folder, 1)})])
    assert boxes[0].lookup(["y"])  # by now both use it

    def forgotten(line: str, path: str, after: float = 0.0) -> set[str]:
        before = boxes[0].entries()
        kept = SimpleNamespace(
            exists=lambda: True, ages=lambda: (before, time.time() + after), box=lambda: boxes[0], session=lambda: path
        )
        forget(SimpleNamespace(kept=kept), line)
        return {entry.key for entry in before} - {entry.key for entry in boxes[0].entries()}

    with pytest.raises(UsageError, match=r"of this notebook has an output 'y', but of a\.ipynb, b\.ipynb"):
        forgotten("y", str(tmp_path / "c.ipynb"))
    with pytest.raises(UsageError, match="no kept result has an output 'z'"):
        forgotten("z", paths[0])
    assert forgotten("--older 1h x", paths[0]) == set()
    assert forgotten("x y", paths[0]) == {"x0", "x2", "y"}
    assert forgotten("x", "") == {"x1"}
    assert forgotten("--older 1h", paths[0], 7_200.0) == {f"{path}{number}" for number, path in enumerate(paths)}
    assert "Forgot 3 kept results" in capsys.readouterr().out
    for box in boxes:
        box.close()
