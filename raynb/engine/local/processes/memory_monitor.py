"""Samples the memory and CPU of the workers and of the machine, for the memory policy and views."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from raynb.base import limits
from raynb.base.config import Config
from raynb.core.vocabulary import events as e
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.loop import Loop
from raynb.store import Store

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
    """Samples the memory of workers and machine. Thread contract: `tick` in the I/O thread."""

    def __init__(
        self, loop: Loop, store: Store, peers: Mapping[int, WorkerConnection], config: Config, forks: Callable[[], int]
    ) -> None:
        self._loop = loop
        self._machine = loop.machine
        self._store = store
        self._peers = peers
        self._forks = forks  # returns the process id of the supervisor, which workers are forked from
        self._interval = config.memory_monitor_interval
        self._threshold = config.memory_usage_threshold
        self._cpu: dict[int, float] = {}
        self._last = 0.0
        self._oom_kills = limits.oom_kills()

    def system_killed(self, worker: int) -> str:
        """Returns what to say if a worker that was SIGKILLed fell to the system's own memory killer, which
        is quicker than our samples when a process grows fast; empty when it did not."""
        if limits.oom_kills() <= self._oom_kills:
            return ""
        self._oom_kills += 1
        found = self._machine.pool.table.get(worker)
        had = f"it had {found.rss >> 20} MiB at the last look; " if found is not None and found.rss else ""
        return (
            f"the system killed it because memory ran out ({had}{limits.memory_total() >> 20} MiB is the limit "
            "for all). Use fewer workers at a time (num_cpus), smaller pieces, or memory= to reserve"
        )

    def tick(self, now: float) -> None:
        """Samples memory and CPU if the interval is over, and gives the machine the figures."""
        busy = bool(self._machine.tasks.table)
        if now < self._last + (self._interval if busy else self._interval * IDLE_FACTOR):
            return
        self._store.cool_down(now)
        rss: dict[int, int] = {}
        cpu: dict[int, float] = {}
        seconds = max(1e-6, now - self._last)
        used: dict[int, float] = {}
        for worker, peer in list(self._peers.items()):
            if peer.pid:
                rss[worker], used[worker] = sample(peer.pid)
                cpu[worker] = max(0.0, used[worker] - self._cpu.get(worker, used[worker])) / seconds
        self._cpu = used
        self._last = now
        total = available = 0
        pressed = False
        if busy:
            memory = limits.memory()  # once: it reads a dozen files, 0.2 ms
            total, available = memory.total, memory.available
            pressed = available < total * (1 - self._threshold)
        self._loop.dispatch(e.MemoryMeasured(now, rss, cpu, pressed, total - available, total,
                                             sample(self._forks())[0]))  # fmt: skip
