"""Every notebook is executed by nbval, and its outputs compared with those that it was saved with.

Cells whose output is a demonstration (times, machine, figures) carry the tag
``nbval-ignore-output``: they must run, whatever they show.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.timeout(1000)

#: Seconds that a notebook may take, on a machine that may be slow.
NOTEBOOK_SECONDS = 900

#: Runs pytest with nbval, which has no options for these: its kernels are reached by Unix sockets, because another
#: process may take the ports that it finds free before its kernel does; and it waits longer than 5 s for output.
RUN = """
import functools, os, sys, tempfile
import nbval.kernel, pytest

class Patient:
    def pytest_collection_modifyitems(self, items):
        for cell in items:
            cell.output_timeout = 120

with tempfile.TemporaryDirectory(prefix="tests-kernel-", dir="/tmp") as folder:  # their names are limited
    file = os.path.join(folder, "kernel.json")
    nbval.kernel.KernelManager = functools.partial(nbval.kernel.KernelManager, transport="ipc", connection_file=file)
    sys.exit(pytest.main(sys.argv[1:], plugins=[Patient()]))
"""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_was_saved_with(notebook: Path, tmp_path: Path) -> None:
    environ = {
        **os.environ, "IPYTHONDIR": str(tmp_path / "ipython"),
        "TMPDIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
    }  # fmt: skip
    command = [
        sys.executable, "-c", RUN, "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300",
        "--nbval-kernel-startup-timeout=300", "-q",
        "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(notebook.parent), "-c", os.devnull,
        str(notebook),
    ]  # fmt: skip
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=NOTEBOOK_SECONDS)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_with_its_outputs_and_without_traces_of_a_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    assert book.cells[0].cell_type == "markdown"
    assert book.cells[0].source.startswith("# ")
    assert any(cell.outputs for cell in book.cells if cell.cell_type == "code")
    for trace in (str(ROOT), str(Path.home()) + "/", "site-packages"):
        assert trace not in text, f"{notebook.name} holds {trace}"


def test_there_is_a_notebook_for_each_part() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart", "cells_as_tasks", "parallel_for", "actors", "big_data_by_ref",
        "output_progress_errors", "interrupt_and_rerun", "model_selection_digits",
        "search_with_scikit_learn", "simulation_with_actors", "asynchronous", "debugging_and_doctor",
        "looking_inside",
        "laptop_to_cluster", "results_that_last",
    }  # fmt: skip
