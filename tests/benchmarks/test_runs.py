"""Short real runs: the processes, the protocol, the alias. No timing is asserted."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from benchmarks import procs
from benchmarks.compare import main as compare
from benchmarks.engines import ENGINES, adapter
from benchmarks.many import main as many
from benchmarks.notebook.idioms import IDIOMS
from benchmarks.ray_perf.runner import ALIAS, wanted
from benchmarks.session import ROOT, Answers, HostError, Session, environment
from benchmarks.workloads import __main__ as workloads
from benchmarks.workloads import idioms, problems, samples, tables
from benchmarks.workloads.measured import prepared

pytestmark = pytest.mark.timeout(400)  # processes that import pandas, on a machine that may be slow

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the figures are read from /proc")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match="no engine 'rai'"):
        adapter("rai")


def test_every_engine_has_an_adapter_with_a_label() -> None:
    assert all(adapter(name).label != "?" and adapter(name).package != "?" for name in ENGINES)


@linux
def test_comparison_of_the_pool_with_the_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.json"
    code = compare(
        ["--engines", "futures", "limits", "--cases", "start", "task", "call", "--rounds", "2",
         "--seconds", "0.02", "--workers", "1", "--json", str(target)]
    )  # fmt: skip
    found = json.loads(target.read_text())
    assert found["problems"] == []
    assert code == 0
    assert all(len(rounds) == 2 and all(rounds) for rounds in found["samples"]["task"].values())
    assert found["samples"]["call"]["futures"] == [[], []]  # a pool has no actors
    assert "one task at a time" in capsys.readouterr().out


@linux
def test_a_session_of_raynb_leaves_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log:
        session = Session("raynb", sys.executable, log)
        try:
            session.start(1)
            assert session.about()["label"] == "raynb"
            assert session.case("tasks_1k", 0.01)
            with pytest.raises(HostError, match="no_such_case"):
                session.case("no_such_case", 0.01)
        finally:
            left = session.stop()
    assert left == 0
    assert procs.marked(session.mark) == []


@linux
def test_many_with_few(tmp_path: Path) -> None:
    target = tmp_path / "many.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.many", "--tasks", "200", "--refs", "50", "--returns", "20",
         "--actors", "2", "--workers", "1", "--parts", "queued", "arguments", "returns", "gets", "actors",
         "--json", str(target)],
        env=environment("many-test"), cwd=ROOT, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    rows = dict(json.loads(target.read_text())["rows"])
    assert not [what for what in rows if what.startswith("PROBLEM")]
    assert rows["actors alive at once (2 asked for)"].endswith("all 2 alive")


def test_many_refuses_a_part_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        many(["--parts", "everything"])
    assert "everything" in capsys.readouterr().err


# -- the alias ---------------------------------------------------------------------------------

SCRIPT = """
import ray
from ray._private.ray_client_microbenchmark import main as client_main
from ray._private.ray_microbenchmark_helpers import timeit

@ray.remote
def small_value():
    return b"ok"

@ray.remote(num_cpus=0)
class Actor:
    def batch(self, n):
        return ray.get([small_value.remote() for _ in range(n)])

def main(results=None):
    results = results or []
    assert ray._raylet.OPTIMIZED
    ray.init(num_cpus=1)
    results += timeit("tasks", lambda: ray.get(small_value.remote()))
    actor = Actor.remote()
    results += timeit("nested", lambda: ray.get(actor.batch.remote(3)))
    ray.shutdown()
    client_main(results)
    return results
"""
HELPERS = """
filter_pattern = ""

def timeit(name, fn, multiplier=1, warmup_time_sec=10):
    assert warmup_time_sec == 0.0, "the runner sets the rest before a row"
    fn()
    return [(name, 1.0 * multiplier, 0.0)]
"""
CLIENT = """
from ray._private.ray_microbenchmark_helpers import timeit
from ray.util.client.ray_client_helpers import ray_start_client_server

