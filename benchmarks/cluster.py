"""raynb on a Ray cluster beside plain Ray on the same cluster, in one run.

``python -m benchmarks.cluster [rounds]`` starts two nodes on this machine and needs a Python with ray and psutil.
A row's number is the CPU time of driver and cluster together: it hardly depends on what else the machine does. What is
reported of tasks after a row belongs to it, and so does what the idle cluster takes meanwhile, on both sides; the ratio
is also printed without the latter, which is measured before the rows. The sides take turns at being first.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy
import psutil
import ray

import raynb
from raynb.engine.cluster.local_nodes import LocalNodes

ARRAY = numpy.arange(1_000_000)


def one(a: Any = 0, b: Any = 0, c: Any = 0) -> Any:
    return a


def fan(api: Any, n: int) -> Any:
    return api.get([api.remote(one).remote(i) for i in range(n)])


class Counter:
    def __init__(self) -> None:
        self.n = 0

    def up(self, *given: Any) -> int:
        self.n += 1
        return self.n


def tasks(api: Any, f: Any, actor: Any) -> None:
    api.get([f.remote(i) for i in range(1000)])


def three_arguments(api: Any, f: Any, actor: Any) -> None:
    ref = api.put([1, 2])
    api.get([f.remote(ref, {"a": [i]}, c="text") for i in range(1000)])


def nested(api: Any, f: Any, actor: Any) -> None:
    def outer(n: int) -> Any:
        return sum(api.get([f.remote(i) for i in range(n)]))

    api.get([api.remote(outer).remote(10) for _ in range(10)])


def wait_each(api: Any, f: Any, actor: Any) -> None:
    left = [f.remote(i) for i in range(500)]
    while left:
        _, left = api.wait(left, timeout=30)


def calls(api: Any, f: Any, actor: Any) -> None:
    api.get([actor.up.remote() for _ in range(1000)])


def calls_with_an_argument(api: Any, f: Any, actor: Any) -> None:
    api.get([actor.up.remote(i) for i in range(1000)])


def calls_one_by_one(api: Any, f: Any, actor: Any) -> None:
    for _ in range(500):
        api.get(actor.up.remote())


def tasks_one_by_one(api: Any, f: Any, actor: Any) -> None:
    for i in range(300):
        api.get(f.remote(i))


def arrays(api: Any, f: Any, actor: Any) -> None:
    for _ in range(20):
        api.get(f.remote(api.put(ARRAY)))


ROWS: dict[str, Callable[[Any, Any, Any], None]] = {
    "1,000 tasks": tasks, "1,000 tasks with three arguments": three_arguments, "10 tasks of 10 tasks": nested,
    "wait for 500 one by one": wait_each, "1,000 actor calls": calls,
    "1,000 actor calls with an argument": calls_with_an_argument, "500 actor calls one by one": calls_one_by_one,
    "300 tasks one by one": tasks_one_by_one, "20 arrays of 8 MB": arrays,
}  # fmt: skip

#: How often a row is run for one measurement: the short ones more often, so that no hiccup of Ray's decides.
TIMES = {"1,000 actor calls": 3, "1,000 actor calls with an argument": 3, "500 actor calls one by one": 3,
         "wait for 500 one by one": 2, "300 tasks one by one": 3, "20 arrays of 8 MB": 2}  # fmt: skip
#: Seconds after a row in which its workers report: they gather for one where nobody looks.
REPORT_SECONDS = 1.2
IDLE_SECONDS = 4.0

#: A row for which Ray starts more workers than there are CPUs, and the seconds in which it ends them again: that takes
#: 0.1 to 0.2 s of CPU for each, and would count for whatever row is running by then.
MANY_WORKERS, END_SECONDS = "10 tasks of 10 tasks", 6.0

_spent: dict[int, float] = {}  # process of the cluster → its CPU seconds when last seen: some end on the way


def cluster_cpu(program: int) -> float:
    """Returns the CPU seconds of every process of the cluster."""
    for process in psutil.Process(program).children(recursive=True):
        try:
            _spent[process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return sum(_spent.values())


def measured(program: int, run: Callable[[], None]) -> tuple[float, float, float]:
    """Returns the CPU seconds of this process and the cluster that ``run`` takes, and its seconds without and with the
    wait for reports."""
    cluster, own, began = cluster_cpu(program), sum(os.times()[:2]), time.perf_counter()
    run()
    took = time.perf_counter() - began
    time.sleep(REPORT_SECONDS)
    own, whole = sum(os.times()[:2]) - own, time.perf_counter() - began
    return own + cluster_cpu(program) - cluster, took, whole


def print_row(row: str, pair: dict[str, list[tuple[float, float, float]]], idle: float) -> None:
    """Prints the medians of the rounds' ratios; ``idle`` is the CPU seconds that the idle cluster takes in a second."""
    both = list(zip(pair["ray"], pair["raynb"], strict=True))
    ratios = [b[0] / a[0] for a, b in both]
    without = [(b[0] - idle * b[2]) / (a[0] - idle * a[2]) for a, b in both]
    walls = [b[1] / a[1] for a, b in both]
    least = min(b[0] for b in pair["raynb"]) / min(a[0] for a in pair["ray"])
    print(f"{row:36} CPU {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, best of each {least:.2f}, "
          f"without idle {median(without):.2f}), time {median(walls):.2f}", flush=True)  # fmt: skip


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    os.environ["RAY_AUTH_MODE"] = "disabled"
    bed = LocalNodes([{"num_cpus": 2}, {"num_cpus": 2, "object_store_memory": 500 << 20}])
    try:
        raynb.init(bed.address)
        sides = {}
        for name, api in (("ray", ray), ("raynb", raynb)):
            f, actor = api.remote(one), api.remote(Counter).remote()
            sides[name] = (api, f, actor)
            for run in ROWS.values():
                run(api, f, actor)  # workers started, functions known
        time.sleep(END_SECONDS)
        used, _, whole = measured(bed._program.pid, lambda: time.sleep(IDLE_SECONDS))
        print(f"idle: {used / whole * 1000:.0f} ms of CPU a second", flush=True)
        found: dict[str, dict[str, list[tuple[float, float, float]]]] = {row: {"ray": [], "raynb": []} for row in ROWS}
        for place in range(rounds):
            for row, run in ROWS.items():
                def repeated(run: Any = run, row: str = row) -> None:
                    for _ in range(TIMES.get(row, 1)):
                        run(*sides[name])

                order = list(sides)[:: 1 if place % 2 else -1]
                run(*sides[order[-1]])  # who is first would pay for what the row before has left
                time.sleep(END_SECONDS if row == MANY_WORKERS else REPORT_SECONDS)
                for name in order:
                    found[row][name].append(measured(bed._program.pid, repeated))
                    if row == MANY_WORKERS:
                        time.sleep(END_SECONDS)
        for row, pair in found.items():
            print_row(row, pair, used / whole)
        print("##", json.dumps(found))
        raynb.shutdown()
    finally:
        bed.close()


if __name__ == "__main__":
    main()
