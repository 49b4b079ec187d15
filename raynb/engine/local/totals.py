"""The resources of the machine that a runtime may use, and its number of slots."""

from __future__ import annotations

from collections.abc import Callable

from raynb.base import limits
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.core.vocabulary import events as e
from raynb.engine.loop.loop import Loop

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


class LocalScaling:
    """Changes the number of slots. Thread contract: any thread."""

    def __init__(self, loop: Loop, check_alive: Callable[[], None], scaled: Callable[[int], None]) -> None:
        """``scaled`` is called with the number first: runtimes beside this one are to know."""
        self._loop = loop
        self._check_alive = check_alive
        self._scaled = scaled

    @sheltered
    def scale(self, cpus: int) -> None:
        """Gives tasks ``cpus`` slots from now on: what runs goes on, and nothing is lost."""
        loop = self._loop
        self._check_alive()
        self._scaled(cpus)
        with loop.lock:
            loop.apply(e.CpusChanged(time.monotonic(), cpus * RESOURCE_UNIT))
        loop.flush()
        loop.run_callbacks()
