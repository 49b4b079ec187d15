"""The environment with the libraries that are tested on raynb: `.venv-libraries`, as `libraries.txt` pins it."""

from __future__ import annotations

import functools
import sys
from concurrent.futures import Future
from pathlib import Path

import environment as here
import versions

PINS = here.ROOT / "scripts" / "libraries.txt"
OLDEST = (3, 11)  # Python that the pinned versions run on


@functools.cache
def environment(python: Path) -> Future[Path]:
    """Starts to make the environment, once and in the background; returns its Python, when it is there.

    Args:
        python: the Python of the environment of the tests, where uv is: it needs a tenth of pip's time.
    """
    return here.in_background(_make, python)


def _make(python: Path) -> Path:
    uv = python.parent / "uv"
    own = here.ROOT / ".venv-libraries" / "bin" / "python"
    if not own.exists():
        here.say(f"making the environment {own.parents[1].name}")
        here.must([uv, "venv", "-q", "--python", interpreter(), own.parents[1]])
    here.must_fetch([*versions.POLITELY, uv, "pip", "sync", "-q", "--python", own, PINS])
    return own


def interpreter() -> Path:
    """Returns a Python that the libraries run on.

    Raises:
        Problem: this machine has none.
    """
    if sys.version_info >= OLDEST:
        return Path(sys.executable)
    number = ".".join(map(str, OLDEST))
    newer = [path for version, path in versions.interpreters().items() if int(version[2:]) >= OLDEST[1]]
    if not newer:
        raise here.Problem(f"the libraries of the stage `libraries` need Python {number} or newer; none is on the PATH")
    return newer[0]
