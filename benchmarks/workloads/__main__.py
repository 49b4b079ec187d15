"""``python -m benchmarks.workloads``: ten workloads on raynb and its peers, in one run; see `main` for the options.

Each pair of engine and workload has a process of its own. The table has the time, the processor time and the peak
memory (PSS beyond that at the start, all processes of the engine together), the lines that a user writes, and the
efficiency: serial time / (CPUs * time). The ceiling of the efficiency is the machine's: as many serial programs as
there are CPUs run side by side, and each takes longer than one alone. With several rounds the engines take turns, and
each row is the engine's median.

All rounds take over an hour, so they can be made in pieces: ``--resume`` goes on with the file of a run, takes only the
samples that it lacks, and ``--stop-after 240`` ends a piece. ``--no-run`` shows what the file has; ``--table`` and
``--picture`` enter it into the documentation.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from benchmarks import procs
from benchmarks.session import ROOT, Answers, HostError, environment
from benchmarks.workloads import idioms, problems, samples, tables
from benchmarks.workloads.picture import draw

RESULTS = Path(__file__).resolve().parent.parent / "results"

#: Seconds that a measurement may take at each size, unless ``--patience`` says otherwise.
PATIENCE = {"tiny": 60.0, "quick": 60.0, "full": 600.0}

#: Seconds that an engine may take to start, warm up, and make the data, and that its process may take to end.
START_SECONDS, END_SECONDS = 180.0, 30.0


class Watch:
    """Looks at the processes of a mark until it is stopped: processor time and peak memory.

    Thread contract: its own thread writes, others read after `stop`.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._over = threading.Event()
        self._times: dict[int, list[float]] = {}
        self._first = procs.pss(procs.marked(mark))
        self._peak = self._first
        self._look()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _look(self) -> None:
        pids, first = procs.marked(self._mark), not self._times
        for pid in pids:
            now = procs.processor_time([pid])
            self._times.setdefault(pid, [now if first else 0.0]).append(now)
        self._peak = max(self._peak, procs.pss(pids))

    def _run(self) -> None:
        while not self._over.wait(0.25):
            self._look()

    def stop(self) -> tuple[float, int]:
        """Returns (seconds of processor time, bytes at the peak beyond those at the start)."""
        self._over.set()
        self._thread.join()
        self._look()
        return sum(max(times) - times[0] for times in self._times.values()), self._peak - self._first


