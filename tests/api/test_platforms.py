"""Systems without Linux's own calls: the fallbacks, forced here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import raynb
from raynb.exceptions import RaySystemError
from raynb.testing import leaks

#: What macOS lacks, taken away in the driver and in the supervisor alike.
WITHOUT = """
import ctypes, os, select
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
for module, names in ((os, ("memfd_create", "pidfd_open")), (select, ("epoll",))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
PROGRAM = """
import os, sys
import numpy as np
import raynb as ray
import ctypes
assert not hasattr(os, "memfd_create") and not hasattr(os, "pidfd_open")
assert not hasattr(ctypes.CDLL(None), "prctl")
ray.init(num_cpus=2, object_store_memory=64 << 20)
engine = ray.runtime().engine

@ray.remote
def total(x):
    return float(x.sum())

@ray.remote
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n

@ray.remote
def nested(n):
    return ray.get(total.remote(np.ones(n)))

array = np.arange(1_000_000.0)
counter = Counter.remote()
assert ray.get(total.remote(ray.put(array))) == array.sum()
assert ray.get([counter.add.remote() for _ in range(50)]) == list(range(1, 51))
assert ray.get([nested.remote(n) for n in (10, 200_000)]) == [10.0, 200_000.0]
print(engine.supervised.process.pid, *(p.pid for p in list(engine.effects.peers.values())), flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture
def crippled(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}


@pytest.mark.parametrize("end", ["shutdown", "SIGKILL"])
def test_without_memfd_pidfd_epoll_and_prctl(crippled: dict[str, str], tmp_path: Path, end: str) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(script)], env=crippled, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) > 1, "the program failed; its error is on stderr"
        if end == "SIGKILL":
            process.send_signal(signal.SIGKILL)
        process.stdin.close()
        process.wait(60)
    assert process.returncode == (-signal.SIGKILL if end == "SIGKILL" else 0)
    assert leaks.until(lambda: not set(pids) & set(leaks.all_processes()))
    left = {entry.name for entry in tmp_path.iterdir()} - {"sitecustomize.py", "program.py", "__pycache__"}
    if end == "shutdown":
        assert not left


def test_windows_gets_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(RaySystemError, match="WSL"):
        raynb.init()
    assert not raynb.is_initialized()


#: A script that finds nothing installed beside raynb but cloudpickle.
ALONE = """
import sys
NEEDED = {"raynb", "cloudpickle"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in NEEDED | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
sys.meta_path.insert(0, Nothing())
import raynb as ray
import raynb.util.queue, raynb.util.state, raynb.util.multiprocessing
ray.init(num_cpus=1)
@ray.remote
class Counter:
    def add(self, n):
        return n + 1
assert ray.get(Counter.remote().add.remote(ray.put(1))) == 2
ray.shutdown()
try:
    ray.load_ipython_extension(None)
except ImportError as error:
    print(error)
"""


def test_a_script_needs_nothing_but_cloudpickle() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install raynb" in done.stdout
