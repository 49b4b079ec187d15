"""A real kernel: profiles of tasks, against shares that the tasks count themselves."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)

#: Three kinds of work, each until the sampler has taken so many samples more, which all count the same: the shares are
#: known whatever else the machine does.
WORK = """\
import gc, time
def spins():
    n = 0
    for _ in range(200):
        n += sum(range(50))
def sorts():
    sorted(range(2000), key=lambda v: -v)
def sleeps():
    time.sleep(0.002)
def counted():
    from raynb.run.inspection.sampler import Sampler
    mine = next(one for one in gc.get_objects() if type(one) is Sampler and one._thread.is_alive())
    sample = mine._sample
    mine._sample = lambda own, seconds: sample(own, seconds and 0.01)
    counts = [mine._samples]
    for work, samples in ((spins, 60), (sorts, 30), (sleeps, 20)):
        while mine._samples < counts[-1] + samples:
            work()
        counts.append(mine._samples)
    return [after - before for before, after in zip(counts, counts[1:])]
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os")
    session.run(WORK)
    session.run("from raynb.jupyter.inspection import collecting\ncollecting.ANSWER_SECONDS = 100.0")
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
    run = notebook.run(f"%%remote took --get --profile --save {file} {each}\ntook = counted()")
    shown = flame_graph(run)
    took = json.loads(notebook.run("import json; print(json.dumps(took))").text)
    runs = took if each else [took]
    names = ("spins", "sorts", "sleeps")
    total, drawn = sum(map(sum, runs)), sum(shown[name] for name in names)
    for number, name in enumerate(names):
        share = sum(part[number] for part in runs) / total
        assert abs(shown[name] / drawn - share) < 0.05, (name, share, shown)
    text = plain(run)
    assert " % in " in text
    assert "called from In[" in text
    assert f"{3 if each else 1} task" in text
    saved = json.loads(file.read_text())
    assert saved["$schema"].startswith("https://www.speedscope.app")
    assert {*names, "counted"} <= {frame["name"] for frame in saved["shared"]["frames"]}


#: Runs until the gate is there, and allocates time and again.
BUSY = """\
gate = os.path.join(os.environ['TMPDIR'], 'profile-gate')
@ray.remote
def busy():
    block = b'x' * 400_000_000
    open(gate + '-begun', 'w').close()
    while not os.path.exists(gate):
        kept = [bytes(1000) for _ in range(4000)]
ref = busy.remote()
while not os.path.exists(gate + '-begun'): time.sleep(0.02)
"""


def test_what_runs_already_is_profiled(notebook: KernelSession) -> None:
    notebook.run(BUSY)
    notebook.run(
        "from raynb.base import engine, ids\n"
        "while engine.current().rows(tasks=[ids.task_of(ref._id)]).tasks[0].added < 350_000_000: time.sleep(0.05)"
    )
    assert re.search(r"busy#\S+ +running .* \+[34]\d\d MB", notebook.run("%raynb tasks busy").text)
    run = notebook.run("%raynb profile ref --seconds 1")
    assert flame_graph(run)["busy"] > 0.9
    text = notebook.run("%raynb profile ref --memory --seconds 1").text
    assert "allocated by Python" in text
    assert "kept = [bytes(1000)" in text.splitlines()[1]
    notebook.run("open(gate, 'w').close(); ray.get(ref)")


FORKS = """\
%%remote --get --profile-memory
kept = [bytes(1000) for _ in range(8_000)]
child = os.fork()
if child: os.waitpid(child, 0)
kept = child > 0
"""


def test_memory_is_named_by_the_line_that_allocated_it(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait --profile-memory\nkept = [bytes(1000) for _ in range(8_000)]\nn = len(kept)")
    first, second = run.text.splitlines()[:2]
    assert "allocated by Python" in first
    assert "kept = [bytes(1000)" in second
    run = notebook.run(FORKS)  # the child has neither
    assert "allocated by Python" in run.text
    assert "Traceback" not in run.text
