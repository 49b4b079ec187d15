"""ruff and mypy find nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import source


@pytest.mark.timeout(600)  # mypy reads everything anew
@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache", "."], ["mypy", "--cache-dir=/dev/null", "raynb"]],
    ids=lambda command: command[0],
)
def test_the_tool_finds_nothing(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=source.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
