"""``python -m benchmarks.against``: starts pairs of processes, has them measure in turns, prints the table."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from benchmarks import against, procs
from benchmarks.against.rows import ROWS
from benchmarks.compare import end_in_order, results_file, say
from benchmarks.report import aligned, short
from benchmarks.session import ROOT, Answers, environment
from benchmarks.trees import commit_of, package_of

#: row → (the driver's processor time, that of its other processes, wall time) in µs of each batch.
Samples = dict[str, list[tuple[float, float, float]]]


class Side:
    """One version in a process of its own. Thread contract: one thread.

    Args:
        package: the folder that holds ``raynb`` and nothing else.
        size: tasks or calls in a batch.
        log: takes what the process prints.
    """

    def __init__(self, package: Path, size: int, log: IO[bytes]) -> None:
        self.samples: Samples = {}
        self._mark = uuid.uuid4().hex
        env = environment(self._mark)
        env["PYTHONPATH"] = os.pathsep.join([str(package), env["PYTHONPATH"]])
        mine, theirs = os.pipe()
        # In that folder, which comes first on the path of a module that is run.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.against.side", str(theirs), str(size)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[theirs], env=env, cwd=package, text=True,
        )  # fmt: skip
        os.close(theirs)
        self._answers = Answers(mine)
        found = self._answers.read(120)["from"]
        if os.path.realpath(found) != os.path.realpath(package / "raynb"):
            raise RuntimeError(f"{found} was imported instead of {package}/raynb")

    def batch(self, row: str, counts: bool) -> None:
        """Runs one batch of a row; the first ones of a process do not count."""
        assert self._process.stdin is not None
        self._process.stdin.write(row + "\n")
        self._process.stdin.flush()
        answer = self._answers.read(120)
        if counts:
            self.samples.setdefault(row, []).append((answer["cpu"], answer["beside"], answer["wall"]))

    def close(self) -> None:
        """Ends the process and what it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._answers.close()
        procs.end_marked(self._mark)


def pair(
    packages: tuple[Path, Path], rows: Sequence[str], options: argparse.Namespace, number: int, log: IO[bytes]
) -> tuple[Samples, Samples]:
    """Measures all rows on one pair of processes, a batch of each in turn; returns the samples of both."""
    with ExitStack() as stack:
        sides = []
        for package in packages:
            side = Side(package, options.size, log)
            stack.callback(side.close)
            sides.append(side)
        for row in rows:
            for turn in range(-options.warm, options.batches):
                for side in sides if (turn + number) % 2 else reversed(sides):
                    side.batch(row, counts=turn >= 0)
        return sides[0].samples, sides[1].samples


def low(samples: Sequence[float], share: float) -> float:
    """Returns the sample that a share of all of them is below or at."""
    return sorted(samples)[int(share * (len(samples) - 1))]


def table(pairs: Sequence[tuple[Samples, Samples]], share: float) -> list[list[str]]:
    """Returns the lines: before and now in µs, the ratio of the driver's processor time inside each pair; the same of
    the workers, and the ratio of the time."""
    lines = [["row", "before", "now", "CPU, now / before", "pairs", "workers", "now / before", "time, now / before"]]
    for row in pairs[0][0]:
        figures = [  # of each pair: (driver, others, wall) of both
            [[low([one[kind] for one in side[row]], share) for side in sides] for kind in (0, 1, 2)] for sides in pairs
        ]
        ratios = [
            [now / before if before else 1.0 for before, now in (one[kind] for one in figures)] for kind in (0, 1, 2)
        ]
        medians = [[statistics.median(one[kind][side] for one in figures) for side in (0, 1)] for kind in (0, 1)]
        lines.append([
            row,
            *(f"{short(time)} µs" for time in medians[0]),
            f"{statistics.median(ratios[0]):.3f}",
            " ".join(f"{ratio:.2f}" for ratio in sorted(ratios[0])),
            " → ".join(f"{short(time)} µs" for time in medians[1]),
            f"{statistics.median(ratios[1]):.3f}",
            f"{statistics.median(ratios[2]):.3f}",
        ])  # fmt: skip
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=against.__doc__)
    parser.add_argument("before", help="a commit of this repository, or the root of a checkout")
    parser.add_argument("--now", default=str(ROOT), help="what it is compared with (default: this tree)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="; ".join(ROWS))
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes (default 5)")
    parser.add_argument("--batches", type=int, default=20, help="batches of a row on each side of a pair (default 20)")
    parser.add_argument("--warm", type=int, default=5, help="batches before them that do not count (default 5)")
    parser.add_argument("--size", type=int, default=1000, help="tasks or calls in a batch (default 1,000)")
    parser.add_argument("--low", type=float, default=0.2,
                        help="the share of batches below the one that stands for a side (default 0.2)")  # fmt: skip
    parser.add_argument("--json", help="where the samples go (default: a dated file in benchmarks/results)")
    options = parser.parse_args(arguments)
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}; there are: {'; '.join(ROWS)}")
    target = results_file("against", options.json)
    load = os.getloadavg()[0]
    pairs: list[tuple[Samples, Samples]] = []
    with ExitStack() as stack:
        log = stack.enter_context(open(target.with_suffix(".log"), "wb"))
        packages = tuple(stack.enter_context(package_of(where)) for where in (options.before, options.now))
        for number in range(options.pairs):
            say(f"pair {number + 1}/{options.pairs} …")
            pairs.append(pair((packages[0], packages[1]), options.rows or list(ROWS), options, number, log))
    target.write_text(json.dumps({"before": commit_of(options.before), "now": commit_of(options.now), "pairs": pairs}))
    print(f"{time.strftime('%Y-%m-%d')}; before: {commit_of(options.before)}, now: {commit_of(options.now)}; "
          f"{options.pairs} pairs, {options.batches} batches of each side; µs of processor time of the driver, "
          f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after")  # fmt: skip
    print(aligned(table(pairs, options.low)))
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
