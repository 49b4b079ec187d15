"""Computes the slots that one runtime may use when other runtimes of the same user share the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from raynb.base.config import RESOURCE_UNIT
from raynb.base.rows import KernelRow
from raynb.base.spec import CPU

if TYPE_CHECKING:
    from raynb.core.machine import Machine

FAIR = "fair"


def memory_left(available: int, others: Iterable[KernelRow]) -> int:
    """Returns how many of the available bytes are not promised to others' stores. What these hold already is
    missing from ``available``."""
    return max(0, available - sum(max(0, row.store - row.store_used) for row in others))


def wanted(m: Machine) -> float:
    """Returns how many slots the runtime could use at once: those taken, and one for each task that waits for one."""
    scheduler = m.scheduler
    taken = max(0, m.resources.total.get(CPU, 0) - m.resources.available.get(CPU, 0)) / RESOURCE_UNIT
    queued = sum(len(scheduler.shapes[key].queue) for key in scheduler.waiting) + len(scheduler.urgent)
    lined = sum(max(0, len(worker.queue) - 1) for worker in m.pool.table.values() if not worker.actor)
    return taken + queued + lined


def usable(own: KernelRow, others: Sequence[KernelRow], cores: int) -> int:
    """Returns the slots that a runtime may use now, at least 1.

    Those that take part (`KernelRow.share`) have a common stock: the slots that people asked for, added up, and the
    cores of the machine once for all those who did not ask. Each is entitled to its part of it, and never gets
    less. What the others do not want of theirs goes to those that want more, in equal parts.

    Args:
        own: the runtime that asks, with what it wants now.
        others: the others, as they last said.
        cores: CPUs that this process may use.
    """
    if own.share != FAIR:
        return max(1, int(own.base))
    rows = sorted((own, *(row for row in others if row.share == FAIR)), key=lambda row: (row.started, row.key))
    entitled = _entitled(rows, cores)
    spare = sum(max(0, entitled[row.key] - _ceil(row.wanted)) for row in rows)
    lacking = {row.key: _ceil(row.wanted) - entitled[row.key] for row in rows if row.wanted > entitled[row.key]}
    extra = dict.fromkeys(lacking, 0)
    while spare and lacking:
        for key in list(lacking):
            if not spare:
                break
            extra[key] += 1
            spare -= 1
            if extra[key] == lacking[key]:
                del lacking[key]
    return entitled[own.key] + extra.get(own.key, 0)


def _entitled(rows: Sequence[KernelRow], cores: int) -> dict[str, int]:
    """Returns key → slots; remainders go to those that began first."""
    asked = sum(int(row.base) for row in rows)
    chosen = sum(int(row.base) for row in rows if row.chosen)
    stock = asked if all(row.chosen for row in rows) else max(chosen, cores)
    if asked <= stock:
        return {row.key: max(1, int(row.base)) for row in rows}
    parts = {row.key: max(1, stock * int(row.base) // asked) for row in rows}
    left = stock - sum(parts.values())
    for row in rows[: max(0, left)]:
        parts[row.key] += 1
    return parts


def _ceil(amount: float) -> int:
    return -int(-amount // 1)
