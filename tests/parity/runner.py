"""Runs parity programs on one engine and writes what each returned, one JSON line a program.

``python runner.py --engine ray|raynb|raynb-inline|raynb-cluster --out FILE [--only PREFIX ...] [--skip KEY ...]``

A program has its own time limit: an alarm raises `ProgramTimeout` in it; if even that is
swallowed, the process dumps its stacks and ends, and the caller goes on with the next program
(`run_all`). After a program that timed out the engine is started afresh.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from cluster_shared import ALONE, start_ray  # noqa: E402
from parity_programs import Program, catalogue  # noqa: E402

#: A busy machine takes so much longer, and Ray starts a process for each actor and many tasks.
SLOWNESS = 3
#: Seconds for an engine to start.
START_SECONDS = 240.0
#: Seconds for an engine to stop; and after which a program that swallows its alarm ends the whole process.
LAST_RESORT = 60.0


class ProgramTimeout(BaseException):
    """A program did not return in its time; not an Exception, so programs don't catch it."""


def _on_alarm(signum: int, frame: Any) -> None:
    raise ProgramTimeout


class Host:
    """The running engine, restarted when a program wants other settings or leaves it unsure."""

    def __init__(self, engine: str) -> None:
        self.ray = importlib.import_module(engine.partition("-")[0])
        self.quiet: dict[str, Any] = {"log_to_driver": False}
        if engine == "raynb-inline":
            self.quiet["local_mode"] = True
        if engine == "raynb":
            self.quiet["cancel_grace"] = 60.0  # seconds: a busy machine's task sees its interrupt before it is killed
        #: Ray, where it starts the cluster: that of its own programs, or one in this process that raynb finds.
        self.cluster = importlib.import_module("ray") if engine in ("ray", "raynb-cluster") else None
        if self.cluster is not None:
            self.quiet |= {"include_dashboard": False, "configure_logging": False}
        self.settings: dict[str, Any] | None = None

    def prepare(self, program: Program) -> None:
        if program.init is None or self.settings != program.init or not self.ray.is_initialized():
            self.stop()
        if program.init is not None and self.settings is None:
            if self.cluster is None:
                self.ray.init(**{**self.quiet, **program.init})
            else:
                start_ray(self.cluster, **{**self.quiet, **program.init})
            if self.cluster not in (None, self.ray):
                # Seconds: on a busy machine a task sees its interrupt late; one that loses it still ends in time.
                self.ray.init("auto", cancel_grace=15.0)
            self.settings = program.init

    def stop(self) -> None:
        self.settings = None
        self.ray.shutdown()
        if self.cluster is not None:
            self.cluster.shutdown()

    def stops_in_time(self, stop: Callable[[], object] | None = None) -> bool:
        """Stops the engine, or calls ``stop``; returns whether that took no longer than it may."""
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT)
        try:
            (stop or self.stop)()
        except ProgramTimeout:
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return True


def run_one(host: Host, program: Program) -> dict[str, Any]:
    """Returns what the program gave: ``value``, or ``error`` with the traceback's text."""
    began = time.monotonic()
    row: dict[str, Any] = {"key": program.key}
    signal.signal(signal.SIGALRM, _on_alarm)
    limit = START_SECONDS
    try:
        signal.setitimer(signal.ITIMER_REAL, limit)
        host.prepare(program)
        limit = program.timeout * SLOWNESS
        faulthandler.dump_traceback_later(limit + 2 * LAST_RESORT, exit=True)
        signal.setitimer(signal.ITIMER_REAL, limit)
        row["value"] = json.loads(json.dumps(program.body(host.ray)))
    except ProgramTimeout:
        row["error"] = f"no answer within {limit} s\n{traceback.format_exc(limit=-6)}"
    except Exception:
        row["error"] = traceback.format_exc(limit=-8)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if ("error" in row or program.init is None) and not host.stops_in_time():
        row["error"] = row.get("error", "") + "\nshutdown did not return"
    faulthandler.cancel_dump_traceback_later()
    gc.collect()
    row["seconds"] = round(time.monotonic() - began, 3)
    return row


