"""Runs the situations, one fresh kernel an engine, and prints them side by side."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.compare import results_file, say
from benchmarks.notebook.idioms import IDIOMS
from benchmarks.notebook.kernel import Kernel
from benchmarks.notebook.situations import SITUATIONS, Seen, start
from benchmarks.report import aligned
from benchmarks.session import has


def run(name: str, interpreter: str, wanted: Sequence[str]) -> Seen:
    """Runs the wanted situations on one engine; a situation that fails is part of what was seen."""
    idiom = IDIOMS[name]
    seen: Seen = {}
    kernel = Kernel(interpreter)
    try:
        seen.update(start(kernel, idiom))
        for situation in wanted:
            if situation == "start":
                continue
            begin = time.perf_counter()
            try:
                seen.update(SITUATIONS[situation](kernel, idiom))
            except Exception as error:  # the others still have something to say
                seen[f"PROBLEM {situation}"] = f"{type(error).__name__}: {error}"[:120]
            say(f"{idiom.label}: {situation}, {time.perf_counter() - begin:.0f} s")
    finally:
        kernel.close()
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook", description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=list(IDIOMS), default=list(IDIOMS))
    parser.add_argument("--situations", nargs="+", choices=list(SITUATIONS), default=list(SITUATIONS))
    parser.add_argument("--peers", default=os.environ.get("RAYNB_BENCHMARK_PEERS"),
                        help="the Python that has the peers (also: RAYNB_BENCHMARK_PEERS)")  # fmt: skip
    parser.add_argument("--tracebacks", action="store_true", help="print each engine's error display too")
    parser.add_argument("--json", help="where it also goes (default: a dated file in benchmarks/results)")
    options = parser.parse_args(arguments)
    all_seen: dict[str, Seen] = {}
    for name in options.engines:
        known = {
            "cells": "raynb",
            "raynb": "raynb",
            "ray": "ray",
            "ipyparallel": "ipyparallel",
            "dask": "dask",
        }
        interpreter = next(
            (one for one in (sys.executable, options.peers) if one and has(one, known[name])), None
        )
        if interpreter is None:
            say(f"{name}: not installed here; left out")
            continue
        all_seen[name] = run(name, interpreter, options.situations)
        for key, value in all_seen[name].items():
            if not key.startswith("_"):
                say(f"  {key}: {value}")
    what = list(dict.fromkeys(key for seen in all_seen.values() for key in seen if not key.startswith("_")))
    rows = [["situation", *(IDIOMS[name].label for name in all_seen)]]
    rows += [[key, *(seen.get(key, "–") for seen in all_seen.values())] for key in what]
    print(aligned(rows))
    if options.tracebacks:
        for name, seen in all_seen.items():
            print(f"\n--- {IDIOMS[name].label}\n{seen.get('_traceback', '')}")
    results_file("notebook", options.json).write_text(json.dumps(all_seen, indent=1))
    return 0
