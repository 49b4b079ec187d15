"""``python -m benchmarks.workloads``: ten workloads on raynb and its peers, in one run; see `main` for the options.

Each pair of engine and workload has a process of its own. The table has the time, the processor time and the peak
memory (PSS beyond that at the start, all processes of the engine together), the lines that a user writes, and the
efficiency: serial time / (CPUs * time).
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import select
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks import procs
from benchmarks.session import ROOT, environment
from benchmarks.workloads import idioms, problems
from benchmarks.workloads.picture import draw

RESULTS = Path(__file__).resolve().parent.parent / "results"


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


def measure(name: str, workload: str, scale: str, workers: int, python: str, patience: float) -> dict[str, Any]:
    """Runs one engine on one workload in a fresh process; returns its figures, or an ``error``."""
    mark = uuid.uuid4().hex
    mine, theirs = os.pipe()
    command = [python, "-m", "benchmarks.workloads.measured", name, workload, scale, str(workers), str(theirs)]
    # One thread for each task's BLAS, and for the serial run: the engines are compared, not OpenBLAS.
    environ = environment(mark) | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    RESULTS.mkdir(exist_ok=True)
    log_path = RESULTS / "workloads.log"
    with open(log_path, "ab") as log, os.fdopen(mine, encoding="utf-8") as answers:
        process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[theirs], env=environ, cwd=ROOT)
        os.close(theirs)
        try:
            until = time.monotonic() + patience
            if not _line(answers, until):
                return {"error": f"ended before it began, see {log_path.name}"}
            watch = Watch(mark)
            text = _line(answers, until)
            processor, memory = watch.stop()
            if not text:
                return {"error": f"no result in {patience:.0f} s, or ended; see {log_path.name}"}
            process.wait(60)
            return {**json.loads(text), "processor": processor, "memory": memory}
        except subprocess.TimeoutExpired:
            return {**json.loads(text), "processor": processor, "memory": memory, "note": "did not end by itself"}
        finally:
            process.kill()
            process.wait()
            procs.end_marked(mark)


def _line(answers: Any, until: float) -> str:
    """Returns the next line, or "" if there is none in time."""
    ready, _, _ = select.select([answers], [], [], max(0.0, until - time.monotonic()))
    return answers.readline().strip() if ready else ""


def lines_of(name: str, workload: str) -> int:
    """Counts the lines that a user of an engine writes, without blank ones, comments and the ``def``."""
    source = inspect.getsource(getattr(type(idioms.engine(name)), idioms.METHODS[workload]))
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines()) - 1


def installed(python: str, package: str) -> bool:
    """Returns whether an interpreter has a package (nothing is imported)."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([python, "-c", code, package], env=environment("probe"), cwd=ROOT, timeout=60).returncode == 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything that is asked for."""
    found: dict[str, Any] = {"machine": procs.machine(), "workers": options.workers, "scale": options.scale,
                             "load": {}, "rows": {}, "lines": {}}  # fmt: skip
    for workload in options.workloads:
        rows = found["rows"][workload] = {}
        found["load"][workload] = os.getloadavg()[0]
        found["lines"][workload] = {}
        for name in options.engines:
            if not installed(options.python, idioms.ENGINES[name][2]):
                continue
            rows[name] = row = measure(
                name, workload, options.scale, options.workers, options.python, options.patience
            )
            found["lines"][workload][name] = lines_of(name, workload)
            base = rows.get("serial", {})
            if "digest" in row and "digest" in base:
                row["equal"] = problems.equal(row["digest"], base["digest"])
                row["efficiency"] = base["seconds"] / (options.workers * row["seconds"])
            print(f"{workload:20} {name:16} {shown(row, found['lines'][workload][name])}", flush=True)
    return found


def shown(row: dict[str, Any], lines: int) -> str:
    """Returns one row's figures as text."""
    if "error" in row:
        return str(row["error"])
    wrong = "" if row.get("equal", True) else " NOT EQUAL to the serial result"
    return (
        f"{row['seconds']:.2f} s, CPU {row['processor']:.1f} s, {row['memory'] / 1e6:.0f} MB, {lines} lines, "
        f"efficiency {row.get('efficiency', 0):.2f}{wrong}"
    )


def table(found: dict[str, Any]) -> str:
    """Returns the figures as a table for the documentation: seconds, then the rest in small cells."""
    names = [name for name in idioms.ENGINES if any(name in rows for rows in found["rows"].values())]
    out = ["| workload | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for workload, rows in found["rows"].items():
        cells = []
        for name in names:
            row = rows.get(name, {"error": ""})
            if "seconds" not in row:
                cells.append("–")
                continue
            cells.append(
                f"{row['seconds']:.2f} s · {row.get('efficiency', 0):.2f}<br>CPU {row['processor']:.1f} s · "
                f"{row['memory'] / 1e6:.0f} MB · {found['lines'][workload][name]} lines"
                + ("" if row.get("equal", True) else "<br>NOT EQUAL")
            )
        out.append(f"| {workload} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns 1 if a result was wrong or missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workloads")
    parser.add_argument("--engines", nargs="+", default=list(idioms.ENGINES), choices=idioms.ENGINES)
    parser.add_argument("--workloads", nargs="+", default=list(problems.NAMES), choices=problems.NAMES)
    parser.add_argument("--scale", default="full", choices=["tiny", "quick", "full"])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", default=sys.executable, help="an interpreter with the peers")
    parser.add_argument("--patience", type=float, default=600, help="seconds that one measurement may take")
    parser.add_argument("--json", type=Path, default=RESULTS / "workloads.json")
    parser.add_argument("--picture", type=Path, help="where to write the bars as SVG")
    options = parser.parse_args(argv)
    found = run(options)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(found))
    if options.picture:
        options.picture.write_text(draw(found), encoding="utf-8")
    rows = [row for rows in found["rows"].values() for row in rows.values()]
    return int(any("error" in row or not row.get("equal", True) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
