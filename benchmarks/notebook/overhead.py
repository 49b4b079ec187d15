"""What the notebook's own layer costs: ``%%remote`` over a plain call, and loading the extension.

``python -m benchmarks.notebook.overhead`` asks real kernels and prints medians beside the aims:
a cell as a task costs at most 3 ms more than a plain remote call, one of 500 lines at most 100 ms,
the record of cells (graph, stale results) at most 0.1 ms of a submission,
and the cell that loads the extension returns within 100 ms of the import.

Each figure is taken as a front end sees it: from sending the cell to its answer. The plain call
and the magic take turns, so a machine that is busy for a while slows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.compare import end_in_order
from benchmarks.notebook.kernel import Kernel
from benchmarks.report import aligned

SETUP = "%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart\nimport raynb as ray\n"
PLAIN = "@ray.remote\ndef nothing():\n    pass\n"

#: Ten lines of what people write; fifty of them make a long cell.
PART = """
def step_{n}(values, scale={n}):
    total = sum(value * scale for value in values if value % 2)
    with_names = {{f"name {{i}}": value for i, value in enumerate(values)}}
    return total, with_names

numbers_{n} = [i ** 2 for i in range({n} + 1)]
for index_{n}, number in enumerate(numbers_{n}):
    last_{n} = number if index_{n} else None
result_{n} = step_{n}(numbers_{n})
"""


def long_cell(lines: int) -> str:
    """Returns a cell body of so many lines."""
    text = "".join(PART.format(n=n) for n in range(lines // PART.count("\n")))
    return text + "pass\n" * (lines - text.count("\n"))


def round_trip(kernel: Kernel, code: str) -> float:
    """Runs a cell; returns the seconds until its answer.

    Raises:
        RuntimeError: the cell failed.
    """
    cell = kernel.run(code)
    if cell.status != "ok":
        raise RuntimeError(f"{code[:60]!r} {cell.status}: {cell.error}")
    return cell.seconds


def in_turns(kernel: Kernel, cells: Sequence[str], times: int) -> list[float]:
    """Returns the median seconds of each cell; they take turns, and everything ends in between."""
    samples: list[list[float]] = [[] for _ in cells]
    for _ in range(times):
        for found, code in zip(samples, cells, strict=True):
            found.append(round_trip(kernel, code))
            kernel.run("%wait", timeout=60)
    return [statistics.median(found) for found in samples]


def inside(kernel: Kernel, statements: Sequence[str], times: int) -> list[float]:
    """Returns the median seconds of each statement, measured in the kernel, taking turns."""
    kernel.run("import time, statistics\nsamples = {}\nshell = get_ipython()")
    body = "".join(
        f"    t = time.perf_counter(); {statement}; samples.setdefault({n}, []).append(time.perf_counter() - t)\n"
        "    time.sleep(0.005)\n"
        for n, statement in enumerate(statements)
    )
    kernel.run(f"for _ in range({times}):\n{body}", timeout=120)
    return [float(kernel.value(f"statistics.median(samples[{n}])")) for n in range(len(statements))]


def calls(times: int) -> list[list[str]]:
    """Returns the rows about cells as tasks."""
    kernel = Kernel(sys.executable)
    try:
        kernel.run(SETUP + PLAIN + "ray.get([nothing.remote() for _ in range(100)])")
        body = long_cell(500)
        kernel.run(f"long = {body!r}")
        kernel.run("%%remote --wait\npass")
        plain, empty, long = in_turns(kernel, ["r = nothing.remote()", "%%remote\npass", f"%%remote\n{body}"], times)
        plain_get, empty_wait = in_turns(
            kernel, ["r = ray.get(nothing.remote())", "%%remote --wait\npass"], times
        )
        in_plain, in_empty, in_long = inside(
            kernel,
            [
                "r = nothing.remote()",
                "shell.run_cell_magic('remote', '', 'pass')",
                "shell.run_cell_magic('remote', '', long)",
            ],
            times,
        )
    finally:
        kernel.close()
    return [
        row("%%remote, an empty cell: the cell returns", plain, empty, 3),
        row("the same, measured inside the kernel", in_plain, in_empty, 3),
        row("%%remote --wait, an empty cell: to its end", plain_get, empty_wait, 3),
        row("%%remote, 500 lines: the cell returns", plain, long, 100),
        row("the same, measured inside the kernel", in_plain, in_long, 100),
    ]


#: Wraps the record's methods: what each cell spends in them, of the time of the thread that runs cells.
TIMED = """
import time
import numpy as np
from raynb.jupyter import notebook as _nb
_record, spent = _nb.loaded().lineage, {"submission": [], "end": [], "idle": []}
def _timed(name, part, begins):
    method = getattr(_record, name)
    def timed(*args, **kwargs):
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            took = time.perf_counter() - began
            spent[part].append(took) if begins else spent[part].__setitem__(-1, spent[part][-1] + took)
    return timed
