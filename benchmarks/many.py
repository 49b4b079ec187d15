"""Very many: a million tasks, ten thousand arguments, thousands of returns, a thousand actors.

``python -m benchmarks.many`` runs raynb; ``--engine ray`` runs Ray for orientation. Memory is the
driver's resident size after Python's and the C library's free memory was given back.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import gc
import importlib
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import procs, work
from benchmarks.report import aligned, short

#: Actors are made until this much memory is left to the machine.
RESERVE = 3_000_000_000


def settled_memory() -> int:
    """Returns the driver's resident bytes after what is free was given back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return procs.rss(os.getpid())


def free_memory() -> int:
    """Returns the bytes that the machine still has for new processes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def hold(path: str) -> None:
    """Keeps a worker busy until the gate opens (a task that waits in `get` would free its CPU)."""
    with open(path) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


class Gate:
    """A locked file that tasks wait at; `open` lets them go, also those that come later."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "gate")
        self._file = open(self.path, "w")  # noqa: SIM115  (closing it is what opens the gate)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        self._file.close()


@contextmanager
def gate() -> Iterator[Gate]:
    """Gives a closed gate, and opens it at the latest when its block ends."""
    with tempfile.TemporaryDirectory() as folder:
        made = Gate(folder)
        try:
            yield made
        finally:
            made.open()


class Many:
    """The measurements on one module with Ray's names."""

    def __init__(self, ray: Any, options: argparse.Namespace) -> None:
        self.ray = ray
        self.options = options
        self.rows: list[list[str]] = [["what", "figure"]]
        self.nothing = ray.remote(work.nothing)

    def note(self, what: str, figure: str) -> None:
        """Adds a line to the table and shows it at once."""
        self.rows.append([what, figure])
        print(f"{what}: {figure}", file=sys.stderr, flush=True)

    def queued(self) -> None:
        """Memory a queued task: every worker is held while the tasks are submitted."""
        count, ray = self.options.tasks, self.ray
        holder = ray.remote(hold)
        with gate() as door:
            held = [holder.remote(door.path) for _ in range(self.options.workers)]
            before = settled_memory()
            begin = time.perf_counter()
            refs = [self.nothing.remote() for _ in range(count)]
            submitted = time.perf_counter() - begin
            after = settled_memory()
            door.open()
            ray.get(held)
            begin = time.perf_counter()
            for i in range(0, count, 10_000):
                ray.get(refs[i : i + 10_000])
            ended = time.perf_counter() - begin
            finished = settled_memory()
            del refs, held
        ray.get(self.nothing.remote())  # dropped refs may be taken note of with the next call
        dropped = settled_memory()
        self.note(f"{count:,} tasks queued: submitted", f"{short(count / submitted)}/s")
        self.note("  then finished and fetched", f"{short(count / ended)}/s")
        self.note("  memory a queued task, its ref included", f"{(after - before) / count:,.0f} bytes")
        self.note("  memory a finished task, its ref included", f"{(finished - before) / count:,.0f} bytes")
        self.note("  left a task when the refs are dropped", f"{(dropped - before) / count:,.1f} bytes")

    def loop(self) -> None:
        """A million tasks in one loop, and growth from one such loop to the next."""
        count, ray = self.options.tasks, self.ray
        memory = [settled_memory()]
        for _ in range(2):
            begin = time.perf_counter()
            refs = [self.nothing.remote() for _ in range(count)]
            ray.get(refs)
            took = time.perf_counter() - begin
            del refs
            ray.get(self.nothing.remote())
            memory.append(settled_memory())
            self.note(f"{count:,} tasks in one loop, all fetched", f"{took:.1f} s, {short(count / took)}/s")
        begin = time.perf_counter()
        for _ in range(count):
            self.nothing.remote()
        ray.get(self.nothing.remote())
        took = time.perf_counter() - begin
        memory.append(settled_memory())
        self.note(f"{count:,} tasks whose refs are dropped at once", f"{took:.1f} s, {short(count / took)}/s")
        growth = [f"{(b - a) / count:,.1f}" for a, b in itertools.pairwise(memory)]
        self.note("  growth of the driver a task, each of the three loops", f"{' / '.join(growth)} bytes")

    def arguments(self) -> None:
        """Ten thousand refs as arguments of one task."""
        count, ray = self.options.refs, self.ray
        refs = [ray.put(i) for i in range(count)]

        def total(*values: int) -> int:
            return sum(values)

        remote = ray.remote(total)
        self.timed(
            f"{count:,} refs as arguments of one task",
            lambda: ray.get(remote.remote(*refs)),
            sum(range(count)),
        )

    def returns(self) -> None:
        """Three thousand returns of one task."""
        count, ray = self.options.returns, self.ray

        def numbers(count: int) -> tuple[int, ...]:
            return tuple(range(count))

        remote = ray.remote(numbers).options(num_returns=count)
        self.timed(
            f"{count:,} returns of one task", lambda: sum(ray.get(remote.remote(count))), sum(range(count))
        )

    def gets(self) -> None:
        """One get of ten thousand refs, and a list of as many refs in one object."""
        count, ray = self.options.refs, self.ray
        refs = [ray.put(i) for i in range(count)]
        self.timed(f"get of {count:,} refs", lambda: sum(ray.get(refs)), sum(range(count)))
        box = ray.put(refs)
        self.timed(f"get of a list of {count:,} refs", lambda: len(ray.get(box)), count)

        def inside(refs: list[Any]) -> int:
            return len(refs)

        remote = ray.remote(inside)
        self.timed(f"task that takes a list of {count:,} refs", lambda: ray.get(remote.remote(refs)), count)

    def timed(self, what: str, action: Callable[[], object], expected: object) -> None:
        """Notes the median of three runs of an action, whose result is checked."""
        took = []
        for _ in range(3):
            begin = time.perf_counter()
            got = action()
            took.append(time.perf_counter() - begin)
            if got != expected:
                raise AssertionError(f"{what}: got {got!r}, not {expected!r}")
        self.note(what, f"{sorted(took)[1]:.3f} s (first {took[0]:.3f} s)")

    def actors(self) -> None:
        """As many actors at once as memory allows, up to the number asked for."""
        ray, asked = self.ray, self.options.actors
        cls = ray.remote(num_cpus=0)(work.Counter)
        mark = os.environ[procs.MARK]
        alive: list[Any] = []
        others = procs.marked(mark)
        memory, begin, end = procs.pss(others), time.perf_counter(), f"all {asked} alive"
        while len(alive) < asked:
            made = [cls.remote() for _ in range(min(50, asked - len(alive)))]
            try:
                ray.get([actor.add.remote() for actor in made], timeout=self.options.patience)
            except Exception as error:
                end = f"then {type(error).__name__}: {str(error)[:200]}"
                break
            alive += made
            if free_memory() < RESERVE:
                end = f"stopped at {RESERVE / 1e9:.0f} GB of free memory"
                break
        took = time.perf_counter() - begin
        pids = procs.marked(mark)
        self.note(f"actors alive at once ({asked:,} asked for)", f"{len(alive)} in {took:.1f} s; {end}")
        if alive:
            each = (procs.pss(pids) - memory) / len(alive)
            self.note("  memory an actor, over all processes", f"{each / 1e6:.1f} MB")
            begin = time.perf_counter()
            ray.get([actor.add.remote() for actor in alive])
            self.note("  one call to each", f"{short(len(alive) / (time.perf_counter() - begin))}/s")
        begin = time.perf_counter()
        alive.clear()
        made = []
        while (left := len(procs.marked(mark)) - len(others)) > 0 and time.perf_counter() < begin + 60:
            time.sleep(0.05)
        gone = f"{time.perf_counter() - begin:.1f} s" if left <= 0 else f"no, {left} are left after 60 s"
        self.note("  their processes are gone after the last handle", gone)

    def kills(self) -> None:
        """A hundred rounds of creating and killing an actor."""
        ray = self.ray
        cls = ray.remote(num_cpus=0)(work.Counter)
        begin = time.perf_counter()
        for _ in range(100):
            actor = cls.remote()
            ray.get(actor.add.remote())
            ray.kill(actor)
        self.note("100 rounds of create, call and kill an actor", f"{time.perf_counter() - begin:.1f} s")


