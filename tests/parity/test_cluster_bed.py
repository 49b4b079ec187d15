"""raynb on three nodes that are processes of this machine: `cluster_bed.py`, in the Python that has Ray."""

from __future__ import annotations

import ast
import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fcntl")

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from test_parity import ROOT, ray_python  # noqa: E402

NAMES = [
    node.name
    for node in ast.parse((HERE / "cluster_bed.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(one) == "check" for one in node.decorator_list)
]
#: Seconds for all of them together.
MOST = 1200


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Check → its traceback, empty if it passed."""
    interpreter = ray_python()
    if interpreter is None:
        pytest.skip("no Ray here: RAYNB_PARITY_PYTHON names a Python that has it")
    faulthandler.cancel_dump_traceback_later()
    log = tmp_path_factory.mktemp("bed") / "log"
    with log.open("w") as sink:
        command = [interpreter, str(HERE / "cluster_bed.py")]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=environ, stdout=sink, stderr=subprocess.STDOUT, timeout=MOST, check=False)
    lines = log.read_text(errors="replace").splitlines()
    rows = [json.loads(line[3:]) for line in lines if line.startswith("## ")]
    assert rows, "\n".join(lines[-40:])
    return {row["name"]: row["error"] for row in rows}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(MOST + 60)
def test_on_three_nodes(name: str, bed: dict[str, str]) -> None:
    assert name in bed, f"it never ended; the last to end was {list(bed)[-1]}"
    assert not bed[name], bed[name]
