"""raynb on a Ray cluster beside plain Ray on the same cluster, in one run.

``python -m benchmarks.cluster [rounds] [row ...]`` starts two nodes on this machine and needs a Python with ray and
psutil. A round of all rows takes about three minutes.

A row's number is the CPU time of driver and cluster together: it hardly depends on what else the machine does. What is
reported of tasks after a row belongs to it, and so does writing raynb's rows of them, which it would do once somebody
looks at a view or 10,000 wait.

What the cluster takes while nothing runs is measured before the rows: once with plain Ray, its actor and its workers,
before `raynb.init`, and once with raynb on top. The difference is what raynb takes in any case: its listener, its hub,
its actor and its workers. It is printed by itself, and belongs to raynb alone: both are running beside plain Ray's
rows, so it is subtracted from these. So is plain Ray's actor from raynb's rows: each side pays for its own one. The
ratio is also printed without either's idle. The sides take turns at being first, and each has run once before,
unmeasured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
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

    def process(self) -> int:
        return os.getpid()


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
#: Seconds after a row in which its workers report, and the driver looks after what they have: they gather for one
#: where nobody looks, and it looks every half.
REPORT_SECONDS = 2.5
#: Of the idle cluster's: in ten of them what raynb takes was 13 to 49 ms a second, as Ray's agents had work or not.
IDLE_SECONDS = 40.0

#: A row for which Ray starts more workers than there are CPUs, and the seconds in which it ends them again: that takes
#: 0.1 to 0.2 s of CPU for each, and would count for whatever row is running by then.
MANY_WORKERS, END_SECONDS = "10 tasks of 10 tasks", 6.0

#: The API, a remote function, and an actor.
Side = tuple[Any, Any, Any]
#: CPU seconds, seconds of the run, and of the run with the wait after it.
Sample = tuple[float, float, float]

_spent: dict[int, float] = {}  # process of the cluster → its CPU seconds when last seen: some end on the way


def cluster_cpu(program: int) -> float:
    """Returns the CPU seconds of every process of the cluster."""
    for process in psutil.Process(program).children(recursive=True):
        try:
            _spent[process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return sum(_spent.values())


def measured(program: int, run: Callable[[], object], after: Callable[[], object] = int) -> Sample:
    """Returns the CPU seconds of this process and the cluster that ``run`` takes, with what it leaves to be done, and
    its seconds without and with the wait for that.

    Args:
        program: the process whose children the cluster is.
        run: what is measured.
        after: is called after the wait, and is measured, too.
    """
    cluster, own, began = cluster_cpu(program), sum(os.times()[:2]), time.perf_counter()
    run()
    took = time.perf_counter() - began
    time.sleep(REPORT_SECONDS)
    after()
    own, whole = sum(os.times()[:2]) - own, time.perf_counter() - began
    return own + cluster_cpu(program) - cluster, took, whole


def idle(program: int, actor: int = 0) -> tuple[float, float]:
    """Returns the CPU seconds that driver and cluster, and of them an actor's process, take in a second in which
    nothing runs."""
    time.sleep(END_SECONDS)
    cluster_cpu(program)
    before = _spent.get(actor, 0.0)
    used, _, whole = measured(program, partial(time.sleep, IDLE_SECONDS))
    return used / whole, (_spent.get(actor, 0.0) - before) / whole


def warmed(api: Any) -> Side:
    """Returns a side whose workers are started and know its functions."""
    side = api, api.remote(one), api.remote(Counter).remote()
    for run in ROWS.values():
        run(*side)
    return side


def repeated(row: str, side: Side) -> None:
    """Runs a row as often as it is run for one measurement."""
    for _ in range(TIMES.get(row, 1)):
        ROWS[row](*side)


def print_row(row: str, pair: dict[str, list[Sample]], theirs: float, actor: float, own: float) -> None:
    """Prints the medians of the rounds' ratios.

    Args:
        row: its name.
        pair: side → its samples.
        theirs: the CPU seconds that the idle cluster takes in a second without raynb.
        actor: what of that plain Ray's actor takes, also beside raynb's rows, whose it is not.
        own: what it takes more with raynb, also beside plain Ray's rows.
    """
    sides = zip(pair["ray"], pair["raynb"], strict=True)
    both = [(a[0] - own * a[2], b[0] - actor * b[2], a, b) for a, b in sides]
    ratios = [mine / rays for rays, mine, _, _ in both]
    without = [(mine - (theirs - actor + own) * b[2]) / (rays - theirs * a[2]) for rays, mine, a, b in both]
    walls = [b[1] / a[1] for _, _, a, b in both]
    least = min(mine for _, mine, _, _ in both) / min(rays for rays, *_ in both)
    print(f"{row:36} CPU {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, best of each {least:.2f}, "
          f"without idle {median(without):.2f}), time {median(walls):.2f}", flush=True)  # fmt: skip


def main() -> None:
    rounds, *rows = sys.argv[1:] or ["3"]
    unknown = ", ".join(row for row in rows if row not in ROWS)
    if unknown or not rounds.isdigit():
        sys.exit(f"no row is called {unknown}; there are: {'; '.join(ROWS)}" if unknown else "the rounds come first")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    # The nodes have this raynb: were it sent there, its tasks would have a runtime environment and plain Ray's none.
    paths = os.pathsep.join(filter(None, [str(Path(raynb.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    bed = LocalNodes(
        [{"num_cpus": 2}, {"num_cpus": 2, "object_store_memory": 500 << 20}], {"PYTHONPATH": paths}
    )
    program = bed._program.pid
    try:
        ray.init(bed.address, logging_level="WARNING")
        sides = {"ray": warmed(ray)}
        theirs, actor = idle(program, ray.get(sides["ray"][2].process.remote()))
        print(f"{'idle, plain Ray':36} {theirs * 1000:.0f} ms of CPU a second, of its actor {actor * 1000:.0f}",
              flush=True)  # fmt: skip
        raynb.init(bed.address)
        engine: Any = raynb.runtime().engine
        sides["raynb"] = warmed(raynb)
        own = max(idle(program)[0] - theirs, 0.0)
        print(f"{'idle, raynb more':36} {own * 1000:.0f} ms of CPU a second", flush=True)
        # Any look at rows writes them. This one reads none, and does not have workers report more often, as a view's.
        up_to_date = {"ray": int, "raynb": engine.rows}
        found: dict[str, dict[str, list[Sample]]] = {row: {"ray": [], "raynb": []} for row in rows or ROWS}
        for place in range(int(rounds)):
            first, second = list(sides)[:: 1 if place % 2 else -1]
            for row, pair in found.items():
                # Who is first would pay for what the row before has left; and raynb for its import by workers that
                # were started for plain Ray.
                for name, counts in ((first, False), (second, False), (first, True), (second, True)):
                    sample = measured(program, partial(repeated, row, sides[name]), up_to_date[name])
                    if counts:
                        pair[name].append(sample)
                    if row == MANY_WORKERS:
                        time.sleep(END_SECONDS)
        for row, pair in found.items():
            print_row(row, pair, theirs, actor, own)
        print("##", json.dumps({"idle": [theirs, actor, own], "rows": found}))
        raynb.shutdown()
        ray.shutdown()
    finally:
        bed.close()


if __name__ == "__main__":
    main()
