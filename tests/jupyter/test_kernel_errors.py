"""A real kernel: what an error shows, and what it leaves out."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)

DEFINITIONS = """
@ray.remote
def fails(n=0):
    raise ValueError(f"deep {n}")
@ray.remote
def passes(x):
    return x
@ray.remote
class Shard:
    def __init__(self, n):
        self.n = n
    def __repr__(self):
        return f"Shard({self.n})"
    def work(self):
        raise KeyError(self.n)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "asyncio, json")
    session.run("%config Raynb.progress = False")  # a slow machine would show bars
    session.run(DEFINITIONS)
    yield session
    session.close()


def error(notebook: KernelSession, code: str) -> str:
    """Runs a cell that fails; returns what it shows, in which nothing may be raynb's or the notebook's."""
    run = notebook.run(code, ok=False)
    assert run.status == "error"
    shown = run.error
    assert shown, run.outputs
    for word in ("/raynb/", "IPython/", "ipykernel/", "Traceback (most recent call last):\n"):
        assert word not in shown, shown
    return shown


def test_a_chain_of_tasks_shows_each_task_on_the_way(notebook: KernelSession) -> None:
    shown = error(notebook, "ray.get(passes.remote(passes.remote(fails.remote())))")
    assert shown.count("In task passes, an argument of which failed:") == 2
    assert "In task fails (pid " in shown
    assert shown.count("raise ValueError") == 1
    assert shown.endswith("ValueError: deep 0")
    caught = notebook.run(
        "try:\n    ray.get(passes.remote(fails.remote(1)))\nexcept ValueError as error:\n"
        "    print(type(error.cause), error.cause.args)"
    )
    assert caught.text == "<class 'ValueError'> ('deep 1',)\n"


def test_an_actors_error_says_which_actor(notebook: KernelSession) -> None:
    notebook.run("shards = [Shard.remote(n) for n in range(3)]")
    shown = error(notebook, "ray.get([shard.work.remote() for shard in shards])")
    assert any(f"In Shard.work of Shard({n}) (pid " in shown for n in range(3))
    assert ", actor " in shown


def test_frames_of_libraries_are_one_line(notebook: KernelSession) -> None:
    hook = "def hook(pair):\n    raise OSError('mine')\njson.loads('[{\"a\": 1}]', object_hook=hook)\n"
    shown = error(notebook, f"%%remote --wait\n{hook}")
    places = [line.strip() for line in shown.splitlines() if line.startswith(("Cell", "File")) or "…" in line]
    assert "frames in json (all of them: %raynb error --full)" in places[-2]
    assert places[-3].startswith("Cell In[")  # the user's line first
    assert places[-1].endswith("in hook")  # and last
    full = notebook.run("%raynb error --full").text
    assert "json/decoder.py" in full
    assert "…" not in full
    short = notebook.run("%raynb error").text
    assert "json/decoder.py" not in short
    assert "OSError" in short


def test_chained_errors_of_a_library_do_not_bury_the_users_line(notebook: KernelSession) -> None:
    pytest.importorskip("pandas")
    shown = error(notebook, "%%remote --wait\nimport pandas\ntable = pandas.DataFrame({'a': [1]})\nx = table['nope']")
    assert "x = table['nope']" in shown
    assert "frames in pandas" in shown
    assert len(shown.splitlines()) < 25


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups of exceptions")
def test_groups_of_errors_show_each_once(notebook: KernelSession) -> None:
    part = "async def part(n):\n    {}\n"
    grouped = part + "async with asyncio.TaskGroup() as group:\n    for n in range(2): group.create_task(part(n))"
    gathered = part + "raise ExceptionGroup('two', await asyncio.gather(part(0), part(1), return_exceptions=True))"
    made = "ExceptionGroup('two', [ValueError('deep 0'), ValueError('deep 1')])"
    for code in (
        "%%remote --get\n" + grouped.format("raise ValueError(f'deep {n}')"),
        gathered.format("await fails.remote(n)"),
        f"@ray.remote\ndef many():\n    raise {made}\nray.get(many.remote())",
    ):
        shown = error(notebook, code)
        for n in range(2):
            assert shown.count(f"ValueError: deep {n}\n") == 1, shown
        assert "(2 sub-exceptions)" in shown
        assert "asyncio/" not in shown
        assert not [line for line in shown.splitlines() if 'File "' in line]


def test_what_cannot_travel_shows_no_frames_of_ours_and_ends_in_full_stops(notebook: KernelSession) -> None:
    notebook.run("stream = (n for n in range(3))")
    for code in ("%%remote\nx = list(stream)", "ray.put(stream)", "passes.remote(stream)", "ray.get(5)"):
        shown = error(notebook, code)
        assert "cloudpickle" not in shown
        assert len(shown.splitlines()) < 12
    shown = error(notebook, "%%remote\nx = list(stream)")
    assert shown.rstrip().endswith(".")
    assert "object. Make it inside the cell" in shown


def test_a_loop_says_which_item(notebook: KernelSession) -> None:
    body = "if depth == 2: raise ValueError('too deep')\nscore = depth"
    notebook.run(f"%%remote --each depth in range(4) --chunk 2\n{body}")
    run = notebook.run("%get score\nprint([type(part).__name__ for part in score])")
    assert run.printed("stdout") == "['int', 'int', 'ObjectRef', 'int']\n"
    assert run.printed("stderr") == "%get score: 1 of 4 failed and stay refs:\n  score[2]: ValueError: too deep\n"
    assert "] depth=2 (pid " in error(notebook, "ray.get(score[2])")
    alone = error(notebook, "%%remote --wait --each pair in [(1, 'x')]\nraise ValueError(pair)")
    assert "] pair=(1, 'x') (pid " in alone
    said = notebook.run("%%remote --wait --each depth in range(2)\nprint('at', depth)")
    assert "] depth=1#" in said.text


def test_a_frozen_dataclass_can_be_raised(notebook: KernelSession) -> None:
    notebook.run(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Frozen(Exception):\n    code: int\n"
        "@ray.remote\ndef fails():\n    try:\n        raise Frozen(1)\n    except Frozen as first:\n"
        "        raise Frozen(2) from first\n"
        "@ray.remote\nclass Fails:\n    def call(self):\n        raise Frozen(3)\n"
        "@ray.remote\nclass FailsLater:\n    async def call(self):\n        raise Frozen(4)"
    )
    run = notebook.run(
        "for ref in (fails.remote(), Fails.remote().call.remote(), FailsLater.remote().call.remote()):\n"
        "    try:\n        ray.get(ref)\n    except Frozen as error:\n"
        "        print(error.code, error.cause, error.cause.__cause__)"
    )
    assert run.text.splitlines() == ["2 2 1", "3 3 None", "4 4 None"]
