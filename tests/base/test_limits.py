"""Limits as containers show them: made-up trees of /proc and /sys."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from raynb.base import limits

GB = 1 << 30
MEMINFO = """\
MemTotal:       16777216 kB
MemFree:         1048576 kB
MemAvailable:    8388608 kB
Buffers:           10000 kB
Cached:          6291456 kB
Shmem:            524288 kB
HugePages_Total:       0
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, "proc/meminfo", MEMINFO)
    return tmp_path


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def v2(root: Path, group: str, mount: str = "sys/fs/cgroup", **files: str) -> None:
    put(root, f"{mount}/cgroup.controllers", "cpu memory")
    for name, text in files.items():
        put(root, f"{mount}{group.rstrip('/')}/{name.replace('_', '.', 1)}", text + "\n")


def test_no_container(tree: Path) -> None:
    m = limits.memory(str(tree))
    assert (m.total, m.available, m.used) == (16 * GB, 8 * GB, 8 * GB)
    assert limits.memory_total(str(tree)) == 16 * GB
    assert limits.memory_available(str(tree)) == 8 * GB
    assert limits.default_object_store_memory(str(tree)) == int(8 * GB * 0.3)


def test_a_kernel_without_memavailable(tree: Path) -> None:
    put(tree, "proc/meminfo", "\n".join(x for x in MEMINFO.splitlines() if "Available" not in x))
    assert limits.memory_available(str(tree)) == 1 * GB + 6 * GB - GB // 2


def test_v2(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "0::/app\n")
    stat = f"anon 100\ninactive_file {GB // 2}\nactive_file {GB // 4}\nshmem 5\n"
    v2(tree, "/app", memory_max=str(4 * GB), memory_current=str(2 * GB), memory_stat=stat)
    assert limits.memory_total(str(tree)) == 4 * GB
    assert limits.memory_available(str(tree)) == 4 * GB - 2 * GB + GB // 2 + GB // 4


def test_v2_unlimited(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "0::/app\n")
    v2(tree, "/app", memory_max="max", memory_high="max", memory_current=str(2 * GB), cpu_max="max 100000")
    assert limits.memory_total(str(tree)) == 16 * GB
    assert limits.cpu_count(str(tree)) == limits.cpu_count("/nowhere")


def test_v2_the_soft_limit_counts(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "0::/app\n")
    v2(tree, "/app", memory_max="max", memory_high=str(3 * GB), memory_current=str(GB))
    assert limits.memory_total(str(tree)) == 3 * GB
    v2(tree, "/app", memory_max=str(2 * GB))
    assert limits.memory_total(str(tree)) == 2 * GB


def test_a_limit_above_counts(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "0::/user/session/app\n")
    v2(tree, "/user/session/app", memory_max=str(8 * GB), memory_current=str(GB))
    v2(tree, "/user/session", memory_max="max")
    v2(tree, "/user", memory_max=str(6 * GB), memory_current=str(5 * GB))
    m = limits.memory(str(tree))
    assert (m.total, m.available) == (6 * GB, GB)


