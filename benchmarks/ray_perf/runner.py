"""Runs the script on both engines, or on two versions of raynb, row after row in turns, and prints the ratios."""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import procs
from benchmarks.compare import results_file, say
from benchmarks.report import aligned, short, times
from benchmarks.session import ROOT, environment
from benchmarks.trees import commit_of, package_of

ALIAS = Path(__file__).parent / "alias"
BEFORE = "before"  # another version of raynb, in the place of the peer
FLOOR = 0.95  # what a row may fall to beside it


def wanted(row: str) -> float | None:
    """Returns how many times Ray's rate raynb is held to in a row; None: nothing is asked.

    Rows about bytes have their own aims (see `benchmarks.store`); rows through Ray's client
    measure a hop that raynb doesn't have.
    """
    if row.startswith("client:") or "gigabytes" in row or "placement group" in row:
        return None
    many = row.startswith(("multi client", "n:n"))
    return 3.0 if many else 10.0


@dataclass
class Run:
    """The script in a process of its own."""

    engine: str
    process: subprocess.Popen[bytes]
    go: IO[str]
    rows: int
    mark: str
    buffer: bytes = b""
    results: dict[str, tuple[float, float]] = field(default_factory=dict)
    end: str = ""

    def read(self, timeout: float) -> dict[str, Any] | None:
        """Returns the next line of the script, or None when it ended or was silent too long."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.rows], [], [], left)[0]:
                self.end = f"silent for {timeout:.0f} s"
                return None
            data = os.read(self.rows, 1 << 16)
            if not data:
                self.end = f"ended before the script's end, exit code {self.process.wait(60)}"
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if found.get("finished"):
            self.end = "finished"
            return None
        return found

    def close(self) -> None:
        """Ends the process and whatever it started."""
        procs.let_go(self.mark)
        if self.end == "finished":
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.end = "finished, but its process didn't end"
        procs.end_marked(self.mark)
        self.process.wait()
        self.go.close()
        os.close(self.rows)


def start(
    engine: str, interpreter: str, package: Path, options: argparse.Namespace, log: IO[bytes], tree: Path = ROOT
) -> Run:
    """Starts the script on one engine; raynb is that in ``tree``."""
    mark = uuid.uuid4().hex
    env = environment(mark)
    env["TESTS_TO_RUN"] = options.rows
    if engine != "ray":
        env["PYTHONPATH"] = os.pathsep.join([str(ALIAS), str(tree), env["PYTHONPATH"]])
        env["RAYNB_BENCHMARK_RAY"] = str(package)
    go_read, go_write = os.pipe()
    rows_read, rows_write = os.pipe()
    process = subprocess.Popen(
        [interpreter, "-m", "benchmarks.ray_perf.script", str(go_read), str(rows_write), str(options.settle)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[go_read, rows_write], env=env, cwd=tree,
    )  # fmt: skip
    os.close(go_read)
    os.close(rows_write)
    return Run(engine, process, os.fdopen(go_write, "w", buffering=1), rows_read, mark)


def take_turns(runs: Sequence[Run], timeout: float) -> None:
    """Lets the runs measure the same row one after the other, until each has ended; who waits is held."""
    at = {}
    for run in runs:
        at[run.engine] = run.read(timeout)
        procs.hold(run.mark)
    turn = 0
    while any(not run.end for run in runs):
        turn += 1
        for run in runs if turn % 2 else list(reversed(runs)):
            row = at.get(run.engine)
            if row is None:
                continue
            say(f"{run.engine}: {row['row']} …")
            procs.let_go(run.mark)
            run.go.write("go\n")
            result = run.read(timeout)
            if result is not None:
                run.results[result["row"]] = (result["mean"], result["sd"])
            at[run.engine] = run.read(timeout) if result is not None else None  # what is between two rows
            procs.hold(run.mark)


def report(runs: Sequence[Run]) -> str:
    """Returns the table: rows that compare like with like, then those of Ray's client."""
    by_name = {run.engine: run for run in runs}
    ours = by_name["raynb"].results if "raynb" in by_name else {}
    peer = BEFORE if BEFORE in by_name else "ray"
    theirs = by_name[peer].results if peer in by_name else {}
    lines = [["row", "raynb", "Ray" if peer == "ray" else peer, "ratio", "wanted", "met"]]
    for row in sorted(dict.fromkeys([*theirs, *ours]), key=lambda row: row.startswith("client:")):
        mine, other = ours.get(row), theirs.get(row)
        value = mine[0] / other[0] if mine and other else None
        aim = wanted(row) if peer == "ray" else FLOOR
        lines.append([
            row,
            f"{short(mine[0])} ±{short(mine[1])}" if mine else "–",
            f"{short(other[0])} ±{short(other[1])}" if other else "–",
            times(value) if value is None or peer == "ray" else f"{value:.3f}",
            "" if aim is None else f"≥ {short(aim)}×",
            "" if aim is None or value is None else ("yes" if value >= aim else "NO"),
        ])  # fmt: skip
    ends = [f"{run.engine}: {run.end}" for run in runs]
    return "\n".join([aligned(lines), "", *ends])


def ray_package(interpreter: str) -> Path | None:
    """Returns the folder of the Ray that an interpreter has, without importing it."""
    code = "import importlib.util as u; s = u.find_spec('ray'); print(s.origin if s and s.origin else '')"
    found = subprocess.run(
        [interpreter, "-c", code], capture_output=True, text=True, timeout=60
    ).stdout.strip()
    return Path(found).parent if found else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns 1 when a run didn't come to the script's end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_perf", description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("RAYNB_BENCHMARK_PEERS") or sys.executable,
                        help="the Python that has Ray (also: RAYNB_BENCHMARK_PEERS)")  # fmt: skip
    parser.add_argument("--engines", nargs="+", choices=["raynb", "ray"], default=["raynb", "ray"])
    parser.add_argument("--before", metavar="TREE",
                        help="a commit of this repository, or the root of a checkout, in the place of Ray")  # fmt: skip
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--settle", type=float, default=1.0,
                        help="seconds of rest before a row; the script's own is 10 (default 1)")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=300, help="seconds until a row is given up")
    parser.add_argument("--json", help="where the figures go (default: a dated file in benchmarks/results)")
    options = parser.parse_args(arguments)
    package = ray_package(options.peers)
    if package is None:
        say(f"{options.peers} has no Ray; name an interpreter that has it with --peers.")
        return 2
    target = results_file("ray_perf", options.json)
    with ExitStack() as stack:
        runs = []
        trees = {}
        if options.before:
            trees[BEFORE] = stack.enter_context(package_of(options.before))
            options.engines = ["raynb", BEFORE]
            say(f"{BEFORE}: {commit_of(options.before)}; raynb: {commit_of(str(ROOT))}; load {os.getloadavg()[0]:.1f}")
        for engine in options.engines:
            log = stack.enter_context(open(target.with_suffix(f".{engine}.log"), "wb"))
            # The same interpreter for both where it can be: raynb needs nothing that Ray's lacks.
            run = start(engine, options.peers, package, options, log, trees.get(engine, ROOT))
            stack.callback(run.close)
            runs.append(run)
        try:
            take_turns(runs, options.timeout)
        except (KeyboardInterrupt, SystemExit):  # what was measured until now is shown all the same
            for run in runs:
                run.end = run.end or "stopped by the user"
        text = report(runs)
    target.write_text(
        json.dumps({run.engine: {"rows": run.results, "end": run.end} for run in runs}, indent=1)
    )
    print(text)
    say(f"figures: {target}; what the engines printed: beside it")
    return 0 if all(run.end == "finished" for run in runs) else 1
