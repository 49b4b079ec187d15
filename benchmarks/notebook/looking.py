"""How soon `%raynb stack` shows what a task does, beside the aims, on one real kernel.

``python -m benchmarks.notebook.looking`` has a task of each kind run, looks at it again and again from a cell, and
prints medians of the time from the command to its text: 50 ms where the task lets go of Python's lock, 100 ms where
native code holds it. The kernel itself is looked at as the panel's button does, in the thread that answers it while a
cell runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.compare import end_in_order
from benchmarks.notebook.kernel import Kernel
from benchmarks.report import aligned

SETUP = """\
%load_ext raynb
%config Raynb.num_cpus = 8
%raynb restart
import asyncio, contextlib, io, os, statistics, threading, time
import numpy as np
import raynb as ray
gate = os.path.join(os.environ["TMPDIR"], "gate")

@ray.remote
def sleeps():
    while not os.path.exists(gate):
        time.sleep(0.05)

@ray.remote
def spins():
    while not os.path.exists(gate):
        sum(i * i for i in range(10_000))

@ray.remote
def sorts():
    data = np.random.default_rng(0).random(1_000_000)
    while not os.path.exists(gate):
        np.sort(data)

@ray.remote(max_retries=0)
def holds():
    return sum(range(10**15))

@ray.remote
def nests():
    return ray.get(sleeps.options(name="inner").remote())

@ray.remote
class Waits:
    async def go(self):
        while not os.path.exists(gate):
            await asyncio.sleep(0.05)

shell = get_ipython()
actor = Waits.remote()
"""
LOOK = """\
found = []
for _ in range({times}):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        began = time.perf_counter()
        shell.run_line_magic("raynb", "stack {target}")
        found.append(time.perf_counter() - began)
    assert {wanted!r} in text.getvalue(), text.getvalue()
    time.sleep(0.02)
"""
PANEL = """\
from raynb.base.engine import current
from raynb.jupyter.views.actions import answer
found = []
def look():
    for _ in range({times}):
        began = time.perf_counter()
        told = answer(current(), {{"do": "stack", "kernel": True}})
        found.append(time.perf_counter() - began)
        assert "hangs_here" in told["stack"], told
        time.sleep(0.02)
def hangs_here():
    thread = threading.Thread(target=look)
    thread.start()
    while thread.is_alive():
        {body}
hangs_here()
"""
#: What runs → (what begins it, what its stack must show, the aim in ms).
TASKS = {
    "a task in time.sleep": ("task = sleeps.remote()", "time.sleep", 50),
    "a loop of Python": ("task = spins.remote()", "spins", 50),
    "numpy, which lets go of the lock": ("task = sorts.remote()", "sorts", 50),
    "a blocked get": ("task = nests.remote()", "waits for inner", 50),
    "an async actor's call": ("task = actor.go.remote()", "coroutine", 50),
    "native code that holds the lock": ("task = holds.remote()", "holds", 100),
}
HANGS = {"a kernel that sleeps, from the panel": "time.sleep(0.05)",
         "a kernel that computes, from the panel": "sum(i * i for i in range(10_000))"}  # fmt: skip


def _checked(kernel: Kernel, code: str, timeout: float = 120) -> None:
    cell = kernel.run(code, timeout=timeout)
    if cell.status != "ok":
        raise RuntimeError(f"{code[:60]!r}: {cell.status} {cell.error} {cell.traceback[-1:]}")


def _until_shown(kernel: Kernel, wanted: str) -> None:
    """Looks until the task has come to where its stack is to be taken."""
    for _ in range(200):
        if wanted in kernel.text(kernel.run("%raynb stack task")):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no stack has shown {wanted!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook.looking", description=__doc__)
    parser.add_argument("--times", type=int, default=40, metavar="N", help="looks at each")
    times = parser.parse_args(arguments).times
    rows: list[list[str]] = []
    load = os.getloadavg()[0]
    kernel = Kernel(sys.executable)
    try:
        _checked(kernel, SETUP)
        for name, (begin, wanted, aim) in TASKS.items():
            _checked(kernel, begin)
            _until_shown(kernel, wanted)
            _checked(kernel, LOOK.format(times=times, target="task", wanted=wanted))
            rows.append(_row(kernel, name, aim))
            _checked(kernel, "ray.cancel(task, force=True)" if "holds" in begin else
                     "open(gate, 'w').close()\nray.get(task)\nos.unlink(gate)")  # fmt: skip
        for name, body in HANGS.items():
            _checked(kernel, PANEL.format(times=times, body=body))
            rows.append(_row(kernel, name, 50))
    finally:
        kernel.close()
    missed = any(float(row[2].split()[0]) > int(row[4].split()[0]) for row in rows)
    print(f"{time.strftime('%Y-%m-%d')}; {times} looks at each, {os.cpu_count()} cores, load {load:.1f} before and "
          f"{os.getloadavg()[0]:.1f} after")  # fmt: skip
    print(aligned([["time to a stack", "best", "median", "worst", "aim"], *rows]))
    return int(missed)


def _row(kernel: Kernel, name: str, aim: int) -> list[str]:
    figures = [f"{1000 * float(kernel.value(f'{what}(found)')):.0f} ms" for what in ("min", "statistics.median", "max")]
    return [name, *figures, f"{aim} ms"]


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
