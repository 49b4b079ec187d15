"""Functions and classes of a notebook on their way to processes that `multiprocessing` spawns.

Such a process has a ``__main__`` of its own, in which nothing of the notebook is, and what is sent by name is not
found there: in a plain notebook its pool never answers. From a worker they go by value. Forked processes have the
worker's ``__main__``, so there names are kept, and with them the identity of classes.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from raynb.base.process.late_imports import when_imported


def install() -> None:
    """Lets what the code of this process spawns have the notebook's functions and classes."""
    when_imported("multiprocessing.reduction", "children", _patch)


def _patch(module: ModuleType) -> None:
    module.ForkingPickler.reducer_override = _by_value


def _by_value(pickler: object, obj: object) -> Any:
    if (type(obj) is FunctionType or isinstance(obj, type)) and obj.__module__ == "__main__" and _spawns():
        return _arrive, (cloudpickle.dumps(obj), obj.__name__)
    return NotImplemented


def _arrive(blob: bytes, name: str) -> Any:
    """Makes a function or class in the process that was spawned; what that returns names it as the worker does."""
    made = cloudpickle.loads(blob)
    main = sys.modules["__main__"]
    if not hasattr(main, name):
        setattr(main, name, made)
    return made


def _spawns() -> bool:
    """Returns whether a process that isn't a fork is being started, or has been."""
    context: Any = sys.modules["multiprocessing.context"]
    starting = context.get_spawning_popen()
    if starting is not None:
        return bool(getattr(starting, "method", "fork") != "fork")
    children = getattr(sys.modules["multiprocessing.process"], "_children", ())
    return any(getattr(child, "_start_method", "fork") != "fork" for child in tuple(children))
