"""Samples the memory and CPU of the workers and of the machine, for the memory policy and views."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from raynb.base import limits
from raynb.core.vocabulary import events as e

if TYPE_CHECKING:
    from raynb.engine.local.engine import LocalEngine

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
IDLE_FACTOR = 8  # while nothing runs, samples are this much rarer


def sample(pid: int) -> tuple[int, float]:
    """Returns (private resident bytes, CPU seconds) of a process; zeros when it is gone.

    Pages shared with others (the store's) are not counted: they are not the task's.
    """
    try:
        with open(f"/proc/{pid}/statm") as file:
            fields = file.read().split()
        with open(f"/proc/{pid}/stat", "rb") as raw:
            stat = raw.read().rpartition(b")")[2].split()
    except (OSError, IndexError):
        return 0, 0.0
    resident = (int(fields[1]) - int(fields[2])) * _PAGE
    return resident, (int(stat[11]) + int(stat[12])) / _TICKS


class MemoryMonitor:
    """Thread contract: `tick` in the I/O thread."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self._next = 0.0
        self._cpu: dict[int, float] = {}
        self._last = 0.0
        self._oom_kills = limits.oom_kills()

    def system_killed(self, worker: int) -> str:
        """Returns what to say if a worker that was SIGKILLed fell to the system's own memory killer, which
        is quicker than our samples when a process grows fast; empty when it did not."""
        if limits.oom_kills() <= self._oom_kills:
            return ""
        self._oom_kills += 1
        found = self.engine.machine.pool.table.get(worker)
        had = f"it had {found.rss >> 20} MiB at the last look; " if found is not None and found.rss else ""
        return (
            f"the system killed it because memory ran out ({had}{limits.memory_total() >> 20} MiB is the limit "
            "for all). Use fewer workers at a time (num_cpus), smaller pieces, or memory= to reserve"
        )

    def tick(self, now: float) -> None:
        if now < self._next:
            return
        engine = self.engine
        engine.store.cool_down(now)
        interval = engine.config.memory_monitor_interval
        busy = bool(engine.machine.tasks.table)
        self._next = now + (interval if busy else interval * IDLE_FACTOR)
        rss: dict[int, int] = {}
        cpu: dict[int, float] = {}
        seconds = max(1e-6, now - self._last)
        used: dict[int, float] = {}
        for worker, peer in list(engine.effects.peers.items()):
            if peer.pid:
                rss[worker], used[worker] = sample(peer.pid)
                cpu[worker] = max(0.0, used[worker] - self._cpu.get(worker, used[worker])) / seconds
        self._cpu = used
        self._last = now
        total = available = 0
        pressed = False
        if busy:
            total = limits.memory_total()
            available = limits.memory_available()
            pressed = available < total * (1 - engine.config.memory_usage_threshold)
        engine.loop.dispatch(e.MemoryMeasured(now, rss, cpu, pressed, total - available, total))