def measure(
    name: str, workload: str, scale: str, workers: int, python: str, patience: float,
    together: threading.Barrier | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Runs one engine on one workload in a fresh process; returns its figures, or an ``error``.

    ``together``: those who start their clocks at the same moment.
    """
    mark = uuid.uuid4().hex
    mine, theirs = os.pipe()
    command = [python, "-m", "benchmarks.workloads.measured", name, workload, scale, str(workers), str(theirs)]
    # One thread for each task's BLAS, and for the serial run: the engines are compared, not OpenBLAS.
    environ = environment(mark) | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    RESULTS.mkdir(exist_ok=True)
    log_path = RESULTS / "workloads.log"
    answers = Answers(mine)
    with open(log_path, "ab") as log:
        log.write(f"-- {name}: {workload}, {scale}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[theirs], env=environ, cwd=ROOT
        )
        os.close(theirs)
        assert process.stdin is not None
        try:
            figures = answered(answers, process.stdin, mark, patience, together)
            if "error" not in figures:
                process.wait(END_SECONDS)
            return figures
        except subprocess.TimeoutExpired:
            return {**figures, "note": f"did not end by itself in {END_SECONDS:.0f} s"}
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):  # what a process that died has not read is flushed once more
                process.stdin.close()
            answers.close()
            procs.end_marked(mark)


def answered(
    answers: Answers, goes_on: IO[bytes], mark: str, patience: float, together: threading.Barrier | None = None
) -> dict[str, Any]:
    """Returns the figures of a process that measures, or an ``error`` of a few words.

    Args:
        answers: what the process says.
        goes_on: what it reads: a line lets it start its clock, another one end its engine.
        mark: the mark of its processes.
        patience: seconds that the measurement may take.
        together: those who start their clocks at the same moment.
    """
    try:
        begun = answers.read(START_SECONDS)
    except HostError as error:
        begun = {"error": f"did not start: {error}"}
    if together is not None:
        try:
            if "error" in begun:
                together.abort()
            else:
                together.wait(START_SECONDS)
        except threading.BrokenBarrierError:
            begun = {"error": "another one did not start"}
    if "error" in begun:
        return begun
    watch = Watch(mark)
    try:
        _let_go_on(goes_on)
        answer = answers.read(patience)
    except HostError as error:
        return {"error": str(error).replace("no answer", "no result")}
    finally:
        processor, memory = watch.stop()
        _let_go_on(goes_on)
    return answer if "error" in answer else {**answer, "processor": processor, "memory": memory}


def _let_go_on(process: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended, as its answer will say
        process.write(b"\n")
        process.flush()


def ceiling(workload: str, scale: str, workers: int, python: str, patience: float) -> dict[str, Any]:
    """Runs one serial program for each worker, all at once; returns the mean of their seconds, or an ``error``."""
    together = threading.Barrier(workers)
    with ThreadPoolExecutor(workers) as threads:
        started = [
            threads.submit(measure, "serial", workload, scale, workers, python, patience, together)
            for _ in range(workers)
        ]
    rows = [one.result() for one in started]
    failed = next((row for row in rows if "error" in row), None)
    return failed or {"seconds": statistics.fmean(row["seconds"] for row in rows)}


def installed(python: str, package: str) -> bool:
    """Returns whether an interpreter has a package (nothing is imported)."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-c", code, package], env=environment("probe"), cwd=ROOT, timeout=60).returncode == 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Takes the samples that are asked for and that the file lacks; it is written after each."""
    options.json.parent.mkdir(parents=True, exist_ok=True)
    told = samples.about(options.scale, options.workers, options.python)
    found = samples.begin(options.json, told, resume=options.resume)
    there = [name for name in options.engines if installed(options.python, idioms.ENGINES[name][2])]
    about = (options.scale, options.workers, options.python, options.patience or PATIENCE[options.scale])
    ends = time.monotonic() + options.stop_after if options.stop_after else math.inf
    for workload, number, kind, name in wanted(options, there):
        taken = found[kind].setdefault(workload, {}).setdefault(name, [])
        if len(taken) > number or any("error" in row for row in taken):  # no result will not become one
            continue
        if time.monotonic() > ends:
            print("stopped; the same command with --resume goes on", flush=True)
            break
        if kind == "apart":
            row = ceiling(workload, *about)
        else:
            if name == there[0]:
                found["load"].setdefault(workload, []).append(round(os.getloadavg()[0], 2))
            row = measure(name, workload, *about)
        taken.append(row)
        samples.write(options.json, found)
        print(f"{workload:20} {kind if kind == 'apart' else name:16} {number + 1}: {shown(row)}", flush=True)
    return found


def wanted(options: argparse.Namespace, there: list[str]) -> Iterator[tuple[str, int, str, str]]:
    """Yields (workload, number of the round, kind of sample, engine) in the order in which they are taken."""
    for workload in options.workloads:
        for number in range(options.rounds):
            for name in there:
                if idioms.has(name, workload):
                    yield workload, number, "samples", name
            if "serial" in there and not options.no_ceiling:
                yield workload, number, "apart", "serial"


def shown(row: samples.Row) -> str:
    """Returns one sample's figures as text."""
    if "error" in row:
        return str(row["error"])
    rest = f", CPU {row['processor']:.1f} s, {row['memory'] / 1e6:.0f} MB" if "processor" in row else ""
    return f"{row['seconds']:.2f} s{rest}"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns 1 if a result was wrong or missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workloads")
    parser.add_argument("--engines", nargs="+", default=list(idioms.ENGINES), choices=idioms.ENGINES)
    parser.add_argument("--workloads", nargs="+", default=list(problems.NAMES), choices=problems.NAMES)
    parser.add_argument("--scale", default="full", choices=["tiny", "quick", "full"])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=1, help="of all engines in turn; each row is the median")
    parser.add_argument("--no-ceiling", action="store_true", help="do not run serial programs side by side")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the peers")
    usual = ", ".join(f"{seconds:.0f} at {size}" for size, seconds in PATIENCE.items())
    about = f"seconds that one measurement may take, beside the engine's start (default: {usual})"
    parser.add_argument("--patience", type=float, help=about)
    parser.add_argument("--json", type=Path, default=RESULTS / "workloads.json", help="the file of the run")
    parser.add_argument("--resume", action="store_true", help="go on with that file: take what it lacks")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="begin no measurement later than that")
    parser.add_argument("--no-run", action="store_true", help="only show what that file has")
    parser.add_argument("--table", type=Path, help="the document to enter the tables into, between its two marks")
    parser.add_argument("--picture", type=Path, help="where to write the bars as SVG")
    options = parser.parse_args(argv)
    try:
        found = samples.read(options.json) if options.no_run else run(options)
    except (samples.OtherRunError, OSError) as error:
        parser.error(str(error))
    print(tables.tables(found))
    if options.table:
        tables.enter(options.table, found)
    if options.picture:
        options.picture.write_text(draw(found), encoding="utf-8")
    rows = [row for rows in samples.judged(found).values() for row in rows.values()]
    return int(any("error" in row or not row.get("equal", True) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
