"""`breakpoint` in a task of a plain script: pdb at its terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from raynb.testing import leaks

ROOT = str(Path(__file__).resolve().parents[2])
pytestmark = pytest.mark.timeout(200)


def environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, "TMPDIR": str(folder), "TERM": "dumb"}


SCRIPT = """\
import concurrent.futures
import raynb as ray
def stops(n):
    m = n * 6
    breakpoint()
    return m
ray.init(num_cpus=2)
f = ray.remote(stops)
print("got", ray.get(f.remote(7)))
try:
    ray.get(f.remote(8))
except ray.exceptions.TaskCancelledError:
    print("cancelled")
refs = [f.remote(n) for n in range(3)]
futures = concurrent.futures.wait([ref.future() for ref in refs]).done
ends = [type(future.exception()).__name__ for future in futures]
print("all", ends)
print("then", ray.get(f.remote(9)))
print("later", f.remote(10).future().result(timeout=60))
with ray.util.Executor() as pool:
    print("mapped", *pool.map(stops, [11]))
"""


def test_a_breakpoint_of_a_script_opens_at_its_terminal(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = pexpect.spawn(sys.executable, [str(script)], env=environ(tmp_path), cwd=tmp_path, encoding="utf-8",
                          timeout=150)  # fmt: skip
    try:
        child.expect(r"stops \(worker \d+\) is at a breakpoint, .*script\.py:[56]\.")
        child.expect(r"\(Pdb\) ")
        child.sendline("p m + 1000")
        child.expect(r"1042\r\n\(Pdb\) ")
        child.sendline("m = 5")
        child.expect(r"\(Pdb\) ")
        child.sendline("c")
        child.expect("got 5\r\n")
        child.expect(r"\(Pdb\) ")
        child.sendline("q")
        child.expect("cancelled\r\n")
        child.expect(r"\(Pdb\) ")
        child.sendline("q!")  # of all tasks, at the prompt of the first
        child.expect(r"all \['TaskCancelledError', 'TaskCancelledError', 'TaskCancelledError'\]\r\n")
        child.expect(r"\(Pdb\) ")
        # It reads by now: Python does not see a Ctrl-C that comes between a prompt and the wait for the line.
        assert leaks.until(lambda: leaks.all_processes()[child.pid].state == "S")
        child.sendintr()
        child.expect("The task goes on, and stops at no more breakpoints.\r\n")
        child.expect("then 54\r\n")
        child.expect(r"\(Pdb\) ")  # where the main thread waits for a future, too
        child.sendline("c")
        child.expect("later 60\r\n")
        child.expect(r"\(Pdb\) ")  # and for one of an executor
        child.sendline("c")
        child.expect("mapped 66\r\n")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


def test_a_breakpoint_of_a_script_without_a_terminal_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.partition("try:")[0] + "ray.get([f.remote(n) for n in range(3)])\n")
    done = subprocess.run([sys.executable, str(script)], env=environ(tmp_path), cwd=tmp_path, capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, timeout=150)  # fmt: skip
    assert done.stdout == "got 42\n"
    assert done.stderr.count("breakpoint() in stops at") == 1, done.stderr
    assert done.returncode == 0
