#!/usr/bin/env python3
"""Runs parts of other libraries' own tests on raynb, and programs of their users; prints the table of the docs.

    python scripts/libraries.py [--quick] [NAME ...]

It needs a Python with the libraries (`libraries.txt`); ``make test ONLY=libraries`` makes one, `.venv-libraries`. The
tests are those in the installed packages. A failure that `library_suites.py` does not name fails the suite, and so do
tests that did not run, and processes that are left; a test that it names and that passes is reported. The exit code is
the number of suites that failed. A run that is ended (SIGTERM, Ctrl-C) ends what it has started, and its results name
the suites that were not over.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent import futures
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from library_suites import SUITES, Suite

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "scripts" / "library_programs"
sys.path.append(str(ROOT))

from raynb.testing import leaks  # noqa: E402

#: Seconds that one suite may take unless ``--longest`` says otherwise.
LONGEST = 900.0
#: Seconds that a single test may take.
TEST_SECONDS = 300
#: What the results say of a suite that a run has not come to the end of.
NOT_OVER = "it was not over when the run ended"

_running: dict[str, subprocess.Popen[bytes]] = {}  # mark of a suite's processes → the first of them


@dataclass
class Result:
    """How one suite went."""

    library: str
    said: str
    passed: int = 0
    skipped: int = 0
    known: list[str] = field(default_factory=list)
    """Tests that failed as expected."""
    failed: list[str] = field(default_factory=list)
    """Tests that failed and are not known to, and whatever else went wrong, in a sentence each."""
    mended: list[str] = field(default_factory=list)
    """Tests that are known to fail, and passed."""
    seconds: float = 0.0

    def __str__(self) -> str:
        ran = self.passed + len(self.known) + len(self.failed)
        told = f"{self.passed} of {ran}" + (f", {self.skipped:,} skipped by it" if self.skipped else "")
        return f"| {self.library} | {self.said} | {told} | {self.seconds:.0f} s |"


def command_of(suite: Suite, tests: tuple[str, ...], place: Path) -> list[str]:
    """Returns the command that runs a suite; ``place`` is an empty folder."""
    if suite.program:
        return [sys.executable, str(PROGRAMS / f"{suite.program}.py")]
    packages = _packages(suite.library)
    # The libraries are below the checkout, where pytest would find raynb's own settings.
    settings = place / "pytest.ini"
    settings.write_text("[pytest]\n", encoding="utf-8")
    plugins = [f"-p{name}" for name in (suite.before, "raynb_outcomes") if name]
    return [
        sys.executable, "-m", "raynb.as_ray", "-m", "pytest", "-q", *plugins, "-p", "no:cacheprovider",
        "--timeout", str(TEST_SECONDS), "-W", "ignore", "--tb", "short",
        "-c", str(settings), "--rootdir", str(packages), *suite.options, *[str(packages / test) for test in tests],
    ]  # fmt: skip


def _packages(library: str) -> Path:
    """Returns the folder that a library is installed in."""
    spec = importlib.util.find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parents[1]


def result_of(suite: Suite) -> Result:
    """Returns the result of a suite that has not run."""
    return Result(f"{suite.library} {importlib.metadata.version(suite.library)}", suite.said)


def run(suite: Suite, tests: tuple[str, ...], longest: float, log: Path | None) -> Result:
    """Runs a suite in a process of its own, and waits until nothing of it is left."""
    result = result_of(suite)
    with tempfile.TemporaryDirectory() as place:
        outcomes = Path(place) / "outcomes"
        environ = {
            **os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROGRAMS))), "MODIN_ENGINE": "ray",
            "MODIN_CPUS": "2", "RAYNB_OUTCOMES": str(outcomes), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        mark = leaks.mark(environ)
        began = time.monotonic()
        output = Path(place) / "output"
        with open(output, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command_of(suite, tests, Path(place)), cwd=place, env=environ, stdin=subprocess.DEVNULL, stdout=file,
                stderr=file,
            )  # fmt: skip
            _running[mark] = process
            try:
                code = process.wait(longest)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        result.seconds = time.monotonic() - began
        text = output.read_text(encoding="utf-8", errors="replace")
        if suite.program:
            _read_program(result, code, text)
        else:
            lines = outcomes.read_text(encoding="utf-8").splitlines() if outcomes.exists() else []
            _read_tests(result, suite, code, [json.loads(line) for line in lines])
    if code is None:
        result.failed.append(f"it was ended after {longest:.0f} s")
    try:
        leaks.check_gone(mark, 60.0)
    except AssertionError as error:
        result.failed.append(f"something is left: {error}")
        leaks.kill_all(leaks.marked(mark).values())
    del _running[mark]
    if log is not None:
        name = suite.program or f"{suite.library}-tests"
        (log / f"{name}.log").write_text(text, encoding="utf-8")
    return result


def _read_program(result: Result, code: int | None, text: str) -> None:
    found = re.findall(r"^(\d+) passed$", text, re.MULTILINE)
    result.passed = int(found[-1]) if found else 0
    if code is not None and (code or not found):
        last = (text.strip().splitlines() or ["nothing was printed"])[-1]
        result.failed.append(f"the program ended with code {code}: {last[:300]}")


def _read_tests(result: Result, suite: Suite, code: int | None, lines: list[list[str]]) -> None:
    outcome: dict[str, str] = {}
    for word, test in lines:
        if outcome.get(test) != "failed":  # an error around a test comes after its own outcome
            outcome[test] = word
    result.passed = sum(word == "passed" for word in outcome.values())
    result.skipped = sum(word == "skipped" for word in outcome.values())
    failed = [test for test, word in outcome.items() if word == "failed"]
    result.known = [test for test in failed if suite.reason(test)]
    result.failed = [test for test in failed if not suite.reason(test)]
    result.mended = [test for test, word in outcome.items() if word == "passed" and suite.reason(test)]
    not_run = [test for test, word in outcome.items() if word == "chosen"]
    if not_run:
        result.failed.append(f"{len(not_run)} tests did not run, from {not_run[0]} on: it ended with code {code}")
    if not result.passed:
        result.failed.append(f"no test passed: it ended with code {code}")
    elif code not in (0, 1, None):
        result.failed.append(f"it ended with code {code}")


def run_all(chosen: list[tuple[Suite, tuple[str, ...]]], options: argparse.Namespace) -> list[Result]:
    """Runs suites and prints their results; after each, writes those of all. If it is ended, so is what it started."""
    results = [result_of(suite) for suite, _ in chosen]
    for result in results:
        result.failed.append(NOT_OVER)
    write(options.logs, results)
    runs: dict[futures.Future[Result], int] = {}
    with futures.ThreadPoolExecutor(options.parallel) as pool:
        try:
            for place, one in enumerate(chosen):
                runs[pool.submit(run, *one, options.longest, options.logs)] = place
            for future in futures.as_completed(runs):
                result = results[runs[future]] = future.result()
                print(result, flush=True)
                for told, tests in (("failed", result.failed), ("passed, and is known to fail", result.mended)):
                    for test in tests:
                        print(f"  {told}: {test}", flush=True)
                write(options.logs, results)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in runs):  # one may be just starting
                for mark, process in list(_running.items()):
                    process.kill()
                    leaks.kill_all(leaks.marked(mark).values())
                time.sleep(0.1)
            for result in results:
                if NOT_OVER in result.failed:
                    print(f"{result.library}, {result.said}: {NOT_OVER}", flush=True)
            raise
    return results


def write(folder: Path | None, results: list[Result]) -> None:
    """Writes the results as JSON; a run that is ended meanwhile leaves the file of before."""
    if folder is not None:
        beside = folder / "results.new"
        beside.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
        beside.replace(folder / "results.json")


def _ended(signum: int, frame: object) -> NoReturn:
    signal.signal(signum, signal.SIG_IGN)  # once is enough
    sys.exit(128 + signum)


def main() -> int:
    """Runs what the command line names, or all; returns how many suites failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(dict.fromkeys(suite.library for suite in SUITES))
    parser.add_argument("libraries", nargs="*", metavar="NAME", help=f"which (default: all): {names}")
    parser.add_argument("--quick", action="store_true", help="the programs, and few of the tests")
    parser.add_argument("--parallel", type=int, default=1, help="suites at once (%(default)s)")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds for one suite (%(default)s)")
    parser.add_argument("--logs", type=Path, help="a folder for the whole output, and the results as JSON")
    options = parser.parse_args()
    if options.logs is not None:
        options.logs.mkdir(parents=True, exist_ok=True)
    chosen = [
        (suite, suite.quick if options.quick else suite.tests)
        for suite in SUITES if not options.libraries or suite.library in options.libraries
    ]  # fmt: skip
    signal.signal(signal.SIGTERM, _ended)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job: a test of Ctrl-C would hang
        signal.signal(signal.SIGINT, signal.default_int_handler)
    results = run_all([(suite, tests) for suite, tests in chosen if suite.program or tests], options)
    return sum(bool(result.failed) for result in results)


if __name__ == "__main__":
    sys.exit(main())
