"""Ray's place for things that may change: here only names that programs import from it."""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = frozenset(("internal_kv", "tqdm_ray"))


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"raynb.experimental.{name}")
    raise AttributeError(f"module 'raynb.experimental' has no attribute {name!r}")
