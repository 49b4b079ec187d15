"""The comparison: every engine in its own process, in rounds, on one machine, in one run.

Each round starts each engine once, in an order that turns from round to round, and measures
all cases on it. With ``--together`` all engines are alive at once and take turns case by case:
figures are then closer in time, but each engine also bears the others' idle cost.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from benchmarks import procs
from benchmarks.cases import BY_NAME, CASES, Case
from benchmarks.engines import ENGINES
from benchmarks.report import Rounds, aligned, table
from benchmarks.session import HostError, Session, has, import_seconds
from benchmarks.targets import TARGETS

RESULTS = Path(__file__).parent / "results"


class Comparison:
    """One run: what to measure, and the samples so far."""

    def __init__(self, options: argparse.Namespace, interpreters: dict[str, str], log: IO[bytes]) -> None:
        self.options = options
        self.interpreters = interpreters
        self.cases = [case for case in CASES if not options.cases or case.name in options.cases]
        self.samples: dict[str, dict[str, Rounds]] = {case.name: {} for case in self.cases}
        self.about: dict[str, dict[str, str]] = {}
        self.problems: list[str] = []
        self.load: list[float] = []
        self._log = log

    def run(self) -> None:
        """Measures all rounds."""
        for number in range(self.options.rounds):
            self.load.append(os.getloadavg()[0])
            names = list(self.interpreters)
            turned = names[number % len(names) :] + names[: number % len(names)]
            for case in self.cases:
                for name in names:
                    self.samples[case.name].setdefault(name, []).append([])
            if self.options.together:
                self._together(number, turned)
            else:
                for name in turned:
                    self._alone(number, name)

    def _alone(self, number: int, name: str) -> None:
        with ExitStack() as stack:
            session = self._start(number, name, stack)
            if session:
                for case in self.cases:
                    self._measure(case, session)

    def _together(self, number: int, names: Sequence[str]) -> None:
        with ExitStack() as stack:
            sessions = [session for name in names if (session := self._start(number, name, stack))]
            for case in self.cases:
                for session in sessions:
                    self._measure(case, session)

    def _start(self, number: int, name: str, stack: ExitStack) -> Session | None:
        say(f"round {number + 1}/{self.options.rounds}: {name} …")
        session = Session(name, self.interpreters[name], self._log)
        stack.callback(self._stop, session)
        try:
            seconds = session.start(self.options.workers)
            if name not in self.about:
                self.about[name] = session.about()
        except HostError as error:
            self.problems.append(str(error))
            return None
        if name != "limits":
            self._keep("start", name, [seconds])
        return session

    def _measure(self, case: Case, session: Session) -> None:
        name = session.engine
        try:
            if case.name == "import" and name not in ("limits", "futures"):
                package = "raynb" if name == "raynb" else self._package(name)
                self._keep("import", name, [import_seconds(self.interpreters[name], package)])
            elif case.name == "idle_memory" and name != "limits":
                memory, share = session.idle(self.options.idle)
                self._keep("idle_memory", name, [memory])
                self._keep("idle_cpu", name, [share])
            elif case.run is not None:
                self._keep(case.name, name, session.case(case.name, self.options.seconds))
        except (HostError, OSError) as error:
            self.problems.append(str(error))

    @staticmethod
    def _package(name: str) -> str:
        from benchmarks.engines import adapter

        return adapter(name).package

    def _keep(self, case: str, name: str, samples: list[float]) -> None:
        if case in self.samples:
            self.samples[case][name][-1] = samples

    def _stop(self, session: Session) -> None:
        left = session.stop()
        if left:
            self.problems.append(
                f"{session.engine}: {left} processes were left after its shutdown (now killed)"
            )

    # -- what is shown -------------------------------------------------------------------------
    def text(self) -> str:
        """Returns the report."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        names = list(self.interpreters)
        labels = {name: self.about.get(name, {}).get("label", name) for name in names}
        machine = procs.machine()
        yield (
            f"{machine['cores']} cores ({machine['cpu']}), Python {machine['python']}, "
            f"{self.options.workers} workers, {self.options.rounds} rounds, "
            f"load before each: {', '.join(f'{value:.1f}' for value in self.load)}"
        )
        for name in names:
            about = self.about.get(name)
            if about:
                note = f" ({about['note']})" if about["note"] else ""
                yield f"  {about['label']} {about['version']}{note}"
        yield ""
        yield table(self.cases, self.samples, names, labels)
        yield ""
        yield (
            "Median ± half of the middle half's width; in brackets how many times better "
            f"{labels[names[0]]} was."
        )
        if "raynb" in names:
            yield ""
            yield aligned(
                [["target", "wanted", "measured", "met"], *(target.line(self.samples) for target in TARGETS)]
            )
        for problem in dict.fromkeys(self.problems):
            yield f"PROBLEM {problem}"

    def record(self) -> dict[str, Any]:
        """Returns everything as plain data for the JSON file."""
        return {
            "machine": procs.machine(),
            "load": self.load,
            "options": {**vars(self.options)},
            "engines": self.about,
            "units": {case.name: case.unit for case in self.cases},
            "samples": self.samples,
            "targets": [target.line(self.samples) for target in TARGETS],
            "problems": self.problems,
        }


