"""raynb on three nodes that are processes of this machine: `cluster_bed.py`, in the Python that has Ray."""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("fcntl")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from test_parity import ROOT, ray_python  # noqa: E402

#: What runs wherever Ray is, in about two minutes: a driver is killed, two are there at once, a node is killed
#: with the hub on it and tasks running.
ALWAYS = (
    "what_belongs_to_a_driver_that_is_killed_ends_and_what_is_detached_stays",
    "two_drivers_at_once_do_not_meet",
    "a_node_that_dies_takes_what_is_on_it_and_nothing_else",
)
#: For a look of a few minutes, with RAYNB_CLUSTER_BED=short: a node is killed while arrays are fetched, too, and the
#: head. All checks (RAYNB_CLUSTER_BED=1) take a quarter of an hour and more.
SHORT = (
    *ALWAYS,
    "arrays_of_a_node_that_dies_while_they_are_fetched_are_made_again",
    "a_driver_ends_when_the_head_does",
)
CHOSEN = {"": ALWAYS, "short": SHORT}.get(os.environ.get("RAYNB_CLUSTER_BED", ""), ())
WHOLE = not CHOSEN
ALL = [
    node.name
    for file in ("cluster_bed_network.py", "cluster_bed_kernels.py", "cluster_bed_scripts.py", "cluster_bed.py")
    for node in ast.parse((HERE / file).read_text()).body
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "check" for one in node.decorator_list)
]
NAMES = [name for name in ALL if WHOLE or name in CHOSEN]
#: Seconds for all checks of one program together.
RUN_SECONDS = 1500


#: What the notebooks need beside Ray.
NEEDS = ("nbval", "ipykernel", "sklearn", "matplotlib", "pandas", "ipywidgets", "joblib", "tqdm")
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) if WHOLE else []


def rows_of(
    program: str, folder: Path, needs: tuple[str, ...] = (), names: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """Runs one of the programs in the Python that has Ray; returns name → its row: `error` is empty if it passed.

    Args:
        program: its file.
        folder: gets its log.
        needs: modules without which it is skipped.
        names: what of it to run; nothing: all.
    """
    interpreter = ray_python()
    if interpreter is None:
        pytest.skip("no Ray here: RAYNB_PARITY_PYTHON names a Python that has it")
    look = f"import importlib.util as u; print(*[m for m in {needs!r} if u.find_spec(m) is None])"
    missing = subprocess.run([interpreter, "-c", look], capture_output=True, text=True, check=True).stdout.strip()
    if missing:
        pytest.skip(f"{interpreter} lacks {missing}")
    faulthandler.cancel_dump_traceback_later()
    log = folder / "log"
    with log.open("w") as sink, contextlib.suppress(subprocess.TimeoutExpired):  # what ended is judged all the same
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([interpreter, str(HERE / program), *names], env=environ, stdout=sink, stderr=subprocess.STDOUT,
                       timeout=RUN_SECONDS, check=False)  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    rows = [json.loads(line[3:]) for line in lines if line.startswith("## ")]
    assert rows, "\n".join(lines[-40:])
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return rows_of("cluster_bed.py", tmp_path_factory.mktemp("bed"), names=CHOSEN)


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return rows_of("cluster_notebooks.py", tmp_path_factory.mktemp("notebooks"), NEEDS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(RUN_SECONDS + 60)
def test_on_three_nodes(name: str, bed: dict[str, dict[str, str]]) -> None:
    assert name in bed, f"it never ended; the last to end was {list(bed)[-1]}"
    assert not bed[name]["error"], bed[name]["error"]
    if "skipped" in bed[name]:
        pytest.skip(bed[name]["skipped"])


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.timeout(RUN_SECONDS + 60)
def test_a_notebook_shows_on_three_nodes_what_it_was_saved_with(
    name: str, notebooks: dict[str, dict[str, str]]
) -> None:
    assert name in notebooks, f"it never ended; the last to end was {list(notebooks)[-1]}"
    assert not notebooks[name]["error"], notebooks[name]["error"]
