"""Every parity program on raynb, against what Ray returned; and whether that recording is fresh.

The recording (`recorded.json`) is made by ``python tests/parity/record.py`` with a Python that
has Ray: the one that RAYNB_PARITY_PYTHON names, or this one if it has Ray. Where there is such a
Python the programs also run on Ray again, and the recording must say the same.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import inspect
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

fcntl = pytest.importorskip("fcntl")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import runner  # noqa: E402
from parity_programs import Program, catalogue  # noqa: E402

ROOT = HERE.parents[1]
PROGRAMS = catalogue()
#: Some of what Ray does depends on how busy the machine is (a kill, for one, arrives when it arrives):
#: programs whose result isn't the recorded one run so often again, alone. Only Ray's own results are judged so (raynb's
#: on a cluster: see `test_cluster`).
RACES = 6
#: What Ray itself returns in one run and not in the next, alone and on a quiet machine too: raynb returns the recorded
#: value always, and of Ray nothing is asked.
RACES_IN_RAY = {
    "leaving.calls_behind_the_limit_run_too": "the exit of an async actor may overtake calls that its limit holds back",
    "lifetimes.a_retry_that_waits_can_be_cancelled": "a cancel that meets a retry on its way may be lost",
}
RECORDED: dict[str, Any] = json.loads((HERE / "recorded.json").read_text())


def ray_python() -> str | None:
    """Returns the interpreter that has Ray, None if there is none."""
    named = os.environ.get("RAYNB_PARITY_PYTHON")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("ray") else None


def rows_of(
    engine: str, python: str, folder: Path, only: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Returns the rows of one run of all programs (or ``only`` some), shared by the test processes of a session."""
    path = folder / f"parity-{engine}.json"
    faulthandler.cancel_dump_traceback_later()  # pytest's: a whole run takes longer than a test
    with open(folder / f"parity-{engine}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first one runs them, the others wait here
        if not path.exists():
            environ = {**os.environ, "PYTHONPATH": str(ROOT)}
            path.write_text(json.dumps(runner.run_all(python, engine, environ, only)[1]))
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return rows


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist every process has a folder of its own inside one that is the session's.
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def on_raynb(shared_folder: Path) -> dict[str, dict[str, Any]]:
    return rows_of("raynb", sys.executable, shared_folder)


@pytest.fixture(scope="session")
def on_ray(shared_folder: Path) -> dict[str, dict[str, Any]]:
    python = ray_python()
    if python is None:
        pytest.skip("no Ray here: RAYNB_PARITY_PYTHON names a Python that has it")
    return rows_of("ray", python, shared_folder)


def expected(program: Program) -> Any:
    return program.expected if program.reason else RECORDED["results"][program.key]["value"]


@pytest.mark.parametrize("key", PROGRAMS)
@pytest.mark.timeout(1800)
def test_raynb_returns_what_ray_returned(key: str, on_raynb: dict[str, dict[str, Any]]) -> None:
    row = on_raynb[key]
    assert "error" not in row, row["error"]
    assert row["value"] == expected(PROGRAMS[key])


@pytest.mark.parametrize("key", PROGRAMS)
def test_the_recording_is_of_this_text(key: str) -> None:
    program = PROGRAMS[key]
    if not program.on_ray:
        assert key not in RECORDED["results"]
    else:
        assert RECORDED["results"][key]["digest"] == program.digest, "run tests/parity/record.py again"


@pytest.mark.parametrize("key", [key for key, one in PROGRAMS.items() if one.reason])
def test_what_differs_on_purpose_really_differs(key: str) -> None:
    recorded = RECORDED["results"].get(key, {})
    assert recorded.get("value") != PROGRAMS[key].expected or "value" not in recorded


def test_the_documentation_lists_every_difference() -> None:
    text = (ROOT / "docs" / "ray-compatibility.md").read_text()
    listed = text.partition("## Differs on purpose")[2].partition("Other differences")[0]
    assert set(re.findall(r"`(\w+\.\w+)`", listed)) & set(PROGRAMS) == {
        key for key, one in PROGRAMS.items() if one.reason
    }


def test_the_documentation_counts_the_programs() -> None:
    text = (ROOT / "docs" / "ray-compatibility.md").read_text()
    found = re.findall(r"^\| (`[\w`, ]+`) \| (\d+) \|", text, re.MULTILINE)
    counted = {tuple(re.findall(r"\w+", areas)): int(count) for areas, count in found}
    areas = Counter(program.area for program in PROGRAMS.values())
    assert counted == {group: sum(areas[area] for area in group) for group in counted}
    assert {area for group in counted for area in group} == set(areas)


#: What a program uses that waits for, or asks for, something beside the calling thread: `local_mode` has nothing there.
BESIDE = re.compile(
    r"Gate|until|sleep|timeout=|kill|cancel|alive|Event|Barrier|resources|num_cpus|num_gpus|memory|placement|"
    r"max_concurrency|os\._exit|getpid|detached|thread|Queue|Pool|subprocess|state|nodes|log|timeline|runtime_env|"
    r"fork|async|wait"
)
#: Areas that are about processes, places and ends.
APART = ("states", "utilities", "leaving", "lifetimes", "placement", "concurrency", "cancel")
#: What differs: a Ctrl-C stops the cell, also one that the task itself raises.
STOPS_THE_CELL = {"errors.a_base_exception"}


@pytest.mark.skipif(not os.environ.get("RAYNB_PARITY_ALL"), reason="a longer run: RAYNB_PARITY_ALL=1")
@pytest.mark.timeout(1800)
def test_local_mode_returns_what_ray_returned(shared_folder: Path) -> None:
    only = [
        key for key, one in PROGRAMS.items()
        if one.on_ray and not one.reason and one.area not in APART and not BESIDE.search(inspect.getsource(one.body))
    ]  # fmt: skip
    assert len(only) > 140
    assert changed(rows_of("raynb-inline", sys.executable, shared_folder, only)).keys() == STOPS_THE_CELL


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) >= 150
    assert set(RECORDED["results"]) <= set(PROGRAMS)


def changed(rows: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Returns what differs from the recording: key → (recorded, now)."""
    return {
        key: (RECORDED["results"][key].get("value"), row)
        for key, row in rows.items()
        if RECORDED["results"][key].get("value") != row.get("value")
    }


@pytest.mark.timeout(3600)
def test_ray_still_returns_what_was_recorded(on_ray: dict[str, dict[str, Any]]) -> None:
    assert set(on_ray) == set(RECORDED["results"])
    python = ray_python()
    assert python is not None
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    doubtful = {key: pair for key, pair in changed(on_ray).items() if key not in RACES_IN_RAY}
    for _ in range(RACES):
        if doubtful:
            again = runner.run_all(python, "ray", environ, sorted(doubtful))[1]
            doubtful = changed({key: again[key] for key in doubtful})
    assert not doubtful
