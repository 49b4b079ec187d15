"""A real kernel: profiles of tasks, against shares that the tasks measure themselves."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)

#: Three kinds of work; the task says how long each took, so that a busy machine changes nothing.
WORK = """\
import time
def spins(seconds):
    end = time.perf_counter() + seconds
    n = 0
    while time.perf_counter() < end:
        n += sum(range(50))
def sorts(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sorted(range(2000), key=lambda v: -v)
def sleeps(seconds):
    time.sleep(seconds)
def measured():
    took = [0.0, 0.0, 0.0]
    for part in range(12):  # in turns, so that moments in which the machine does something else hit all of them
        for number, (work, seconds) in enumerate(((spins, 0.12), (sorts, 0.06), (sleeps, 0.04))):
            began = time.perf_counter()
            work(seconds)
            took[number] += time.perf_counter() - began
    return took
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os")
    session.run(WORK)
    yield session
    session.close()


def flame_graph(run: Run) -> dict[str, float]:
    """Returns label → share of the boxes of the flame graph that a cell shows, the first of each label."""
    pages = [content["data"]["text/html"] for kind, content in run.outputs
             if "text/html" in content.get("data", {}) and "raynb-flame" in content["data"]["text/html"]]  # fmt: skip
    assert len(pages) == 1, run.outputs
    found: dict[str, float] = {}
    for share, name in re.findall(r'data-w="([\d.]+)" data-n="([^"]*)"', pages[0]):
        found.setdefault(html.unescape(name).partition(",")[0], 0.0)
        found[html.unescape(name).partition(",")[0]] += float(share)
    assert "http" not in pages[0].partition("<script>")[0]  # it needs nothing else
    return found


def plain(run: Run) -> str:
    shown = [content["data"] for _, content in run.outputs if "data" in content]
    return next(data["text/plain"] for data in shown if "raynb-flame" in data.get("text/html", ""))


@pytest.mark.parametrize("each", ["", "--each i in range(3)"])
def test_the_shares_of_a_flame_graph_are_those_of_the_task(notebook: KernelSession, each: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    run = notebook.run(f"%%remote took --get --profile --save {file} {each}\ntook = measured()")
    shown = flame_graph(run)
    took = json.loads(notebook.run("import json; print(json.dumps(took))").outputs[0][1]["text"])
    runs = took if each else [took]
    total = sum(map(sum, runs))
    for number, name in enumerate(("spins", "sorts", "sleeps")):
        share = sum(part[number] for part in runs) / total
        assert abs(shown[name] - share) < 0.1, (name, share, shown)
    text = plain(run)
    assert " % in " in text
    assert "called from In[" in text
    assert f"{3 if each else 1} task" in text
    saved = json.loads(file.read_text())
    assert saved["$schema"].startswith("https://www.speedscope.app")
    names = {frame["name"] for frame in saved["shared"]["frames"]}
    assert {"spins", "sorts", "sleeps", "measured"} <= names


#: Runs until the gate is there, and allocates time and again.
BUSY = """\
gate = os.path.join(os.environ['TMPDIR'], 'profile-gate')
@ray.remote
def busy():
    while not os.path.exists(gate):
        kept = [bytes(1000) for _ in range(4000)]
ref = busy.remote()
while ray.util.state.get_task(ref).state != 'RUNNING': time.sleep(0.02)
"""


def test_what_runs_already_is_profiled(notebook: KernelSession) -> None:
    notebook.run(BUSY)
    run = notebook.run("%raynb profile ref --seconds 1")
    assert flame_graph(run)["busy"] > 0.9
    text = notebook.run("%raynb profile ref --memory --seconds 1").text
    assert "allocated by Python" in text
    assert "kept = [bytes(1000)" in text.splitlines()[1]
    notebook.run("open(gate, 'w').close(); ray.get(ref)")


def test_memory_is_named_by_the_line_that_allocated_it(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait --profile-memory\nkept = [bytes(1000) for _ in range(40_000)]\nn = len(kept)")
    first, second = run.text.splitlines()[:2]
    assert "allocated by Python" in first
    assert "kept = [bytes(1000)" in second
