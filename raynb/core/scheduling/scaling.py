"""How many CPU slots there are, and how many workers are kept for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.config import RESOURCE_UNIT
from raynb.base.spec import CPU
from raynb.core.vocabulary import events as e

if TYPE_CHECKING:
    from raynb.core.machine import Machine


def workers_for(cpus: int) -> int:
    """Returns how many workers are kept when there is nothing to do: one per CPU (given in ten-thousandths)."""
    return max(1, cpus // RESOURCE_UNIT)


def scale(m: Machine, event: e.CpusChanged) -> None:
    """Changes how many slots tasks have. Running tasks go on; workers over the new number leave when they are idle."""
    m.resources.add({CPU: event.cpus - m.resources.total.get(CPU, 0)})
    m.pool.keep = workers_for(event.cpus)
    m.pool.replace()
    m.scheduler.pump()
