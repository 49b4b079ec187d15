"""What ``--profile`` costs a task: processor time of its worker, with it and without, in turns.

``python -m benchmarks.notebook.profiling`` runs one cell of pure Python on a worker. The worker's own processor
time counts, with the profiler's thread. A core may run at half its speed for a second, so each sample is compared with
the one beside it; the median of these ratios counts. The aim is 3 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.compare import end_in_order
from benchmarks.notebook.kernel import Kernel
from benchmarks.report import aligned

AIM = 3.0  # percent
SETUP = "%load_ext raynb\n%config Raynb.num_cpus = 1\n%raynb restart\nimport raynb as ray, time\n"
WORK = (
    "began = time.process_time()\nfor part in range(40):\n    kept = sorted(n * 7919 % 10007 for n in range(20_000))\n"
    "cpu = time.process_time() - began"
)
KINDS = ("", "--profile")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if the aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook.profiling", description=__doc__)
    parser.add_argument("--times", type=int, default=60, metavar="N", help="samples of each")
    options = parser.parse_args(arguments)
    samples: dict[str, list[float]] = {kind: [] for kind in KINDS}
    load = os.getloadavg()[0]
    kernel = Kernel(sys.executable)
    try:
        kernel.run(SETUP)
        for turn in range(options.times):
            for kind in KINDS if turn % 2 else KINDS[::-1]:
                cell = kernel.run(f"%%remote cpu --get {kind}\n{WORK}", timeout=120)
                if cell.status != "ok":
                    raise RuntimeError(f"{kind}: {cell.error}")
                samples[kind].append(float(kernel.value("cpu")))
    finally:
        kernel.close()
    plain = samples[""]
    extra = {
        kind: 100 * (statistics.median(b / a for a, b in zip(plain, found, strict=True)) - 1)
        for kind, found in samples.items()
    }
    rows = [
        [f"%%remote {kind}".strip(), f"{min(found):.3f} s", f"{statistics.median(found):.3f} s",
         f"{extra[kind]:+.1f} %"]
        for kind, found in samples.items()
    ]  # fmt: skip
    print(f"{time.strftime('%Y-%m-%d')}; {options.times} samples each, {os.cpu_count()} cores, "
          f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after")  # fmt: skip
    print(aligned([["processor time of a task", "best", "median", "more, median of pairs"], *rows]))
    return int(extra["--profile"] > AIM)


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