_ended, _catch = _record.cell_ended, _record._catch_up
_record._catch_up = _timed("_catch_up", "idle", True)
_record.submitted, _record.bound = _timed("submitted", "submission", True), _timed("bound", "submission", False)
_on_end = _nb.loaded().cells.on_end
_on_end[_on_end.index(_ended)] = _timed("cell_ended", "end", True)
def helper(x):
    return x + 1
def clean(x):
    return helper(x) * 2
class Known:
    factor = 1
    def scaled(self, x): return helper(x) * self.factor
items, big = [1, 2, 3, "x"], np.zeros(1_000_000)
"""
READING = "%%remote\nresult{n} = clean(items[0]) + len(big) + Known.factor"


def record(times: int) -> list[list[str]]:
    """Returns the rows about the record of cells: real cells, with the pauses that people make."""
    kernel = Kernel(sys.executable)
    try:
        kernel.run(SETUP)
        kernel.run(TIMED)
        for n in range(times):
            round_trip(kernel, READING.format(n=n % 20))
            time.sleep(0.02)
        found = {part: float(kernel.value(f"sorted(spent[{part!r}])[len(spent[{part!r}]) // 2]"))
                 for part in ("submission", "end", "idle")}  # fmt: skip
    finally:
        kernel.close()
    return [
        row("the record of cells, of a submission", 0.0, found["submission"], 0.1),
        row("the same, at the cell's end", 0.0, found["end"], 0.1),
        row("the same, after its reply", 0.0, found["idle"], 1.0),
    ]


def row(what: str, base: float, found: float, aim: float) -> list[str]:
    """Returns a row of the table; times in seconds, the aim (of the difference) in milliseconds."""
    extra = 1000 * (found - base)
    return [
        what, f"{1000 * base:.2f} ms", f"{1000 * found:.3g} ms", f"{extra:.3g} ms", f"≤ {aim} ms",
        "met" if extra <= aim else "MISSED",
    ]  # fmt: skip


def loading(times: int) -> list[list[str]]:
    """Returns the rows about loading the extension, each time in a fresh kernel."""
    loads, trivial, first = [], [], []
    for _ in range(times):
        kernel = Kernel(sys.executable)
        try:
            round_trip(kernel, "import raynb")
            trivial.append(statistics.median(kernel.trivial() for _ in range(5)))
            begin = time.perf_counter()
            loads.append(round_trip(kernel, "%load_ext raynb"))
            round_trip(kernel, "import raynb as ray\n" + PLAIN + "ray.get(nothing.remote())")
            first.append(time.perf_counter() - begin)
        finally:
            kernel.close()
    base = statistics.median(trivial)
    return [
        row("%load_ext raynb after `import raynb`: the cell returns", base, statistics.median(loads), 100),
        row("its start to the first task's result, one cell later", base, statistics.median(first), 500),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook.overhead", description=__doc__)
    parser.add_argument("--times", type=int, default=40, metavar="N", help="samples of each cell")
    parser.add_argument("--kernels", type=int, default=5, metavar="N", help="fresh kernels for loading")
    options = parser.parse_args(arguments)
    parts: list[Callable[[], list[list[str]]]] = [
        lambda: calls(options.times),
        lambda: record(2 * options.times),
        lambda: loading(options.kernels),
    ]
    rows = [line for part in parts for line in part()]
    print(f"{time.strftime('%Y-%m-%d')}; medians")
    print(aligned([["what", "beside", "with it", "difference", "aim", ""], *rows]))
    return int(any(line[-1] == "MISSED" for line in rows))


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
