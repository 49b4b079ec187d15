"""The project's notebooks on a Ray cluster of three nodes: the same outputs as on one machine.

``python cluster_notebooks.py [name...]`` starts the nodes and executes each notebook as it is: the address of the
cluster is in the profile's settings. It writes one JSON line for each: its name, what nbval says if its outputs
are not those that it was saved with, and the cells that differ as is known. `test_cluster_bed.py` reads them. It needs
nbval, and what the notebooks import.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster_shared import tell

from raynb.engine.cluster.local_nodes import LocalNodes

#: Notebook → its cells that are different on a cluster, counted by nbval, and words of what they show there instead.
#: docs/ray-compatibility.md says it to users.
DIFFERENT = {
    # with three nodes' slots, all tasks may have ended when it is interrupted
    "interrupt_and_rerun": ({8}, "(100, False, "),
    # the death of a worker is told of in a line
    "debugging_and_doctor": ({14}, "{'stderr'}"),
    # the restart is refused, so what comes after it has no runtime
    "big_data_by_ref": ({9, 10, 11, 12}, "is a cluster that has its size: leave object_store_memory out"),
}
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 380


def run(notebook: Path, address: str) -> str:
    """Executes a notebook on the cluster; returns how its outputs differ, "" if they don't."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "ipython", "profile_default")
        profile.mkdir(parents=True)
        (profile / "ipython_kernel_config.py").write_text(f"c.Raynb.address = {address!r}\n")
        environ = {**os.environ, "IPYTHONDIR": str(profile.parent), "JUPYTER_RUNTIME_DIR": f"{folder}/jupyter",
                   "TMPDIR": folder, "PYTHONPATH": str(ROOT)}  # fmt: skip
        command = [
            sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", "-q",
            "-p", "no:cacheprovider", "--rootdir", str(notebook.parent), "-c", os.devnull, str(notebook),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            return f"not within {SECONDS} s: {str(error.stdout)[-4000:]}"
        return "" if done.returncode == 0 else done.stdout[-12000:] + done.stderr[-1000:]


def known(name: str, error: str) -> list[int]:
    """Returns the cells that differ, if nbval says of a notebook what is known to differ, and nothing else."""
    cells, words = DIFFERENT.get(name, (set(), "\0"))
    failed = {int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", error, re.M)}
    return sorted(failed) if words in error and failed <= cells else []


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"
    bed = LocalNodes([{"num_cpus": 2}, {"num_cpus": 2}, {"num_cpus": 2}])
    try:
        for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
            if sys.argv[1:] and notebook.stem not in sys.argv[1:]:
                continue
            began = time.monotonic()
            error = run(notebook, bed.address)
            cells = known(notebook.stem, error)
            row = {"name": notebook.stem, "error": "" if cells else error, "different": cells,
                   "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
            tell(row)
    finally:
        bed.close()


if __name__ == "__main__":
    main()
