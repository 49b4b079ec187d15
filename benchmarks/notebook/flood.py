"""A hundred thousand lines from the tasks of one cell: does the notebook stay usable?

``python -m benchmarks.notebook.flood`` prints them through real kernels, in several shapes, and
says: how long a trivial cell takes meanwhile (on a subshell while the main shell waits), how large
the kernel's process gets, what the cell shows, and whether the log has every line, in the order of
its task. It exits with 1 if a line is missing or the fold doesn't come.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Sequence

from benchmarks import procs
from benchmarks.compare import end_in_order, say
from benchmarks.notebook.kernel import Cell, Kernel
from benchmarks.report import aligned

SETUP = "%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart\nimport raynb as ray"
BODY = "for n in range({lines}):\n    print(f'part {{part}} line {{n}} ' + 'x' * 40)"

#: Compares the log with what was printed, in the kernel: every line, once, in the order of its task.
CHECK = """
def _compare(parts, lines, scope):
    from raynb.base import engine as engines
    said = {{}}
    for output in engines.current().logs():
        if output.scope == scope and output.kind == "stdout":
            said.setdefault(output.task, []).append(output.text)
    texts = sorted("".join(pieces) for pieces in said.values())
    wanted = ["".join(f"part {{p}} line {{n}} " + "x" * 40 + "\\n" for n in range(lines)) for p in range(parts)]
    return sum(text.count("\\n") for text in texts), texts == sorted(wanted)
print("=>", *_compare({parts}, {lines}, len(In) - 2), "<=")
"""

HEAD = [
    "tasks × lines", "until all is shown", "trivial cell, idle", "meanwhile: median / longest",
    "kernel before / peak / after", "the cell shows", "the log has",
]  # fmt: skip

#: (tasks, lines of each, the cell waits for them)
SHAPES = ((1, 100_000, False), (100, 1_000, False), (100, 1_000, True), (10_000, 10, False))


class Flood:
    """One flood: the cell that prints, and what is seen of the kernel meanwhile.

    Thread contract: one thread; one of its own samples the kernel's size.
    """

    def __init__(self, kernel: Kernel, parts: int, lines: int, wait: bool, most: float) -> None:
        self.kernel, self.parts, self.lines, self.wait, self.most = kernel, parts, lines, wait, most
        self.fold = f"{parts * lines - 1000:,} more lines"
        self.latencies: list[float] = []
        self.peak = 0

    def run(self) -> tuple[list[str], bool]:
        """Returns a row of the table, and whether nothing was lost."""
        idle = [self.kernel.trivial(self.wait) for _ in range(20)]
        before = procs.rss(self.kernel.pid)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,))
        watcher.start()
        try:
            cell, seconds = self._print()
        finally:
            ended.set()
            watcher.join()
        after = procs.rss(self.kernel.pid)
        shown = self.kernel.text(cell)
        count, equal = self._compare()
        own = sum("part " in line for line in shown.splitlines())
        whole = equal and self.fold in shown and own == 1000
        row = [
            f"{self.parts:,} × {self.lines:,}" + (", waited for" if self.wait else ""),
            f"{seconds:.1f} s",
            f"{1000 * statistics.median(idle):.0f} ms",
            f"{1000 * statistics.median(self.latencies):.0f} / {1000 * max(self.latencies):.0f} ms",
            f"{before / 1e6:.0f} / {self.peak / 1e6:.0f} / {after / 1e6:.0f} MB",
            f"{own:,} lines" + (f" and “{self.fold}”" if self.fold in shown else ", no fold"),
            f"{count:,} lines, " + ("each as printed, in order" if equal else "NOT as printed"),
        ]
        return row, whole

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.01):
            self.peak = max(self.peak, procs.rss(self.kernel.pid))

    def _print(self) -> tuple[Cell, float]:
        """Runs the cell until all of its output is there; returns it and the seconds."""
        begin = time.perf_counter()
        magic = f"%%remote --each part in range({self.parts})" + (" --wait" if self.wait else "")
        cell = self.kernel.begin(f"{magic}\n{BODY.format(lines=self.lines)}")
        if not self.wait:
            self.kernel.end(cell, self.most)
        while not (done := self.fold in self.kernel.text(cell)) or len(self.latencies) < 5:
            if not done and time.perf_counter() - begin > self.most:
                break
            self.latencies.append(self.kernel.trivial(self.wait))
            time.sleep(0.02)  # a person asks now and then
        seconds = time.perf_counter() - begin
        if self.wait:
            self.kernel.end(cell, self.most)
        return cell, seconds

    def _compare(self) -> tuple[int, bool]:
        """Returns (lines in the log, whether they are exactly what was printed)."""
        cell = self.kernel.run(CHECK.format(parts=self.parts, lines=self.lines), timeout=60)
        end = time.perf_counter() + 5
        while "<=" not in self.kernel.text(cell) and time.perf_counter() < end:
            time.sleep(0.02)
        found = next((line for line in self.kernel.text(cell).splitlines() if "=> " in line), "=> 0 False <=")
        _, count, equal, _ = found.split()
        return int(count), equal == "True"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook.flood", description=__doc__)
    parser.add_argument("--shapes", nargs="+", type=int, choices=range(len(SHAPES)), metavar="N",
                        default=list(range(len(SHAPES))), help=f"which of {SHAPES}")  # fmt: skip
    parser.add_argument("--divide", type=int, default=1, metavar="N", help="print only every Nth of the lines")
    parser.add_argument("--most", type=float, default=90, metavar="S", help="seconds a shape may take")
    options = parser.parse_args(arguments)
    rows, whole = [HEAD], True
    for number in options.shapes:
        parts, lines, wait = SHAPES[number]
        if lines > 1_000 or parts == 1:
            lines //= options.divide
        else:
            parts //= options.divide
        kernel = Kernel(sys.executable)
        try:
            kernel.run(SETUP)
            kernel.run("%%remote --each part in range(4) --wait\nprint('warm', part)")
            row, fine = Flood(kernel, parts, lines, wait, options.most).run()
        finally:
            kernel.close()
        say(f"{row[0]}: {row[1]}")
        rows.append(row)
        whole = whole and fine
    print(f"{time.strftime('%Y-%m-%d')}; resident size of the kernel's process")
    print(aligned(rows))
    return 0 if whole else 1


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
