"""raynb on a real Ray cluster: `cluster_checks.py`, and the parity programs once more, on `ClusterEngine`.

They run where Ray is: in the Python that RAYNB_PARITY_PYTHON names, or in this one.
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fcntl")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import runner  # noqa: E402
from cluster_shared import CHECKING  # noqa: E402
from parity_programs import DEFAULT_INIT, catalogue  # noqa: E402
from test_parity import RACES_IN_RAY, RECORDED, ROOT, changed, ray_python, rows_of, shared_folder  # noqa: E402, F401

from raynb.testing.engines import CHECKS as PROMISES  # noqa: E402

OWN = [
    node.name
    for file in ("cluster_checks.py", "cluster_interchange.py", "cluster_output.py", "cluster_surroundings.py",
                 "cluster_inspection.py", "cluster_news.py", "cluster_cells.py", "cluster_endings.py")
    for node in ast.parse((HERE / file).read_text()).body
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "check" for one in node.decorator_list)
]
#: Seconds for all checks together; a busy machine needs several times what a quiet one does.
RUN_SECONDS = 1200
#: What differs through the adapter, with the reason; docs/ray-compatibility.md says it to users.
ON_CLUSTER = {
    "habits.what_depends_on_a_crash": "what depends on a crashed task raises the crash's own class there, and not "
                                      "a RayTaskError around it: tasks of ours get errors as values",
    **{key: f"a race in Ray itself: {reason}" for key, reason in RACES_IN_RAY.items()},
}  # fmt: skip

#: Programs that one cluster can run, in areas that don't look at the engine itself. What raynb does better
#: than Ray on its own engine is as Ray does it there.
KEYS = [
    key
    for key, one in catalogue().items()
    if one.init == DEFAULT_INIT and one.on_ray and not one.reason and one.area not in ("states", "utilities")
    and key not in ON_CLUSTER
]  # fmt: skip


#: What Ray does when it does: it kills, cancels, ends processes and tells of deaths.
AT_RAYS_TIME = re.compile(r"kill|cancel|exit|SystemExit|max_restarts|max_retries|max_task_retries")
#: How often a program with a race of Ray's in it may run again.
RACES = 3
ENDS = ("actor_ends", "cancel", "leaving", "lifetimes", "retries")


def reruns(key: str) -> int:
    """Returns how often a program may run again whose result isn't the recorded one.

    A program in which Ray ends nothing has no race of Ray's: it runs again once, in case the machine was too busy for
    its time limits, so that a race of raynb's own is not taken for one of Ray's.
    """
    program = catalogue()[key]
    return RACES if program.area in ENDS or AT_RAYS_TIME.search(inspect.getsource(program.body)) else 1


def python() -> str:
    found = ray_python()
    if found is None:
        pytest.skip("no Ray here: RAYNB_PARITY_PYTHON names a Python that has it")
    return found


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Check → its traceback, empty if it passed."""
    log = tmp_path_factory.mktemp("cluster") / "log"
    faulthandler.cancel_dump_traceback_later()
    with log.open("w") as sink:
        command = [python(), str(HERE / "cluster_checks.py")]
        environ = {**os.environ, **CHECKING, "PYTHONPATH": str(ROOT)}
        with contextlib.suppress(subprocess.TimeoutExpired):  # what ended is judged all the same
            subprocess.run(command, env=environ, stdout=sink, stderr=subprocess.STDOUT, timeout=RUN_SECONDS,
                           check=False)  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    rows = [json.loads(line[3:]) for line in lines if line.startswith("## ")]
    assert rows, "\n".join(lines[-40:])
    return {row["name"]: row["error"] for row in rows}


@pytest.mark.parametrize("name", [f"promise_{one.__name__}" for one in PROMISES] + OWN)
@pytest.mark.timeout(RUN_SECONDS + 60)
def test_on_a_cluster(name: str, checked: dict[str, str]) -> None:
    assert name in checked, f"it never ended; the last to end was {list(checked)[-1]}"
    assert not checked[name], checked[name]


@pytest.fixture(scope="session")
def on_cluster(shared_folder: Path, pytestconfig: pytest.Config) -> dict[str, dict[str, Any]]:  # noqa: F811
    rows = rows_of("raynb-cluster", python(), shared_folder, KEYS)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    for time in range(RACES):
        doubtful = {key: was for key, was in changed({key: rows[key] for key in KEYS}).items() if reruns(key) > time}
        if doubtful:
            with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                print(f"not what was recorded, so run again alone: {doubtful}", file=sys.stderr)
            rows |= runner.run_all(python(), "raynb-cluster", environ, sorted(doubtful))[1]
    return rows


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.timeout(3600)
def test_a_program_returns_on_the_cluster_what_ray_returns(key: str, on_cluster: dict[str, dict[str, Any]]) -> None:
    row = on_cluster[key]
    assert "error" not in row, row["error"]
    assert row["value"] == RECORDED["results"][key]["value"]
