"""A plain script: what tasks print stands before what the script prints once it knows of their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import concurrent.futures, contextlib, io, sys
import raynb as ray
from raynb.api.terminal import console
console.IDLE_SECONDS = 100  # a line and its end, which print() writes apart, are one all the same
console.PATIENCE_SECONDS = 60  # the thread that writes may find no processor for long
ray.init(num_cpus=1)
@ray.remote
def f(n):
    print("task", n)
    print("half", end="")
    return n
for n in range(3):
    ray.get(f.remote(n))
    print("after", n)
f.remote(3).future().result()
print("after", 3)
buffer = io.StringIO()
with contextlib.redirect_stdout(buffer):
    ray.get(f.remote(4))
print("took", buffer.getvalue().count("task 4"))
ray.get(ray.remote(lambda: print("odd \\ud83d")).remote())
print("end")
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_of_tasks_is_in_order_with_the_scripts_own(tmp_path: Path, encoding: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, encoding=encoding, env=environ, timeout=120, check=True
    )
    said = [line.partition(") ")[2] or line for line in done.stdout.splitlines()]
    wanted = [word for n in range(4) for word in (f"task {n}", "half", f"after {n}")]
    odd = "odd \ufffd" if encoding == "utf-8" else "odd ?"
    assert said == [*wanted, "took 1", odd, "end"]