def select(engine: str, only: list[str], skip: list[str]) -> list[Program]:
    """Returns the programs whose key starts with one of ``only`` (all if empty), less ``skip``."""
    chosen = [
        one
        for key, one in catalogue().items()
        if key not in skip
        and (one.on_ray or engine != "ray")
        and (not only or any(key.startswith(prefix) for prefix in only))
    ]
    # Programs that share settings run together, so that the engine starts seldom.
    return sorted(chosen, key=lambda one: (one.init is None, json.dumps(one.init, sort_keys=True)))


def run_here(engine: str, out: IO[str], only: list[str], skip: list[str]) -> None:
    host = Host(engine)
    out.write(json.dumps({"engine": engine, "version": host.ray.__version__}) + "\n")
    for program in select(engine, only, skip):
        out.write(json.dumps({"began": program.key}) + "\n")
        out.flush()
        out.write(json.dumps(run_one(host, program)) + "\n")
        out.flush()
    if host.cluster is None:
        host.stop()
        return
    code = int(host.cluster is not host.ray)  # how raynb leaves the cluster counts
    try:
        if code and host.stops_in_time(host.ray.shutdown):
            code = 0
        host.stops_in_time()
    finally:  # all that was asked for is written; how Ray's own process ends is no matter here, and at times it crashes
        if code:
            traceback.print_exc()
            print("raynb.shutdown() raised, or did not return", file=sys.stderr, flush=True)
        os._exit(code)


def read(path: Path) -> tuple[str, dict[str, dict[str, Any]], str | None]:
    """Returns (the engine's version, rows by key, the program that never returned)."""
    version, rows, unfinished = "", {}, None
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "version" in row:
            version = row["version"]
        elif "began" in row:
            unfinished = row["began"]
        else:
            rows[row["key"]], unfinished = row, None
    return version, rows, unfinished


def run_all(
    python: str, engine: str, environ: dict[str, str], only: list[str] | None = None, patience: float = 1500
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Runs the programs in a process of their own and goes on after a crash.

    Args:
        python: the interpreter of the environment that has the engine.
        engine: "ray", "raynb", "raynb-inline" (no workers) or "raynb-cluster" (raynb on a Ray cluster).
        environ: the environment variables of the process.
        only: prefixes of program keys; None: all.
        patience: seconds for each of the processes that this takes.

    Returns:
        (the engine's version, rows by key).
    """
    done: dict[str, dict[str, Any]] = {}
    version = ""
    # Its own workers may still write there at their end.
    with tempfile.TemporaryDirectory(prefix="parity-", ignore_cleanup_errors=True) as folder:
        environ = {**environ, **ALONE, "PARITY_FOLDER": folder, "RAY_DISABLE_IMPORT_WARNING": "1"}
        # Workers import the programs' helpers from here.
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), environ.get("PYTHONPATH")]))
        while True:
            out = Path(folder, f"rows-{len(done)}.jsonl")
            out.touch()
            command = [python, str(HERE / "runner.py"), "--engine", engine, "--out", str(out)]
            command += ["--only", *(only or []), "--skip", *done]
            log = Path(folder, "log")
            with log.open("wb") as sink:
                try:
                    code = subprocess.run(command, env=environ, stdout=sink, stderr=sink, timeout=patience).returncode
                except subprocess.TimeoutExpired:  # what is there is judged, and the rest is run
                    code = -1
            version, rows, unfinished = read(out)
            done |= rows
            text = log.read_text(errors="replace")[-4000:]
            if unfinished is not None:
                done[unfinished] = {"key": unfinished, "error": f"ended the process:\n{text}"}
            elif code:
                raise RuntimeError(f"the runner for {engine} failed ({code}):\n{text}")
            else:
                return version, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", required=True, choices=["ray", "raynb", "raynb-inline", "raynb-cluster"])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--skip", nargs="*", default=[])
    options = parser.parse_args()
    with options.out.open("w") as out:
        run_here(options.engine, out, options.only, options.skip)


if __name__ == "__main__":
    main()
