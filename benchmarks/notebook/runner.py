"""Runs the situations, in fresh kernels, and prints them side by side."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import procs
from benchmarks.compare import results_file, say
from benchmarks.notebook.idioms import IDIOMS
from benchmarks.notebook.kernel import Kernel
from benchmarks.notebook.situations import KERNELS, SITUATIONS, Seen, start
from benchmarks.report import aligned
from benchmarks.session import environment, has


def run(name: str, interpreter: str, wanted: Sequence[str]) -> Seen:
    """Runs the wanted situations on one engine; a situation that fails is part of what was seen."""
    idiom = IDIOMS[name]
    seen: Seen = {}
    for together in KERNELS:
        if not set(together) & set(wanted):
            continue
        kernel = Kernel(interpreter)
        try:
            started = start(kernel, idiom)
            if "start" in together:
                seen.update(started)
            for situation in together:
                if situation in wanted and situation != "start":
                    seen.update(_one(situation, kernel, name))
        finally:
            kernel.close()
    return seen


def _one(situation: str, kernel: Kernel, name: str) -> Seen:
    """Runs one situation."""
    begin = time.perf_counter()
    try:
        return SITUATIONS[situation](kernel, IDIOMS[name])
    except Exception as error:  # the others still have something to say
        return {f"PROBLEM {situation}": f"{type(error).__name__}: {error}"[:120]}
    finally:
        say(f"{IDIOMS[name].label}: {situation}, {time.perf_counter() - begin:.0f} s")


def when_and_what(interpreters: dict[str, str]) -> str:
    """Returns a line that says when, on what machine, and with which versions."""
    machine = procs.machine()
    versions = {}
    for name, interpreter in interpreters.items():
        package = IDIOMS[name].package
        code = f"import {package}; print({package}.__version__)"
        done = subprocess.run(
            [interpreter, "-c", code], env=environment("version"), capture_output=True, text=True, timeout=60
        )
        versions[package] = done.stdout.split()[-1] if done.stdout else "?"
    packages = ", ".join(f"{package} {version}" for package, version in versions.items())
    memory = int(machine["memory"]) >> 30
    return (
        f"{time.strftime('%Y-%m-%d')}, Python {machine['python']}, {machine['cores']} cores, {memory} GB, "
        f"{machine['cpu']}; {packages}"
    )


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
    interpreters: dict[str, str] = {}
    for name in options.engines:
        known = {"cells": "raynb", "px": "ipyparallel"}
        interpreter = next(
            (one for one in (sys.executable, options.peers) if one and has(one, known.get(name, name))), None
        )
        if interpreter is None:
            say(f"{name}: not installed here; left out")
            continue
        interpreters[name] = interpreter
        all_seen[name] = run(name, interpreter, options.situations)
        for key, value in all_seen[name].items():
            if not key.startswith("_"):
                say(f"  {key}: {value}")
    print(when_and_what({name: interpreters[name] for name in all_seen}))
    what = list(dict.fromkeys(key for seen in all_seen.values() for key in seen if not key.startswith("_")))
    rows = [["situation", *(IDIOMS[name].label for name in all_seen)]]
    rows += [[key, *(seen.get(key, "–") for seen in all_seen.values())] for key in what]
    print(aligned(rows))
    if options.tracebacks:
        for name, seen in all_seen.items():
            print(f"\n--- {IDIOMS[name].label}\n{seen.get('_traceback', '')}")
    results_file("notebook", options.json).write_text(json.dumps(all_seen, indent=1))
    return 0
