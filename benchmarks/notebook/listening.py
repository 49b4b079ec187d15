"""What the notebook's readiness to look inside costs calls that nobody looks into.

``python -m benchmarks.notebook.listening`` runs rows of Ray's ``ray_perf`` in one kernel, in turns with what the
extension listens to (waits, breakpoints, the frames of failures) and without it. The aim is 3 % in each row.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.compare import end_in_order
from benchmarks.notebook.kernel import Kernel
from benchmarks.report import aligned

AIM = 3.0  # percent
SAMPLES = 3  # of a row in a turn
SETUP = """%load_ext raynb
%config Raynb.num_cpus = 2
%raynb restart
import time
import raynb as ray
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as slot
from raynb.jupyter.on_worker.failures import keep_failures

small = ray.remote(lambda: b"ok")

@ray.remote
class Actor:
    def small(self):
        return b"ok"

actor = Actor.remote()
value = ray.put(0)
ray.get(small.remote())

def wait_for_each():
    left = [small.remote() for _ in range(1000)]
    while left:
        _, left = ray.wait(left)

ROWS = {
    "get of a small object": lambda: [ray.get(value) for _ in range(2000)],
    "wait, 1,000 refs": wait_for_each,
    "tasks, one at a time": lambda: [ray.get(small.remote()) for _ in range(200)],
    "1,000 tasks": lambda: ray.get([small.remote() for _ in range(1000)]),
    "actor calls, one at a time": lambda: [ray.get(actor.small.remote()) for _ in range(200)],
    "1,000 actor calls": lambda: ray.get([actor.small.remote() for _ in range(1000)]),
}
engine = slot.current()
on_wait, on_pause = slot.on_wait, list(engine.inspection.on_pause)
assert on_wait is not None and on_pause and engine.inspection.may_keep

def switch(on):
    slot.on_wait = on_wait if on else None
    engine.inspection.on_pause[:] = on_pause if on else []
    engine.inspection.may_keep = on
    for done in run_on_workers(ray.remote(keep_failures), 4 if on else 0, engine=engine):
        done.result()

def turn(samples):
    found = {}
    for name, row in ROWS.items():
        row()
        for _ in range(samples):
            began = time.perf_counter()
            row()
            found.setdefault(name, []).append(time.perf_counter() - began)
    return found
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a row misses the aim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook.listening", description=__doc__)
    parser.add_argument("--turns", type=int, default=25, metavar="N", help="turns of each")
    options = parser.parse_args(arguments)
    found: dict[str, dict[bool, list[float]]] = {}
    load = os.getloadavg()[0]
    kernel = Kernel(sys.executable)
    try:
        for cell in (SETUP, "for on in (True, False): turn(1)"):
            ran = kernel.run(cell, timeout=120)
            if ran.status != "ok":
                raise RuntimeError(ran.error)
        for _ in range(options.turns):
            for on in random.sample((True, False), 2):
                ran = kernel.run(f"switch({on}); told = turn({SAMPLES})", timeout=120)
                if ran.status != "ok":
                    raise RuntimeError(ran.error)
                for row, seconds in ast.literal_eval(kernel.value("told")).items():
                    found.setdefault(row, {True: [], False: []})[on] += seconds
    finally:
        kernel.close()
    rows, missed = [], False
    for row, times in found.items():
        on, off = (statistics.median(times[which]) for which in (True, False))
        missed = missed or on > off * (1 + AIM / 100)
        rows.append([row, f"{off * 1000:.2f} ms", f"{on * 1000:.2f} ms", f"{100 * (on / off - 1):+.1f} %"])
    print(f"{time.strftime('%Y-%m-%d')}; {options.turns * SAMPLES} samples of each, {os.cpu_count()} cores, "
          f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after")  # fmt: skip
    print(aligned([["row", "off, median", "on, median", "more"], *rows]))
    return int(missed)


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
