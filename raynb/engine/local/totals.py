"""What the machine has for a runtime, and how many slots it has of that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from raynb.base import limits
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.process.shelter import sheltered
from raynb.core.vocabulary import events as e

if TYPE_CHECKING:
    from raynb.engine.local.engine import LocalEngine


#: Share of the memory that tasks may ask for with ``memory=``, as in Ray.
MEMORY_SHARE = 0.7


def machine_totals(config: Config, available: int, store: int) -> dict[str, int]:
    """Returns what the runtime may use: asked for, or found (ten-thousandths).

    Args:
        config: the runtime's.
        available: bytes of memory that are left for it.
        store: bytes of its object store.
    """
    total: dict[str, float] = dict(config.resources)
    total["CPU"] = config.num_cpus if config.num_cpus is not None else limits.cpu_count()
    if config.num_gpus:
        total["GPU"] = config.num_gpus
    total["memory"] = int(config.memory if config.memory is not None else available * MEMORY_SHARE)
    total["object_store_memory"] = store
    total["node:127.0.0.1"] = 1.0
    total["node:__internal_head__"] = 1.0
    return {name: round(value * RESOURCE_UNIT) for name, value in total.items() if value}


class Scaling:
    """Thread contract: any thread."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    @sheltered
    def scale(self, cpus: int) -> None:
        """Gives tasks ``cpus`` slots from now on: what runs goes on, and nothing is lost."""
        engine = self.engine
        engine.check_alive()
        engine.neighbours.scaled(cpus)
        with engine.loop.lock:
            engine.loop.apply(e.CpusChanged(time.monotonic(), cpus * RESOURCE_UNIT))
        engine.loop.flush()
        engine.loop.run_callbacks()
