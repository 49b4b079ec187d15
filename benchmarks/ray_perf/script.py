"""Runs the script in this process, row by row, as the runner allows.

``python -m benchmarks.ray_perf.script GO ROWS SETTLE``: two descriptors and the seconds of rest
before each row. Before a row, a line with its name is written to ``ROWS`` and a line is awaited
from ``GO``; after it, its result is written. So two engines can take turns, and the one that
waits does nothing. Beyond that, ``timeit`` is the script's own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Runs the script to its end and says so."""
    go = os.fdopen(int(sys.argv[1]), "r")
    rows = os.fdopen(int(sys.argv[2]), "w", buffering=1)
    settle = float(sys.argv[3])
    helpers: Any = importlib.import_module("ray._private.ray_microbenchmark_helpers")
    timeit = helpers.timeit

    def taking_turns(
        name: str, fn: Callable[[], object], multiplier: float = 1, warmup_time_sec: float = 10
    ) -> Any:
        if helpers.filter_pattern and helpers.filter_pattern not in name:
            return [None]
        print(json.dumps({"row": name}), file=rows)
        go.readline()
        result = timeit(name, fn, multiplier, warmup_time_sec=settle)
        print(json.dumps({"row": name, "mean": float(result[0][1]), "sd": float(result[0][2])}), file=rows)
        return result

    helpers.timeit = taking_turns
    importlib.import_module("ray._private.ray_perf").main()
    print(json.dumps({"finished": True}), file=rows)


if __name__ == "__main__":
    main()
