"""``ray._private``: only what libraries read of it."""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = frozenset(("ray_constants", "services", "state", "worker"))


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"raynb._private.{name}")
    raise AttributeError(f"module 'raynb._private' has no attribute {name!r}")
