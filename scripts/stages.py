"""The stages of the tests: what each runs, and one closing line over all of them.

Every stage that is pytest writes a JUnit file; the numbers of the closing line are read from
those files and from Node's test runner, so a stage that ran nothing shows as an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import environment as here
import library_environment
import versions

COMMAND_SECONDS = 40 * 60  # seconds that one command of a stage may take before it counts as hung
SUITE_SECONDS = 240  # that one library's suite may take, of the selection


@dataclass
class Outcome:
    """How one stage went."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, part: Outcome) -> None:
        """Adds the numbers of a part of this stage."""
        for name in ("passed", "failed", "skipped", "errors"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.notes += part.notes

    @property
    def good(self) -> bool:
        return not (self.failed or self.errors)

    def add_junit(self, path: Path) -> None:
        """Adds the numbers of a JUnit file; a missing or empty one is an error."""
        try:
            suites = ElementTree.parse(path).iter("testsuite")
        except (OSError, ElementTree.ParseError):
            self.errors += 1
            self.notes.append("no report was written")
            return
        for suite in suites:
            tests, bad, err, skipped = (
                int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")
            )
            self.failed += bad
            self.errors += err
            self.skipped += skipped
            self.passed += tests - bad - err - skipped


def call(
    command: list[str | os.PathLike[str]], environ: dict[str, str] | None = None, **kwargs: object
) -> int:
    """Runs one command of a stage; a hung one is ended and counts as failed."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=kwargs.pop("cwd", here.ROOT),
        env={**os.environ, **(environ or {})},
        **kwargs,
    )  # type: ignore[call-overload]
    try:
        return int(process.wait(COMMAND_SECONDS))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def pytest(
    outcome: Outcome, python: Path, arguments: list[str], environ: dict[str, str] | None = None
) -> None:
    """Runs pytest as the installed program: the checkout is not on its path, the package is."""
    report = here.REPORTS / f"{outcome.name}.xml"
    report.unlink(missing_ok=True)
    # NO_COLOR: the summary is read by people and programs alike.
    code = call([python.parent / "pytest", f"--junitxml={report}", *arguments], environ)
    outcome.add_junit(report)
    if code and outcome.good:
        outcome.errors += 1
        outcome.notes.append(f"pytest ended with code {code}")


# -- the stages --------------------------------------------------------------------------------


def workers(parallel: str) -> list[str]:
    """Returns pytest's options for so many processes."""
    return [] if parallel in ("0", "1") else ["-n", parallel, "--dist", "worksteal"]


def processes(parallel: str) -> int:
    """Returns how many processes those options of pytest mean."""
    return max(int(parallel), 1) if parallel.isdigit() else os.cpu_count() or 1


def python_tests(outcome: Outcome, python: Path, parallel: str) -> None:
    """Everything in Python that needs no browser."""
    others = [f"--ignore=tests/{name}" for name in ("browser", "notebooks", "parity")]
    pytest(outcome, python, ["tests", *others, "-q", *workers(parallel)])


def parity(outcome: Outcome, python: Path, parallel: str) -> None:
    """The same programs on real Ray, in an environment of its own, and on raynb."""
    folder = here.ROOT / ".venv-ray"
    ray = here.make_venv(folder)
    if call([ray, "-c", "import ray, cloudpickle"], stderr=subprocess.DEVNULL):
        here.say("installing Ray beside, for the parity programs")
        recorded = json.loads((here.ROOT / "tests" / "parity" / "recorded.json").read_text(encoding="utf-8"))
        packages = [f"ray[default]=={recorded['ray']}", "cloudpickle", "numpy", "joblib", "tqdm"]
        if not here.fetch([ray, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]):
            # Ray has no build for this Python or system: the recording made with it stands in.
            outcome.notes.append("Ray could not be installed: compared with its recorded results")
            ray = Path()
    environ = {"RAYNB_PARITY_PYTHON": str(ray)} if ray.name else {}
    pytest(outcome, python, ["tests/parity", "-q"], environ)


def notebooks(outcome: Outcome, python: Path, parallel: str) -> None:
    """Every notebook, run from its first cell to its last; its outputs are those it was saved with."""
    pytest(outcome, python, ["tests/notebooks", "-q", *workers(parallel)])


def node_modules(outcome: Outcome, folder: Path) -> bool:
    """Installs what a package.json asks for, once; returns whether it is there."""
    here.check_node()
    if (folder / "node_modules").exists():
        return True
    if here.fetch(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder):
        return True
    shutil.rmtree(folder / "node_modules", ignore_errors=True)  # half of it would be taken for the whole
    outcome.errors += 1
    outcome.notes.append(f"npm ci failed in {folder.name}")
    return False


def typescript(outcome: Outcome, python: Path, parallel: str) -> None:
    """The views' own tests, by Node; their types, against JupyterLab's own."""
    folder = here.ROOT / "labextension"
    if not (node_modules(outcome, folder) and node_modules(outcome, folder / "types")):
        return
    for check in ("check", "check:jupyter"):
        if call(["npm", "run", "--silent", check], cwd=folder):
            outcome.errors += 1
            outcome.notes.append(f"npm run {check} found errors in the types")
    done = subprocess.run(
        ["npm", "test"], cwd=folder, capture_output=True, encoding="utf-8", timeout=COMMAND_SECONDS, check=False
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    for name, attribute in (("pass", "passed"), ("fail", "failed"), ("skipped", "skipped")):
        numbers = re.findall(rf"^(?:#|ℹ) {name} (\d+)$", done.stdout, re.MULTILINE)
        setattr(outcome, attribute, sum(map(int, numbers)))
    if done.returncode and not outcome.failed:
        outcome.errors += 1


def browser(outcome: Outcome, python: Path, parallel: str) -> None:
    """JupyterLab and the widget in a real Chromium."""
    chromium = here.browser()
    if chromium is None:
        outcome.errors += 1
        outcome.notes.append(
            "no Chromium or Chrome is on the PATH; "
            "install one (Debian: apt install chromium fonts-dejavu-core)"
        )
        return
    if node_modules(outcome, here.ROOT / "labextension"):  # axe is there
        pytest(outcome, python, ["tests/browser", "-q"], {"RAYNB_CHROMIUM": chromium})


def versions_stage(outcome: Outcome, python: Path, parallel: str) -> None:
    """Other interpreters, and the lowest versions of the dependencies."""
    made, pythons, problems = versions.environments(python).result()
    outcome.errors += len(problems)
    outcome.notes += [f"{version}: {problem}" for version, problem in problems.items()]

    def run(interpreter: Path, tests: list[str], name: str) -> None:
        part = Outcome(f"versions-{name}")
        started = time.monotonic()
        pytest(part, interpreter, [*tests, "-q", "-p", "no:cacheprovider", "-n", parallel, "--dist", "worksteal"])
        outcome.add(part)
        outcome.notes.append(f"{name}: {part.passed} passed in {time.monotonic() - started:.0f} s")

    versions.on_each(pythons, run)
    missing = [version for version in versions.PROMISED if version not in pythons]
    outcome.notes.append(f"not on this machine, or run by the other stages: {', '.join(missing)}")
    if os.environ.get("RAYNB_LOWEST"):
        versions.on_lowest(python, made, run)
    else:
        outcome.notes.append("the lowest dependencies were not run: RAYNB_LOWEST=1")


def documentation(python: Path) -> list[str | os.PathLike[str]]:
    """Returns the command that builds the documentation site; what Sphinx warns of is an error."""
    source = here.ROOT / "docs"
    return [python, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", source, source / "build"]


def docs(outcome: Outcome, python: Path, parallel: str) -> None:
    """The documentation site builds, with no warning."""
    if call(documentation(python)):
        outcome.failed += 1
    else:
        outcome.passed += 1


def libraries_stage(outcome: Outcome, python: Path, parallel: str) -> None:
    """Other libraries on raynb: programs of their users, and a selection of their own tests."""
    own = library_environment.environment(python).result()
    logs = here.REPORTS / "libraries"
    shutil.rmtree(logs, ignore_errors=True)
    everything = bool(os.environ.get("RAYNB_LIBRARIES"))
    amount = [] if everything else ["--quick", "--longest", str(SUITE_SECONDS)]
    command = [own, here.ROOT / "scripts" / "libraries.py", "--logs", logs, "--parallel", str(processes(parallel))]
    try:
        said = f"ended with code {call([*command, *amount])}"
    except subprocess.TimeoutExpired:
        said = f"was ended after {COMMAND_SECONDS} s"
        outcome.errors += 1
        outcome.notes.append(f"scripts/libraries.py {said}")
    try:
        results = json.loads((logs / "results.json").read_text(encoding="utf-8"))
    except OSError:
        raise here.Problem(f"scripts/libraries.py {said} and wrote no results") from None
    outcome.passed += sum(result["passed"] for result in results)
    outcome.failed += sum(len(result["failed"]) for result in results)
    outcome.notes += [f"failed: {one['library']}, {one['said']}" for one in results if one["failed"]]
    known, mended = (sum(len(result[key]) for result in results) for key in ("known", "mended"))
    outcome.notes.append(f"{known} failed as scripts/library_suites.py says, {mended} others that it names passed")
    if not everything:
        outcome.notes.append("a selection; all: RAYNB_LIBRARIES=1")
    outcome.notes.append(f"the output of each is in {logs.relative_to(here.ROOT)}")


STAGES: dict[str, Callable[[Outcome, Path, str], None]] = {
    "typescript": typescript,
    "python": python_tests,
    "notebooks": notebooks,
    "browser": browser,
    "parity": parity,
    "docs": docs,
    "versions": versions_stage,
    "libraries": libraries_stage,
}

#: Stage → starts to make its environments, while stages before it run that are mostly waiting.
AHEAD = {"versions": versions.environments, "libraries": library_environment.environment}


def chosen(only: str) -> list[str]:
    """Returns the names of the stages to run: those named, or all."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(STAGES)
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise here.Problem(f"there is no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    return names


def run_all(python: Path, names: list[str], parallel: str) -> int:
    """Runs the stages; prints one summary; returns the exit code."""
    shutil.rmtree(here.REPORTS, ignore_errors=True)
    here.REPORTS.mkdir(exist_ok=True)
    outcomes = []
    for name in names:
        outcome, started = Outcome(name), time.monotonic()
        here.say(f"--- {name}: {(STAGES[name].__doc__ or '').strip()}")
        try:
            if name == "parity":
                for later in [later for later in names if later in AHEAD]:
                    AHEAD[later](python)
            STAGES[name](outcome, python, parallel)
        except subprocess.TimeoutExpired:
            outcome.errors += 1
            outcome.notes.append(f"still running after {COMMAND_SECONDS} s, so it was ended")
        except here.Problem as problem:  # of the network, say; the other stages go on
            outcome.errors += 1
            outcome.notes.append(str(problem))
        if outcome.good and not outcome.passed:
            outcome.errors += 1
            outcome.notes.append("ran no test at all")
        outcome.seconds = time.monotonic() - started
        outcomes.append(outcome)
    return summary(outcomes)


def summary(outcomes: list[Outcome]) -> int:
    """Prints a line for each stage and, last, one over all, as pytest words it."""
    print()
    for one in outcomes:
        notes = f"  ({'; '.join(one.notes)})" if one.notes else ""
        print(
            f"{one.name:12} {one.passed:5} passed {one.failed:3} failed {one.skipped:3} skipped "
            f"{one.errors:3} errors {one.seconds:7.1f} s{notes}"
        )
    words = {"failed": 0, "passed": 0, "skipped": 0, "errors": 0}
    for name in words:
        words[name] = sum(getattr(one, name) for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    told = ", ".join(f"{number} {name}" for name, number in words.items() if number or name == "passed")
    print(f"{told} in {seconds:.2f}s", flush=True)
    return 0 if all(one.good for one in outcomes) else 1
