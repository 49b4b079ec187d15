"""Changes the number of CPU slots, and of the workers that are kept for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.config import RESOURCE_UNIT
from raynb.base.spec import CPU
from raynb.core.vocabulary import events as e

if TYPE_CHECKING:
    from raynb.core.scheduling.pool import WorkerPool
    from raynb.core.scheduling.resources import Resources
    from raynb.core.scheduling.scheduler import Scheduler


def workers_for(cpus: int) -> int:
    """Returns how many workers are kept when there is nothing to do: one per CPU (given in ten-thousandths)."""
    return max(1, cpus // RESOURCE_UNIT)


def scale(event: e.CpusChanged, resources: Resources, pool: WorkerPool, scheduler: Scheduler) -> None:
    """Changes how many slots tasks have. Running tasks go on; workers over the new number leave when they are idle."""
    resources.add({CPU: event.cpus - resources.total.get(CPU, 0)})
    pool.keep = workers_for(event.cpus)
    pool.replace()
    scheduler.pump()