def end_in_order() -> None:
    """Has SIGTERM end the run as Ctrl-C does, so that the engines' processes go with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def say(text: str) -> None:
    """Tells the person who waits; on stderr, so that the report alone is on stdout."""
    print(text, file=sys.stderr, flush=True)


def find_interpreters(wanted: Sequence[str], own: str, peers: str | None) -> dict[str, str]:
    """Returns engine → interpreter: this one where it has the engine, else that of the peers."""
    found = {}
    for name in wanted:
        for interpreter in filter(None, [own, peers]):
            if has(interpreter, name):
                found[name] = interpreter
                break
        else:
            say(f"{name}: not installed here; left out (name an interpreter that has it with --peers)")
    return found


def results_file(name: str, given: str | None) -> Path:
    """Returns where the JSON goes: the path given, or a dated file in ``benchmarks/results``."""
    if given:
        return Path(given)
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"


def parser() -> argparse.ArgumentParser:
    """Returns the command line of the comparison."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    made.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES), metavar="NAME",
                      help=f"the first is compared with the others: {' '.join(ENGINES)}")  # fmt: skip
    made.add_argument("--cases", nargs="+", default=[], choices=list(BY_NAME), metavar="CASE",
                      help=f"which cases (default: all): {' '.join(BY_NAME)}")  # fmt: skip
    made.add_argument("--peers", default=os.environ.get("RAYNB_BENCHMARK_PEERS"),
                      help="the Python that has the peers (also: RAYNB_BENCHMARK_PEERS)")  # fmt: skip
    made.add_argument("--rounds", type=int, default=3, help="how often each engine is started (default 3)")
    made.add_argument("--seconds", type=float, default=1.0, help="time a case and round (default 1.0)")
    made.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="worker processes")
    made.add_argument("--idle", type=float, default=3.0, help="seconds to watch the idle engine (default 3)")
    made.add_argument("--together", action="store_true", help="all engines alive at once, turns case by case")
    made.add_argument("--json", help="where the samples go (default: a dated file in benchmarks/results)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns the exit code (1 if a measurement failed)."""
    options = parser().parse_args(arguments)
    interpreters = find_interpreters(options.engines, sys.executable, options.peers)
    if not interpreters:
        say("None of the engines is installed.")
        return 2
    target = results_file("compare", options.json)
    with open(target.with_suffix(".log"), "wb") as log:
        comparison = Comparison(options, interpreters, log)
        comparison.run()
    target.write_text(json.dumps(comparison.record(), indent=1))
    print(comparison.text())
    say(f"samples: {target}; what the engines printed: {target.with_suffix('.log')}")
    return 1 if comparison.problems else 0