PARTS = ("queued", "loop", "arguments", "returns", "gets", "actors", "kills")


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    made.add_argument("--engine", choices=["raynb", "ray"], default="raynb")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--tasks", type=int, default=1_000_000)
    made.add_argument("--refs", type=int, default=10_000)
    made.add_argument("--returns", type=int, default=3_000)
    made.add_argument("--actors", type=int, default=1_000)
    made.add_argument("--patience", type=float, default=120, help="seconds for 50 actors to answer")
    made.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    made.add_argument("--json", help="where the table also goes, as JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the parts that were asked for and prints the table."""
    options = parser().parse_args(arguments)
    if procs.MARK not in os.environ:
        # Our own processes are found by their environment, which can't be changed after the start.
        from benchmarks.session import environment

        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.many", *(sys.argv[1:] if arguments is None else arguments)],
            environment(f"many-{os.getpid()}-{threading.get_ident()}"),
        )
    ray = importlib.import_module(options.engine)
    extra = {} if options.engine == "raynb" else {"address": "local", "include_dashboard": False}
    ray.init(num_cpus=options.workers, **extra)
    many = Many(ray, options)
    failed = 0
    try:
        ray.get([many.nothing.remote() for _ in range(1_000)])
        for part in options.parts:
            try:
                getattr(many, part)()
            except Exception as error:
                failed = 1
                many.note(f"PROBLEM {part}", f"{type(error).__name__}: {str(error)[:300]}")
    finally:
        ray.shutdown()
    print(aligned(many.rows))
    if options.json:
        Path(options.json).write_text(
            json.dumps({"machine": procs.machine(), "rows": many.rows[1:]}, indent=1)
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
