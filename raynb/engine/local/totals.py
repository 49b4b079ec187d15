"""What the machine has for a runtime."""

from __future__ import annotations

from raynb.base import limits
from raynb.base.config import RESOURCE_UNIT, Config


def machine_totals(config: Config) -> dict[str, int]:
    """Returns what the runtime may use: asked for, or found (ten-thousandths)."""
    total: dict[str, float] = dict(config.resources)
    total["CPU"] = config.num_cpus if config.num_cpus is not None else limits.cpu_count()
    if config.num_gpus:
        total["GPU"] = config.num_gpus
    total["memory"] = int(config.memory if config.memory is not None else limits.memory_available() * 0.7)
    total["object_store_memory"] = config.object_store_memory or limits.default_object_store_memory()
    total["node:127.0.0.1"] = 1.0
    total["node:__internal_head__"] = 1.0
    return {name: round(value * RESOURCE_UNIT) for name, value in total.items() if value}
