"""The plugin, as a user's test suite sees it: pytest runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLUGIN = ["-p", "raynb_pytest", "-p", "no:cacheprovider", "-q"]


def run(tmp_path: Path, text: str) -> tuple[int, str]:
    (tmp_path / "test_it.py").write_text(text)
    # By name only: where raynb is installed, its entry point would load the plugin a second time.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_fresh_runtime_with_the_options_of_the_marker(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
import pytest, raynb
seen = set()
def test_one(raynb_runtime):
    seen.add(raynb_runtime.engine.nonce)
    assert raynb.get(raynb.put(1)) == 1
@pytest.mark.raynb(num_cpus=3)
def test_two(raynb_runtime):
    seen.add(raynb_runtime.engine.nonce)
    assert raynb.cluster_resources()["CPU"] == 3
def test_none_is_left():
    assert len(seen) == 2 and not raynb.is_initialized()
""",
    )
    assert code == 0, out
    assert "3 passed" in out


def test_a_runtime_left_behind_names_its_test(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
import raynb
def test_fine(): pass
def test_messy(): raynb.init(num_cpus=1)
def test_innocent(): pass
def test_next(raynb_runtime): pass
def test_after(raynb_runtime): assert raynb.get(raynb.put(2)) == 2
""",
    )
    assert code == 1, out
    assert "left behind by test_it.py::test_messy" in out
    assert "1 error" in out
    assert "4 passed" in out


def test_what_a_test_leaves_fails_it_by_name(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
import pytest, threading
stop = threading.Event()
@pytest.mark.raynb(leaks=0.1)
def test_leaky(raynb_runtime):
    threading.Thread(target=stop.wait, name="forgotten").start()
def test_end(): stop.set()
""",
    )
    assert code == 1, out
    assert "test_leaky left " in out  # perhaps also what would be gone a moment later
    assert "thread 'forgotten'" in out


def test_a_marker_with_an_unknown_option_says_so(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
import pytest
@pytest.mark.raynb(num_cpu=3)
def test_one(raynb_runtime): pass
""",
    )
    assert code == 1, out
    assert "num_cpu" in out


def test_a_run_that_does_not_use_it_imports_nothing_of_raynb(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
import os, sys
from pathlib import Path
def loaded():
    return sorted(name for name in sys.modules if name.partition(".")[0] in ("raynb", "cloudpickle", "IPython"))
def test_the_plugin_is_there(request):
    assert request.config.pluginmanager.has_plugin("raynb_pytest")
    assert loaded() == []
def test_nor_does_the_end_of_a_test(): assert loaded() == []
def test_its_mark_is_the_one_that_leaks_looks_for():
    mark = os.environ["RAYNB_LEAK_MARK"]
    from raynb.testing import leaks
    assert os.environ[leaks.MARKER] == mark and len(mark) == 32
def test_the_fixture_works_afterwards(raynb_runtime): assert loaded() != []
""",
    )
    assert code == 0, out
    assert "4 passed" in out


def test_its_former_name_loads_it_too(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p raynb.testing.plugin\n")
    code, out = run(tmp_path, "def test_one(raynb_runtime): assert raynb_runtime.engine.alive\n")
    assert code == 0, out


def test_the_entry_point_names_it() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]' in text
    assert 'raynb = "raynb_pytest"' in text
