"""The names of ``ray.util``, written on the public API.

Names are loaded when they are first used, so that ``import raynb`` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

# Loaded at once, because here a function and its module have the same name: the module would take
# the function's place on the package if it were imported later.
from raynb.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

_HOMES = {
    "ActorPool": "actor_pool",
    "Executor": "executor",
    "Queue": "queue",
    "as_completed": "helpers",
    "map_unordered": "helpers",
    "keep": "kept_functions",
    "inspect_serializability": "check_serialize",
    "register_serializer": "serialization",
    "deregister_serializer": "serialization",
    "list_named_actors": "node",
    "get_node_ip_address": "node",
    "get_node_instance_id": "node",
    "timeline": "node",
    "log_once": "debug",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
}

_MODULES = frozenset((
    "accelerators", "actor_pool", "annotations", "check_serialize", "dask", "debug", "executor", "frames", "helpers",
    "joblib", "metrics", "multiprocessing", "node", "queue", "scheduling_strategies", "serialization", "state",
    "timer",
    "tqdm_ray",
))  # fmt: skip

__all__ = [  # noqa: PLE0604
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name in ("pdb", "rpdb"):  # Ray's debugger; here pdb itself opens its prompt in the notebook
        value = importlib.import_module("pdb")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"raynb.util.{_HOMES[name]}"), name)
    elif name in _MODULES:
        return importlib.import_module(f"raynb.util.{name}")
    else:
        raise AttributeError(f"module 'raynb.util' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
