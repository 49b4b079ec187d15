"""Runs small programs as a user's script, and looks at what is left when they have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raynb.testing import leaks

PRELUDE = """
import faulthandler, os, signal, sys, threading, time
faulthandler.dump_traceback_later(100, exit=True)
import raynb as ray
from raynb.testing import leaks
"""

#: Seconds that may pass between the end of a script and the end of all that it started: two on a machine that does
#: nothing else, which no test assumes.
GRACE = 60.0


@contextmanager
def script(code: str, folder: Path, *arguments: str, files: bool = True) -> Iterator[subprocess.Popen[str]]:
    """Starts a program; afterwards nothing of it may be left (nor files, but with ``files=False``)."""
    environ = {**os.environ, "TMPDIR": str(folder), "PYTHONWARNINGS": "error"}
    value = leaks.mark(environ)
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *arguments],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
            process.wait(110)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(60)
            if process.stdout and not process.stdout.closed:
                process.stdout.read()
            leaks.check_gone(value, GRACE)
            if files:
                assert leaks.files_under(folder) == frozenset(), leaks.files_under(folder)


def run(code: str, folder: Path, expect: int = 0) -> str:
    """Runs a program to its end; returns what it printed. Another exit code fails the test."""
    with script(code, folder) as process:
        out, err = process.communicate(timeout=110)
        assert process.returncode == expect, f"ended with {process.returncode}\n{out}\n{err}"
    return out


def say(process: subprocess.Popen[str]) -> str:
    """Returns the next line that a script prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, err = process.communicate(timeout=60)
        raise AssertionError(f"the script ended with {process.returncode}: {err}")
    return line.strip()