def test_inside_a_container_the_path_is_the_hosts(tree: Path) -> None:
    """The mount shows only the container's own part, so its root is the group."""
    put(tree, "proc/self/cgroup", "0::/docker/0123abcd\n")
    v2(tree, "/", memory_max=str(GB), memory_current=str(GB // 4), cpu_max="150000 100000")
    assert limits.memory(str(tree)).available == GB - GB // 4


def test_v1(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n")
    base = "sys/fs/cgroup/memory/docker/abc"
    put(tree, f"{base}/memory.limit_in_bytes", str(2 * GB))
    put(tree, f"{base}/memory.usage_in_bytes", str(GB))
    put(tree, f"{base}/memory.stat", f"cache 7\ntotal_inactive_file {GB // 2}\ntotal_active_file 0\n")
    put(tree, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    m = limits.memory(str(tree))
    assert (m.total, m.available) == (2 * GB, GB + GB // 2)


def test_v1_beside_an_empty_v2(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "5:memory:/a\n0::/\n")
    put(tree, "sys/fs/cgroup/unified/cgroup.controllers", "")
    put(tree, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", str(GB))
    assert limits.memory_total(str(tree)) == GB
    assert limits.memory_available(str(tree)) == GB


def test_more_used_than_allowed(tree: Path) -> None:
    put(tree, "proc/self/cgroup", "0::/app\n")
    v2(tree, "/app", memory_max=str(GB), memory_current=str(GB + 4096))
    assert limits.memory_available(str(tree)) == 0
    assert limits.default_object_store_memory(str(tree)) == limits.STORE_MIN_BYTES


@pytest.mark.parametrize(
    ("quota", "count"), [("400000 100000", 4), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 64)]
)
def test_cpu_quota_v2(tree: Path, monkeypatch: pytest.MonkeyPatch, quota: str, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    put(tree, "proc/self/cgroup", "0::/app\n")
    v2(tree, "/app", cpu_max=quota)
    assert limits.cpu_count(str(tree)) == count


@pytest.mark.parametrize(("quota", "count"), [("300000", 3), ("-1", 64)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_cpu_quota_v1(
    tree: Path, monkeypatch: pytest.MonkeyPatch, quota: str, count: int, mount: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    put(tree, "proc/self/cgroup", "4:cpu,cpuacct:/a\n")
    put(tree, f"sys/fs/cgroup/{mount}/a/cpu.cfs_quota_us", quota)
    put(tree, f"sys/fs/cgroup/{mount}/a/cpu.cfs_period_us", "100000")
    assert limits.cpu_count(str(tree)) == count


def test_affinity_counts(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert limits.cpu_count(str(tree)) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert limits.cpu_count(str(tree)) == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert limits.cpu_count(str(tree)) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "::::\n\n", "x:y"])
def test_odd_files(tree: Path, text: str) -> None:
    put(tree, "proc/self/cgroup", text)
    put(tree, "sys/fs/cgroup/cgroup.controllers", "")
    put(tree, "sys/fs/cgroup/memory.max", text)
    put(tree, "sys/fs/cgroup/cpu.max", text)
    assert limits.memory_total(str(tree)) == 16 * GB
    assert limits.cpu_count(str(tree)) >= 1


VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                           30000.
Pages speculative:                          500.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                           1500.
"Translation faults":                 123456789.
"""


def test_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.parse_vm_stat(VM_STAT, 4096) == 42_000 * 16384
    assert limits.parse_vm_stat("Mach Virtual Memory Statistics:\nPages free: 3.", 4096) == 3 * 4096

    def vm_stat(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, stdout=VM_STAT)

    monkeypatch.setattr(subprocess, "run", vm_stat)
    m = limits.memory(str(tmp_path))
    assert m.total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert m.available == min(42_000 * 16384, m.total)


def test_a_system_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("vm_stat")

    monkeypatch.setattr(subprocess, "run", missing)
    m = limits.memory(str(tmp_path))
    assert m.available == m.total // 2


def test_this_machine() -> None:
    m = limits.memory()
    assert 0 < m.available <= m.total
    assert 1 <= limits.cpu_count() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/cgroup.controllers": "memory",
          "sys/fs/cgroup/app/memory.events": "low 0\noom 5\noom_kill 3\n", "proc/vmstat": "oom_kill 9\n"}, 3),
        ({"proc/self/cgroup": "4:memory:/a\n",
          "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}, 2),
        ({"proc/vmstat": "pgfault 4\noom_kill 7\n"}, 7),
        ({}, 0),
    ],
    ids=["v2", "v1", "machine", "unknown"],
)  # fmt: skip
def test_how_many_the_system_killed_for_memory(tree: Path, files: dict[str, str], kills: int) -> None:
    for path, text in files.items():
        put(tree, path, text)
    assert limits.oom_kills(str(tree)) == kills
