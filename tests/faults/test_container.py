"""A container's limits, made for real where this machine lets us: a memory cgroup, no /dev/shm, no memfd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raynb.testing import leaks

MB = 1 << 20
LIMIT = 700 * MB

PROGRAM = """
import gc, os, signal, sys
import numpy as np
import raynb as ray
from raynb.base import limits
from raynb.exceptions import OutOfMemoryError

assert limits.memory_total() == int(sys.argv[1]), limits.memory_total()
assert not os.access("/dev/shm", os.W_OK) or not os.path.ismount("/dev/shm") or os.statvfs("/dev/shm").f_bavail == 0
ray.init(num_cpus=2)
engine = ray.runtime().engine
limit = engine.store.limit
assert limit < int(sys.argv[1]) * 0.31, limit
size = 12 << 20

@ray.remote
def make(n):
    return np.full(size // 8, n)

@ray.remote
def total(a):
    return float(a.sum())

count = 3 * limit // size
refs = [make.remote(n) if n % 2 else ray.put(np.full(size // 8, n)) for n in range(count)]
assert ray.get([total.remote(r) for r in refs]) == [float(n * size // 8) for n in range(count)]
for n, ref in enumerate(refs):
    assert (ray.get(ref) == n).all()
assert engine.snapshot().store.spilled > 0
os.kill(next(p.pid for p in engine.effects.peers.values() if p.pid), signal.SIGKILL)
assert [ray.get(total.remote(r)) for r in refs[:4]] == [float(n * size // 8) for n in range(4)]
del refs, ref
gc.collect()

@ray.remote(max_retries=0)
def hog():
    held = []
    while True:
        held.append(np.ones(4 << 17))  # 4 MB at a time
        import time; time.sleep(0.004)

try:
    ray.get(hog.remote(), timeout=60)
except OutOfMemoryError as error:  # stopped by us, or where that was too slow, by the system
    print("told:", str(error)[:200])

@ray.remote(max_retries=0)
def fast():
    return len(np.ones(1 << 28))

try:
    ray.get(fast.remote(), timeout=60)
except OutOfMemoryError as error:
    print("fast:", str(error)[:300])
assert ray.get(total.remote(np.ones(8))) == 8.0
ray.shutdown()
print("done", count, limit)
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of our own, below this process's."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can make a cgroup, on Linux")
    path = _make(LIMIT)
    if path is None:
        pytest.skip("no memory cgroup can be made here")
    yield path
    assert leaks.until(lambda: _removed(path)), "processes are left in the cgroup"


def _make(limit: int) -> Path | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers == "memory":
            base, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        elif not controllers:
            base, name = Path("/sys/fs/cgroup"), "memory.max"
        else:
            continue
        for parent in (base / place.lstrip("/"), base):
            path = parent / f"raynb-test-{os.getpid()}"
            try:
                path.mkdir()
                (path / name).write_text(str(limit))
            except OSError:
                if path.is_dir():
                    path.rmdir()
                continue
            return path
    return None


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("memfd", [True, False], ids=["memfd", "file"])
def test_in_a_container_with_little_memory_and_no_shm(cgroup: Path, tmp_path: Path, memfd: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM if memfd else "import os\ndel os.memfd_create\n" + PROGRAM)
    inside = (
        f"echo $$ > {cgroup}/cgroup.procs && mount -t tmpfs -o ro,size=4k none /dev/shm 2>/dev/null; "
        f'exec "{sys.executable}" "{program}" {LIMIT}'
    )
    unshare = ["unshare", "-m"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        unshare = []
    done = subprocess.run(
        [*unshare, "sh", "-c", inside], capture_output=True, text=True, timeout=110,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "told:" in done.stdout, done.stdout
    assert "fast:" in done.stdout, done.stdout
    assert "done" in done.stdout
    assert [p for p in tmp_path.iterdir() if p != program] == []
