"""Front ends other than JupyterLab: terminal IPython, jupyter console, nbconvert."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.jupyter.kernel_session import ROOT, write_settings

pytestmark = pytest.mark.timeout(400)

#: Seconds that a front end has for all of its cells, on a machine that may be slow.
COMMAND_SECONDS = 300

#: What makes front ends patient, too, and has them reach their kernels by Unix sockets: another process may take the
#: ports that they find free before the kernel does. (nbclient's program has no option for that.)
OPTIONS: dict[str, list[str]] = {
    "IPython": [],
    "jupyter_console": ["--transport=ipc", "--f={file}", "--ZMQTerminalInteractiveShell.kernel_timeout=300"],
    "nbconvert": [
        "--KernelManager.transport=ipc", "--KernelManager.connection_file={file}",
        "--ExecutePreprocessor.startup_timeout=300", "--ExecutePreprocessor.iopub_timeout=120",
    ],
    "nbclient": ["--startup_timeout=300"],
}  # fmt: skip

CELLS = """%load_ext raynb
import raynb as ray
x = 40
ref = %remote print("said on a worker") or x + 2
ray.get(ref)
ref
%raynb status
%unload_ext raynb
"""


def environ(folder: Path) -> dict[str, str]:
    write_settings(folder / "ipython")
    return {
        **os.environ,
        "PYTHONPATH": ROOT,
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
        "TMPDIR": str(folder),
        "TERM": "dumb",
    }


@pytest.fixture
def file() -> Iterator[str]:
    """A connection file's name; those of the sockets beside it are limited to a hundred letters."""
    with tempfile.TemporaryDirectory(prefix="tests-kernel-", dir="/tmp") as folder:
        yield f"{folder}/kernel.json"


def options(program: str, file: str) -> list[str]:
    return [option.format(file=file) for option in OPTIONS[program]]


@pytest.mark.parametrize("program", ["IPython", "jupyter_console"])
def test_a_terminal_shows_text(program: str, tmp_path: Path, file: str) -> None:
    command = [sys.executable, "-m", program, "--simple-prompt", *options(program, file)]
    done = subprocess.run(
        command, input=CELLS, env=environ(tmp_path), cwd=tmp_path, capture_output=True, text=True,
        timeout=COMMAND_SECONDS,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert "this machine, embedded" in text
    assert "said on a worker" in text
    assert "42" in text
    assert "ObjectRef(" in text
    assert "finished in" in text
    assert "CPUs" in text
    assert "Traceback" not in text


DEBUGGED = """%load_ext raynb
import raynb as ray
stops = ray.remote(lambda: breakpoint() or 7)
ray.get(stops.remote()) * 100
p 6 * 7
c
fails = ray.remote(lambda secret: 1 / secret)
ray.get(fails.remote(0))
%debug
p secret + 4321
q
%unload_ext raynb
"""


@pytest.mark.parametrize("program", ["IPython", "jupyter_console"])
def test_a_terminal_answers_breakpoints_and_enters_failed_frames(program: str, tmp_path: Path, file: str) -> None:
    command = [sys.executable, "-m", program, "--simple-prompt", *options(program, file)]
    done = subprocess.run(
        command, input=DEBUGGED, env=environ(tmp_path), cwd=tmp_path, capture_output=True, text=True,
        timeout=COMMAND_SECONDS,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert "is at a breakpoint, Cell In[3], line 1" in text
    assert "(Pdb) 42\n" in text
    assert "Out[4]: 700" in text
    assert "ZeroDivisionError" in text
    assert "(Pdb) 4321\n" in text


def test_nbconvert_keeps_late_output_errors_and_refs(tmp_path: Path, file: str) -> None:
    sources = [
        "%load_ext raynb\nimport raynb as ray, time",
        "%%remote\ntime.sleep(0.5)\nprint('late words')\n'the value'",
        "@ray.remote\ndef fails():\n    return [][1]\nref = fails.remote()\nref",
        "%%remote --wait\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);",
        "ray.get(ref)",
    ]
    book = new_notebook(cells=[new_code_cell(source) for source in sources])
    book.cells[-1].metadata["tags"] = ["raises-exception"]
    path = tmp_path / "book.ipynb"
    nbformat.write(book, path)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--inplace", str(path)]
    command += options("nbconvert", file)
    done = subprocess.run(command, env=environ(tmp_path), capture_output=True, text=True, timeout=COMMAND_SECONDS)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(path, as_version=4).cells
    assert "".join(output.text for output in cells[1].outputs if output.output_type == "stream") == "late words\n"
    assert cells[1].outputs[-1]["data"]["text/plain"] == "'the value'"
    shown = cells[2].outputs[0]["data"]
    assert "failed after" in shown["text/plain"]
    assert "IndexError" in shown["text/html"]
    assert any("image/png" in output.get("data", {}) for output in cells[3].outputs)
    error = cells[4].outputs[-1]
    assert error["ename"] == "RayTaskError(IndexError)"
    assert any("return [][1]" in line for line in error["traceback"])


FAILING = {
    "cell": "%%remote\nraise ValueError('of the cell')",
    "item": "%%remote --each n in range(3)\nif n == 2: raise ValueError('of the cell')\nx = n",
    "actor": "%%actor\nclass Broken:\n    def __init__(self):\n        raise ValueError('of the cell')",
}


#: Failures are shown by a thread, which may be late: the cell waits for it.
LATE = """
%config Raynb.batch_errors = False
import time
from raynb.jupyter.cells.watching import Watch
ended = Watch._ended
Watch._ended = lambda *facts: (time.sleep(0.3), ended(*facts))"""


@pytest.mark.parametrize(("program", "what", "fails"), [
    ("nbconvert", "cell", True), ("nbconvert", "cell", False), ("nbclient", "item", True), ("nbclient", "actor", True),
])  # fmt: skip
def test_where_nobody_watches_a_cell_fails_as_its_tasks_do(
    tmp_path: Path, file: str, program: str, what: str, fails: bool
) -> None:
    load = "%load_ext raynb" + ("" if fails else LATE)
    sources = [load, "%%remote\nfine = 1\nprint('fine')", FAILING[what], "after = 1"]
    path = tmp_path / "book.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    if program == "nbconvert":
        command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--inplace", str(path)]
    else:
        command = [sys.executable, "-c", "from nbclient.cli import main; main()", str(path)]  # `jupyter execute`
    command += options(program, file)
    done = subprocess.run(command, env=environ(tmp_path), capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if fails:
        assert done.returncode != 0
        assert "of the cell" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.outputs]
        assert [output["ename"] for output in outputs if output.output_type == "error"] == ["ValueError"]
