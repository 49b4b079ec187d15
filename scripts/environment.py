"""What the project's commands need on a machine: Python, Node, a browser, an environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
REPORTS = ROOT / ".reports"
BUILT = ("raynb/labextension", "raynb/jupyter/static")
QUICKSTART = ROOT / "notebooks" / "quickstart.ipynb"

#: Registries that do not answer for a moment: pip and npm ask again, and what still fails is run again after pauses.
for _name, _value in (("PIP_RETRIES", "8"), ("PIP_TIMEOUT", "30"), ("npm_config_fetch_retries", "5")):
    os.environ.setdefault(_name, _value)
PAUSES = (10.0, 40.0)  # seconds
FETCH_SECONDS = 1200  # that one of these commands may take before it counts as hung


class Problem(Exception):
    """Something the person has to mend; the message says what and how."""


def say(text: str) -> None:
    print(f"[raynb] {text}", flush=True)


def run(command: list[str | os.PathLike[str]], **kwargs: object) -> int:
    """Runs a command, in the checkout unless ``cwd`` says where, and returns its exit code."""
    where = {"cwd": ROOT, **kwargs}
    return subprocess.run(list(map(str, command)), check=False, **where).returncode  # type: ignore[call-overload, no-any-return]


def must(command: list[str | os.PathLike[str]], **kwargs: object) -> None:
    if run(command, **kwargs):
        raise Problem(f"this failed: {' '.join(map(str, command))}")


def fetch(command: list[str | os.PathLike[str]], **kwargs: object) -> bool:
    """Runs a command that needs the network, again after a pause if it fails; returns whether it worked."""
    for pause in (*PAUSES, None):
        try:
            if not run(command, timeout=FETCH_SECONDS, **kwargs):
                return True
        except subprocess.TimeoutExpired:
            say(f"still running after {FETCH_SECONDS} s, so it was ended")
        if pause is not None:
            say(f"this failed, and is tried again in {pause:.0f} s: {' '.join(map(str, command))}")
            time.sleep(pause)
    return False


def must_fetch(command: list[str | os.PathLike[str]], **kwargs: object) -> None:
    if not fetch(command, **kwargs):
        raise Problem(f"this failed {len(PAUSES) + 1} times: {' '.join(map(str, command))}")


_background = ThreadPoolExecutor(1, "environments")


def in_background(function: Callable[..., T], *arguments: object) -> Future[T]:
    """Runs a function beside the stages, after what was handed over before; returns what will be its result.

    Installing is mostly waiting for the network and the disk, and so is starting Ray: the parity stage goes on
    meanwhile.
    """
    return _background.submit(function, *arguments)


# -- what has to be there ----------------------------------------------------------------------


def apt_install(*packages: str) -> bool:
    """Installs Debian packages when that is possible here; returns whether it worked."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return False
    say(f"installing {', '.join(packages)} with apt-get")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": environ, "stdout": subprocess.DEVNULL}
    patient = ("-o", "Acquire::Retries=5")
    run(["apt-get", "update", "-q", *patient], **quiet)
    return run(["apt-get", "install", "-y", "-q", *patient, "--no-install-recommends", *packages], **quiet) == 0


def check_python() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - this file is what an older Python gets to read
        raise Problem(
            f"raynb needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=python3.12 …"
        )


def check_node() -> None:
    """The lab extension is built with Node when the package is installed from its sources."""
    remedy = "Install Node 20 or newer (nodejs.org, or your system's packages)."
    if not shutil.which("npm"):
        raise Problem(f"npm is not on the PATH; the JupyterLab panel is built with it. {remedy}")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        raise Problem(f"Node {version} is too old. {remedy}")


def browser() -> str | None:
    """Returns Chromium or Chrome, installing it where that is possible."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and apt_install("chromium", "fonts-dejavu-core"):
        found = shutil.which("chromium")
    return found


# -- environments ------------------------------------------------------------------------------


def sources_digest(extras: str) -> str:
    """A digest of everything that an installation depends on."""
    digest = hashlib.sha256(f"{extras} {sys.version}".encode())
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
               "--", "raynb", "labextension", "pyproject.toml", "LICENSE", "README.md"]  # fmt: skip
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, no git
        names = [str(path) for path in (ROOT / "raynb").rglob("*.py")]
    for name in sorted(filter(None, names)):
        path = ROOT / name
        if path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def make_venv(folder: Path) -> Path:
    """Makes a virtual environment if there is none; returns its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making the environment {folder.name}")
        if run([sys.executable, "-m", "venv", folder], stdout=subprocess.DEVNULL):
            shutil.rmtree(folder, ignore_errors=True)
            number = f"{sys.version_info.major}.{sys.version_info.minor}"
            if not apt_install(f"python{number}-venv"):
                raise Problem(
                    f"`{sys.executable} -m venv` does not work; on Debian: apt install python3-venv"
                )
            must([sys.executable, "-m", "venv", folder])
    return python


def environment(extras: str) -> Path:
    """Returns the Python of an environment with raynb installed as a user would install it."""
    check_python()
    python = make_venv(VENV)
    stamp, digest = VENV / "raynb-installed", sources_digest(extras)
    have, _, installed = (stamp.read_text() if stamp.exists() else "").partition(" ")
    # The environment of the tests has all that the notebook's has, so it serves both.
    if have == "test":
        extras, digest = have, sources_digest(have)
    if (have, installed) != (extras, digest):
        check_node()
        say(f"installing raynb[{extras}] into {VENV.name} (about two minutes the first time)")
        pip: list[str | os.PathLike[str]] = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        for built in BUILT:  # the build makes only what is not there
            shutil.rmtree(ROOT / built, ignore_errors=True)
        # pip does not look into a folder for changes: without --force an old build would stay.
        must_fetch([*pip, "--force-reinstall", "--no-deps", "."])
        must_fetch([*pip, f".[{extras}]"])
        stamp.write_text(f"{extras} {digest}")
    return python