def main(results):
    with ray_start_client_server() as ray:
        results += timeit("client: puts", lambda: ray.get(ray.put(0)))
"""


def test_a_script_of_rays_package_runs_under_the_alias(tmp_path: Path) -> None:
    package = tmp_path / "ray"
    private = package / "_private"
    private.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('this is not to be loaded')")
    (private / "ray_perf.py").write_text(SCRIPT)
    (private / "ray_microbenchmark_helpers.py").write_text(HELPERS)
    (private / "ray_client_microbenchmark.py").write_text(CLIENT)
    env = environment("alias-test")
    env["PYTHONPATH"] = os.pathsep.join([str(ALIAS), env["PYTHONPATH"]])
    env["RAYNB_BENCHMARK_RAY"] = str(package)
    go, allow = os.pipe()
    rows, answer = os.pipe()
    os.write(allow, b"go\n" * 3)
    os.close(allow)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.ray_perf.script", str(go), str(answer), "0"],
            env=env, cwd=ROOT, pass_fds=[go, answer], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    finally:
        os.close(go)
        os.close(answer)
    with os.fdopen(rows) as file:
        said = [json.loads(line) for line in file]
    assert done.returncode == 0, done.stderr
    assert [line.get("row") for line in said if "mean" in line] == ["tasks", "nested", "client: puts"]
    assert said[-1] == {"finished": True}


@pytest.mark.parametrize(
    ("row", "times"),
    [
        ("single client tasks sync", 10.0),
        ("1:n actor calls async", 10.0),
        ("multi client tasks async", 3.0),
        ("n:n actor calls async", 3.0),
        ("single client put gigabytes", None),
        ("client: get calls", None),
    ],
)
def test_what_is_wanted_of_a_row(row: str, times: float | None) -> None:
    assert wanted(row) == times


# -- the notebook situations -------------------------------------------------------------------


def test_cells_of_each_idiom_are_python() -> None:
    for idiom in IDIOMS.values():
        # A decorator that is a cell's magic stands in a line of its own, above Python.
        magic = idiom.decorator.startswith("%%")
        defined = idiom.define("def first(): return 1").removeprefix(idiom.decorator if magic else "")
        code = defined + f"x = {idiom.call('first')}\n{idiom.get.format(x='x')}"
        compile(code, idiom.label, "exec")
        compile(idiom.call("beat", "path, 8"), idiom.label, "eval")


def test_the_workloads_on_raynb_give_what_the_serial_ones_give(tmp_path: Path) -> None:
    serial, raynb = idioms.engine("serial"), idioms.engine("raynb")
    raynb.start(2)
    try:
        for workload, method in idioms.METHODS.items():
            if workload == "grid search":
                continue  # the import of scikit-learn takes longer than all the others; a notebook has the same search
            with prepared(workload, "tiny", tmp_path) as data:
                digests = [problems.digest(workload, getattr(one, method)(data)) for one in (serial, raynb)]
            assert problems.equal(*digests), workload
    finally:
        raynb.stop()


def test_answers_that_come_together_are_read_one_by_one() -> None:
    mine, theirs = os.pipe()
    answers = Answers(mine)
    try:
        os.write(theirs, b'{"first": 1}\n{"second": 2}\n{"third"')
        assert answers.read(60) == {"first": 1}
        assert answers.read(60) == {"second": 2}
        with pytest.raises(HostError, match="no answer in 0 s"):
            answers.read(0)
        os.write(theirs, b": 3}\n")
        assert answers.read(60) == {"third": 3}
    finally:
        os.close(theirs)
        with pytest.raises(HostError, match="its process ended"):
            answers.read(60)
        answers.close()


def unread(answers: Answers, goes_on: IO[bytes], *_about: object) -> dict[str, str]:
    with pytest.raises(BrokenPipeError):
        while True:
            goes_on.write(b"\n")
            goes_on.flush()
    return {"error": "died"}


@linux
def test_a_workload_without_a_result_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "RESULTS", tmp_path)
    mine, theirs = os.pipe()
    answers = Answers(mine)
    os.write(theirs, b'{"began": true}\n')
    goes_on = io.BytesIO()
    assert workloads.answered(answers, goes_on, "nobody", 0) == {"error": "no result in 0 s"}
    os.close(theirs)
    ended = {"error": "did not start: its process ended (see the log)"}
    assert workloads.answered(answers, goes_on, "nobody", 60) == ended
    answers.close()
    found = workloads.measure("no such engine", "matrix product", "tiny", 1, sys.executable, 300)
    assert found == {"error": "KeyError: 'no such engine'"}
    with monkeypatch.context() as patched:
        patched.setattr(workloads, "answered", unread)
        assert workloads.measure("serial", "matrix product", "tiny", 1, "true", 300) == {"error": "died"}
    row = workloads.measure("serial", "100,000 small tasks", "tiny", 1, sys.executable, 300)
    assert row["seconds"] > 0
    assert row["processor"] > 0  # however short it was: its processes wait until they were looked at
    assert row["digest"]


def row_of(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "processor": 2 * seconds, "memory": 5_000_000, "digest": [1.0]}


def test_the_middle_of_an_even_number_of_rounds_is_the_mean_of_two() -> None:
    rows = [row_of(seconds) for seconds in (4.0, 1.0, 2.0, 9.0)]
    assert samples.median(rows) == {**row_of(3.0), "rounds": [4.0, 1.0, 2.0, 9.0]}
    assert samples.median(rows[:3]) == {**row_of(2.0), "rounds": [4.0, 1.0, 2.0]}
    uneven = [{**row, "memory": memory} for row, memory in zip(rows, (10, 99, 20, 99), strict=True)]
    assert samples.median(uneven)["memory"] == 15
    assert samples.median([*rows, {"error": "died"}]) == {"error": "died"}


def test_a_run_of_workloads_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, document, picture = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "bars.svg"
    taken: list[tuple[str, str]] = []

    def measured(name: str, workload: str, *_about: object) -> dict[str, Any]:
        taken.append((workload, name))
        if (name, workload) == ("multiprocessing", "agents in one level"):
            return {"error": "no result in 60 s"}
        return row_of(4.0 if name == "serial" else 2.0 + len(taken) % 3)

    monkeypatch.setattr(workloads, "measure", measured)
    monkeypatch.setattr(workloads, "ceiling", lambda *_about: row_of(5.0))
    document.write_text(f"before\n{tables.BEGIN}\nearlier figures\n{tables.END}\nafter\n")
    command = ["--json", str(file), "--scale", "tiny", "--engines", "serial", "raynb", "multiprocessing", "--resume"]
    both = ["nested agents", "agents in one level"]
    assert workloads.main([*command, "--workloads", both[0], "--rounds", "1"]) == 0
    assert taken == [(both[0], "serial"), (both[0], "raynb")]  # a pool has no nested tasks
    taken.clear()
    assert workloads.main([*command, "--workloads", *both, "--rounds", "2"]) == 1
    assert taken == [
        *((both[0], name) for name in ("serial", "raynb")),
        *((both[1], name) for name in ("serial", "raynb", "multiprocessing", "serial", "raynb")),
    ]
    taken.clear()
    shown = ["--no-run", "--json", str(file), "--table", str(document), "--picture", str(picture)]
    assert workloads.main(shown) == 1
    assert not taken
    assert "| agents, nested tasks | 4 |" in document.read_text()
    assert "no result in 60 s" in document.read_text()
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")
    assert "earlier figures" not in document.read_text()
    assert picture.read_text().startswith("<svg")
    with pytest.raises(ValueError, match="no place for the tables"):
        tables.enter(picture, samples.read(file))
    with pytest.raises(samples.OtherRunError, match="scale: tiny there, full now"):
        samples.begin(file, samples.about("full", 2, sys.executable), resume=True)
