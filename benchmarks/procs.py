"""What processes weigh: memory, processor time, and which ones carry a mark in their environment.

Linux only (``/proc``). A mark finds every process that an engine started, daemons that have
left the process tree included, because environments are inherited.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

MARK = "RAYNB_BENCHMARK_MARK"


def marked(mark: str) -> list[int]:
    """Returns the pids of the living processes that carry the mark, in order."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if needle in Path(entry.path, "environ").read_bytes() and not _zombie(int(entry.name)):
                found.append(int(entry.name))
        except OSError:  # gone, or another user's
            continue
    return sorted(found)


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def pss(pids: Iterable[int]) -> int:
    """Returns the proportional set size of the processes together, in bytes.

    Shared pages count once, divided among those that map them.
    """
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def rss(pid: int) -> int:
    """Returns the resident size of one process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_time(pids: Iterable[int]) -> float:
    """Returns the seconds that the processes have run so far, exited children not included."""
    total = 0.0
    for pid in pids:
        try:
            for thread in os.scandir(f"/proc/{pid}/task"):
                total += int(Path(thread.path, "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return total


def idle_share(mark: str, seconds: float) -> float:
    """Watches the marked processes for so many seconds; returns their share of one core in %."""
    pids = marked(mark)
    before, begin = processor_time(pids), time.perf_counter()
    time.sleep(seconds)
    return 100 * (processor_time(pids) - before) / (time.perf_counter() - begin)


def hold(mark: str) -> None:
    """Stops what carries the mark until `let_go`: a daemon that idles takes a part of a small machine."""
    for pid in marked(mark):
        _send(pid, signal.SIGSTOP)


def let_go(mark: str) -> None:
    """Has what `hold` stopped go on."""
    for pid in marked(mark):
        _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def end_marked(mark: str) -> list[int]:
    """Kills what carries the mark and returns the pids; the mark is ours alone."""
    left = marked(mark)
    for pid in left:
        _send(pid, signal.SIGKILL)
    return left


def machine() -> dict[str, str | int | float]:
    """Returns what a reader of the figures must know about the machine."""
    import platform

    model = "?"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
