"""The folder in which the runtimes of a user find each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raynb.base.process.registry import Registry, place
from raynb.base.rows import KernelRow

HOLDS = """
import sys
from raynb.base.process.registry import Registry
from raynb.base.rows import KernelRow
own = Registry(sys.argv[1])
own.join("other")
own.publish(KernelRow("other", 7, started=1.0, cpus=4))
print("there", flush=True)
sys.stdin.read()
"""


def test_runtimes_find_each_other_and_the_dead_are_swept(tmp_path: Path) -> None:
    folder = str(tmp_path / "runtimes")
    mine = Registry(folder)
    mine.join("mine")
    mine.publish(KernelRow("mine", os.getpid(), started=2.0))
    command = [sys.executable, "-c", HOLDS, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        assert [(row.key, row.cpus) for row in mine.rows()] == [("other", 4), ("mine", 0)]
        mine.ask_to_stop("mine", "a.ipynb")
        assert [mine.asked_to_stop(), mine.asked_to_stop()] == ["a.ipynb", ""]
        other.kill()
        other.wait()
    assert [row.key for row in mine.rows()] == ["mine"]
    assert sorted(os.listdir(folder)) == ["mine.json", "mine.lock"]
    Path(folder, "mine.json").write_text("{}")  # of a version of raynb that says other things
    assert mine.rows() == []
    mine.leave()
    mine.leave()
    assert os.listdir(folder) == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        Registry(str(tmp_path))
    monkeypatch.delenv("RAYNB_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert place() == str(tmp_path / "raynb")
