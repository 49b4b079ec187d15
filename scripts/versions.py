"""Every Python that the project promises, and the lowest versions of what it depends on.

Each interpreter gets an environment of its own (`.venv-3.X`) with the wheel that a user would install.
The tests that start no kernel run on all of them; `RAYNB_ALL_VERSIONS=1` runs every Python test.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import environment as here

PROMISED = tuple(f"3.{minor}" for minor in range(10, 15))
EVERYTHING = ["tests", "--ignore=tests/browser", "--ignore=tests/parity", "--ignore=tests/house"]
#: What depends on the interpreter most: pickling, the engine, signals, collection. No kernels: they cost minutes.
SELECTION = [
    *(f"tests/{name}" for name in ("api", "base", "core", "engine", "run", "serde", "worker")),
    "tests/store/test_collected.py", "tests/store/test_zero_copy.py", "tests/faults/test_storms.py",
    "tests/faults/test_worker_interrupts.py",
]  # fmt: skip
#: What depends on Jupyter's versions most. The samples of the documents use other libraries, and today's.
ON_LOWEST = ["tests/jupyter", "--ignore=tests/jupyter/test_samples.py", "tests/lifecycle/test_kernel_ends.py"]
#: Prints an interpreter's version; nothing of one without the lock (3.14t), which raynb does not promise.
WHICH = (
    "import ensurepip, sys, sysconfig; "
    "print('' if sysconfig.get_config_var('Py_GIL_DISABLED') else '%d.%d' % sys.version_info[:2])"
)
#: Installing leaves the processors to the tests that run meanwhile.
POLITELY = ("nice", "-n", "19")

Run = Callable[[Path, list[str], str], None]


def interpreters() -> dict[str, Path]:
    """Returns version → an interpreter of it, other than the one that runs this."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, Path] = {}
    for version in PROMISED:
        if version == ".".join(map(str, sys.version_info[:2])):
            continue
        candidates = [path for path in [shutil.which(f"python{version}")] if path]
        candidates += [str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{version}.*"), reverse=True)]
        for path in candidates:
            asked = [path, "-c", WHICH]
            try:
                done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.stdout.strip() == version:  # a pyenv shim may stand for another version
                found[version] = Path(path)
                break
    return found


class Made(NamedTuple):
    """The wheel, version → the Python of an environment with it, and version → why there is none."""

    wheel: Path
    pythons: dict[str, Path]
    problems: dict[str, str]


@functools.cache
def environments(python: Path) -> Future[Made]:
    """Starts to make the wheel and the environments, once and in the background; returns what will be there."""
    return here.in_background(_make, python)


def _make(python: Path) -> Made:
    made = Made(wheel(python), {}, {})
    for version, path in interpreters().items():
        try:
            made.pythons[version] = _environment(version, path, made.wheel)
        except here.Problem as problem:  # the others are tested all the same
            made.problems[version] = str(problem)
    return made


def _environment(version: str, interpreter: Path, made: Path) -> Path:
    """Returns the Python of an environment with the wheel and the tests' dependencies."""
    own = here.ROOT / f".venv-{version}" / "bin" / "python"
    if not own.exists():
        here.say(f"making the environment .venv-{version}")
        try:
            here.must([*POLITELY, interpreter, "-m", "venv", own.parents[1]])
        except here.Problem:
            shutil.rmtree(own.parents[1], ignore_errors=True)  # half of one would be taken for a whole one
            raise
    pip: list[str | os.PathLike[str]] = [own, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    here.must_fetch([*POLITELY, *pip, f"{made}[test-python]"])
    here.must([*POLITELY, *pip, "--force-reinstall", "--no-deps", made])
    return own


def wheel(python: Path) -> Path:
    """Builds the wheel and returns its path."""
    folder = here.REPORTS / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    pip: list[str | os.PathLike[str]] = [python, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    here.must_fetch([*POLITELY, *pip, "--no-deps", "-w", folder, "."])
    made = next(folder.glob("raynb-*.whl"))
    here.must([python, "-m", "check_wheel_contents", made])  # nothing twice, nothing that is no package
    here.must([python, "-m", "twine", "check", "--strict", made])
    return made


def on_each(pythons: dict[str, Path], run: Run) -> None:
    """Runs the tests on every other interpreter."""
    tests = EVERYTHING if os.environ.get("RAYNB_ALL_VERSIONS") else SELECTION
    for version, own in pythons.items():
        run(own, tests, version)


def on_lowest(python: Path, made: Path, run: Run) -> None:
    """Runs the notebook's tests with the lowest versions that pyproject.toml allows."""
    folder = here.ROOT / ".venv-lowest"
    own = here.make_venv(folder)
    uv = python.parent / "uv"
    pins = here.REPORTS / "lowest.txt"
    here.must_fetch([uv, "pip", "compile", "-q", "--resolution", "lowest-direct", "--extra", "lab",
                     "--extra", "notebooks", "--python", own, "pyproject.toml", "-o", pins],
                    stdout=subprocess.DEVNULL)  # fmt: skip
    # The tools of the tests themselves may be new.
    text = pins.read_text(encoding="utf-8")
    pinned = [line.split()[0] for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    here.must_fetch([uv, "pip", "install", "-q", "--python", own, *pinned, f"{made}[test-python]"])
    here.must([uv, "pip", "install", "-q", "--python", own, "--reinstall", "--no-deps", made])
    run(own, ON_LOWEST, "lowest")
