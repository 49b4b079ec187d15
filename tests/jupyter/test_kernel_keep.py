"""A real kernel: results that outlive it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)

Start = Callable[..., KernelSession]

MARK = "open('ran', 'a').write('x')"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts kernels in one folder, one after the other."""
    sessions: list[KernelSession] = []

    def begin(place: str = str(tmp_path / "kept")) -> KernelSession:
        while sessions:
            sessions.pop().close()
        home = tmp_path / f"kernel{len(list(tmp_path.iterdir()))}"
        home.mkdir()
        session = KernelSession.with_raynb(home, "os, time")
        sessions.append(session)
        session.run(f"os.environ['XDG_CACHE_HOME'] = {str(home / 'cache')!r}")  # of a place, it has no copies yet
        session.run(f"%config Raynb.keep_directory = {place!r}")
        session.run(f"os.chdir({str(tmp_path)!r})")
        return session

    yield begin
    for session in sessions:
        session.close()


def runs(tmp_path: Path) -> int:
    """Returns how often a cell with `MARK` really ran."""
    path = tmp_path / "ran"
    return len(path.read_text()) if path.exists() else 0


def flush(session: KernelSession) -> None:
    text = session.run("from raynb.jupyter import notebook as nb; print(nb.loaded().kept.flush(60))").text
    assert text == "True\n"


CELL = f"%%remote --wait --keep\nprint('working')\n{MARK}\nresult = helper(data) + scale\nresult * 2"
SETUP = "import numpy as np\nscale = 10\ndef inner(x):\n    return x.sum()\ndef helper(x):\n    return inner(x)"


