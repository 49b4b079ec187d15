"""Memory and CPUs as this process may use them: the container's limits, not the machine's size.

Reads the cgroup (v2, v1, or both mounted side by side), then /proc/meminfo, then `sysctl` (macOS).
A limit on any level above the process counts. Every path hangs on ``root``, so tests hand in a
made-up tree.
"""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass

#: Share of the available memory that the object store takes, as in Ray.
STORE_SHARE = 0.3
#: The smallest store that is of any use, bytes (Ray's too).
STORE_MIN_BYTES = 75 * 1024 * 1024
#: cgroup v1 writes "no limit" as a huge number of pages.
_UNLIMITED = 1 << 60


@dataclass(slots=True)
class Memory:
    """Bytes: what this process and its children may use at most, and what of it is left now."""

    total: int
    available: int

    @property
    def used(self) -> int:
        """Bytes in use: total less available."""
        return self.total - self.available


def memory(root: str = "/") -> Memory:
    """Returns the tightest of the machine's memory and every cgroup limit above this process.

    Page cache counts as available, because the kernel drops it before it kills anybody. Shared
    memory isn't page cache in this sense and counts as used.

    Raises:
        OSError: the system says nothing about its memory.
    """
    total, available = _machine(root)
    for limit, used in _cgroup_memory(root):
        total = min(total, limit)
        available = min(available, limit - used)
    return Memory(total, max(available, 0))


def memory_total(root: str = "/") -> int:
    """Returns how many bytes this process and its children may use at most."""
    return memory(root).total


def memory_available(root: str = "/") -> int:
    """Returns how many bytes are left before something is killed."""
    return memory(root).available


def oom_kills(root: str = "/") -> int:
    """Returns how many processes of this cgroup (else: of this machine) the system has killed for memory."""
    places = [f"{folder}/memory.events" for folder in _folders(root, "")[:1]]
    places += [f"{folder}/memory.oom_control" for folder in _folders(root, "memory")[:1]]
    for place in (*places, "proc/vmstat"):
        for line in _read(root, place).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


def default_object_store_memory(root: str = "/") -> int:
    """Returns the object store's size in bytes when nobody asks for one: 30 % of what is available."""
    return store_of(memory_available(root))


def store_of(available: int) -> int:
    """Returns the object store's size in bytes where so many are available."""
    return max(int(available * STORE_SHARE), STORE_MIN_BYTES)


def cpu_count(root: str = "/") -> int:
    """Returns how many CPUs this process may use: affinity and the cgroup's quota, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    for quota in _cgroup_cpus(root):
        # A quota of 1.5 CPUs keeps two workers busy; Ray rounds up as well.
        count = min(count, math.ceil(quota))
    return max(count, 1)


# -- the machine -------------------------------------------------------------------------------
def _machine(root: str) -> tuple[int, int]:
    facts: dict[str, int] = {}
    for line in _read(root, "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if fields and fields[0].isdigit():
            facts[name] = int(fields[0]) * 1024
    if "MemTotal" in facts:
        guess = facts.get("MemFree", 0) + facts.get("Cached", 0) - facts.get("Shmem", 0)
        return facts["MemTotal"], facts.get("MemAvailable", guess)
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    return total, min(_available_macos(page), total)


def _available_macos(page: int) -> int:
    try:
        text = subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return page * os.sysconf("SC_PHYS_PAGES") // 2  # unknown: a cautious guess
    return parse_vm_stat(text, page)


def parse_vm_stat(text: str, page: int) -> int:
    """Returns the available bytes in the output of macOS's ``vm_stat``."""
    first = text.partition("\n")[0]
    words = first.split()
    if "size" in words and "bytes)" in words:  # "(page size of 16384 bytes)"
        page = int(words[words.index("bytes)") - 1])
    pages = 0
    for line in text.splitlines()[1:]:
        name, _, count = line.partition(":")
        if name.strip('" ') in ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable"):
            pages += int(count.strip().rstrip(".") or 0)
    return pages * page


# -- cgroups -----------------------------------------------------------------------------------
def _cgroup_memory(root: str) -> list[tuple[int, int]]:
    """Returns (limit, used without page cache) of every level that has a limit."""
    found = []
    for folder in _folders(root, ""):
        # "max" isn't a number. Past memory.high nothing is killed, but everything crawls.
        bounds = [_number(root, f"{folder}/memory.{name}") for name in ("max", "high")]
        limit = min((bound for bound in bounds if bound is not None), default=None)
        if limit is not None:
            used = _number(root, f"{folder}/memory.current") or 0
            found.append((limit, used - _cache(root, folder, "inactive_file", "active_file")))
    for folder in _folders(root, "memory"):
        limit = _number(root, f"{folder}/memory.limit_in_bytes")
        if limit is not None and limit < _UNLIMITED:
            used = _number(root, f"{folder}/memory.usage_in_bytes") or 0
            found.append((limit, used - _cache(root, folder, "total_inactive_file", "total_active_file")))
    return found


def _cache(root: str, folder: str, *names: str) -> int:
    total = 0
    for line in _read(root, f"{folder}/memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in names and value.strip().isdigit():
            total += int(value)
    return total


def _cgroup_cpus(root: str) -> list[float]:
    """Returns the CPU quota of every level that has one."""
    found = []
    for folder in _folders(root, ""):
        fields = _read(root, f"{folder}/cpu.max").split()
        if len(fields) == 2 and fields[0].isdigit() and int(fields[1]) > 0:
            found.append(int(fields[0]) / int(fields[1]))
    for folder in _folders(root, "cpu"):
        quota = _number(root, f"{folder}/cpu.cfs_quota_us")
        period = _number(root, f"{folder}/cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            found.append(quota / period)
    return found


def _folders(root: str, controller: str) -> list[str]:
    """Returns the folders of this process's cgroup and of all above it, from the bottom.

    ``controller`` is empty for v2. Inside a container the path that /proc names may be the host's,
    while the mount shows only the container's own part: then the mount's root is the group.
    """
    path = ""
    for line in _read(root, "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controller in controllers.split(","):
            path = group
            break
    else:
        return []
    if controller:
        mounts = [f"sys/fs/cgroup/{controller}", "sys/fs/cgroup/cpu,cpuacct"]
    else:
        mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
    for mount in mounts:
        if not os.path.isdir(os.path.join(root, mount)):
            continue
        if not controller and not os.path.exists(os.path.join(root, mount, "cgroup.controllers")):
            continue
        parts = [part for part in path.split("/") if part]
        levels = ["/".join([mount, *parts[:n]]) for n in range(len(parts), -1, -1)]
        return [level for level in levels if os.path.isdir(os.path.join(root, level))]
    return []


def _read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _number(root: str, path: str) -> int | None:
    text = _read(root, path).strip()
    try:
        return int(text)
    except ValueError:
        return None