def test_a_cell_is_ready_after_a_restart_and_runs_again_when_anything_it_depends_on_is_another(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    first.run(SETUP)
    first.run("data = np.arange(1000.0)")
    run = first.run(CELL)
    first.until(lambda: "working" in run.text)
    assert first.run("print(ray.get(result))").text == "499510.0\n"
    flush(first)
    again = first.run(CELL)
    assert "working\n" in again.text
    assert any(line.startswith("kept from ") and ", it took " in line for line in again.shown)
    assert "np.float64(999020.0)" in again.shown or "999020.0" in again.shown
    assert first.run("print(ray.get(result), ray.get(_))").text == "499510.0 999020.0\n"
    assert runs(tmp_path) == 1

    second = start()
    second.run(SETUP)
    second.run("data = np.arange(1000.0)")
    assert any("kept from" in line for line in second.run(CELL + "  # another comment").shown)
    assert second.run("print(ray.get(result))").text == "499510.0\n"
    assert runs(tmp_path) == 1
    changes = (
        "scale = 11", "def inner(x):\n    return x.sum() + 1", "data = np.arange(1001.0)",
        "data = np.arange(1001)", "scale = 11.0", "%%everywhere\nPREPARED = 1", "np.set_printoptions(precision=3)",
        "def helper(x):\n    return inner(x) * int(os.environ.get('FACTOR', 1))", "os.environ['FACTOR'] = '2'",
    )  # fmt: skip
    for number, change in enumerate(changes):
        second.run(change)
        second.run(CELL)
        assert runs(tmp_path) == 2 + number, change
    second.run(CELL.replace("--keep", "--keep --fresh"))
    assert runs(tmp_path) == 2 + len(changes)
    flush(second)
    second.run("%config Raynb.keep = True")
    assert any("kept from" in line for line in second.run(CELL.replace(" --keep", "")).shown)
    assert runs(tmp_path) == 2 + len(changes)
    second.run("%config Raynb.keep = False")
    assert "result, _" in second.run("%raynb kept").text
    assert "Forgot" in second.run("%raynb forget result").text
    assert second.run("%raynb kept").text == "Nothing is kept.\n"
    assert oct(os.stat(tmp_path / "kept").st_mode)[-3:] == "700"


def test_a_loop_goes_on_where_it_died_on_another_machine_and_failures_are_not_kept(
    start: Start, tmp_path: Path
) -> None:
    place = str(tmp_path / "kept")
    if importlib.util.find_spec("fsspec") is not None:
        place = f"file://{place}"
    loop = f"%%remote --wait --keep --each x in range(6)\n{MARK}\nif x >= limit[0]: raise ValueError(x)\nsquare = x * x"
    loop = loop.replace("limit[0]", "int(open('limit').read())")
    (tmp_path / "limit").write_text("4")
    first = start(place)
    assert "ValueError" in first.run(loop, ok=False).error
    flush(first)
    assert runs(tmp_path) == 6
    (tmp_path / "limit").write_text("9")
    second = start(place)
    assert "square" in second.run("%raynb kept").text
    run = second.run(loop)
    assert any(line.startswith("4 of 6 items kept from ") for line in run.shown)
    assert runs(tmp_path) == 8
    assert second.run("print(ray.get(square))").text == "[0, 1, 4, 9, 16, 25]\n"


#: Results are written only once a shutdown has begun.
GATE = """\
import threading
from raynb.base import engine as engines
from raynb.jupyter import notebook as nb
from raynb.jupyter.kept import results
results.FLUSH_SECONDS = 120.0
gate, keeper = threading.Event(), nb.loaded().kept.keeper()
write = keeper._keep
keeper._keep = lambda batch: (gate.wait(60), write(batch))
engines.before_stop.insert(0, gate.set)
"""


def test_files_that_a_cell_reads_and_refs_that_are_not_kept(start: Start, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kept_twice.py").write_text(f"PLACE = {folder!r}\n")
    cell = f"%%remote --wait --keep --reads in.txt --get\n{MARK}\ntext = open('in.txt').read()"
    session = start()
    session.run(cell)
    flush(session)
    session.run(cell)
    assert runs(tmp_path) == 1
    (tmp_path / "in.txt").write_text("b")
    session.run(cell)
    assert session.run("print(text)").text == "b\n"
    assert runs(tmp_path) == 2
    assert "there is no such file" in session.run(cell.replace("in.txt", "none.txt"), ok=False).text
    session.run("%%remote --wait\nraw = [1, 2, 3]")
    chain = f"%%remote --wait --keep\n{MARK}\ntotal = sum(raw)"
    session.run(chain)
    flush(session)
    session.run("%%remote --wait\nraw = [1, 2, 3]")
    session.run(chain)
    assert runs(tmp_path) == 3  # by the content, which is the same
    session.run("%%remote --wait\nraw = [1, 2, 4]")
    session.run(chain)
    assert runs(tmp_path) == 4
    assert session.run("print(ray.get(total))").text == "7\n"
    # What has ended is there after a shutdown.
    session.run(GATE)
    last = f"%%remote --wait --keep\n{MARK}\nlast = 1"
    session.run(last)
    session.run("ray.shutdown()")
    assert any("kept from" in line for line in session.run(last).shown)
    assert runs(tmp_path) == 5
    # Workers have loaded what the modules were before.
    (tmp_path / "kept_helper.py").write_text("RATE = 1\n")
    (tmp_path / "kept_module.py").write_text("from kept_helper import RATE\ndef value():\n    return RATE\n")
    session.run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})")
    session.run("%%everywhere\nimport kept_module")
    module = f"%%remote --wait --keep --get\n{MARK}\nimport kept_module\nrate = kept_module.value()"
    for number, rate in enumerate((1, 22)):
        (tmp_path / "kept_helper.py").write_text(f"RATE = {rate}\n")
        for _ in range(2):
            session.run(module)
            assert session.run("print(rate)").text == f"{rate}\n"
            flush(session)
        assert runs(tmp_path) == 6 + number
    # Cells that are not kept have had them load another one of the same name, as old as this one.
    session.run("ray.shutdown(); sys.path.insert(0, 'one')")
    session.run("%%remote --wait --each _ in range(9)\nimport kept_twice")
    session.run("sys.path[0] = 'two'")
    session.run("%%remote --wait --keep --get\nimport kept_twice\nplace = kept_twice.PLACE")
    assert session.run("print(place)").text == "two\n"
    run = session.run(
        "%%remote --wait --keep\nclass Never:\n    def __reduce__(self):\n        import random\n"
        "        return Never, (), {'a': random.random()}\nmade = Never()"
    )
    session.until(lambda: "is not kept" in run.text)
    run = session.run(cell + "\nopen('in.txt', 'a').write('c')")
    session.until(lambda: "in.txt has changed meanwhile" in run.text)
