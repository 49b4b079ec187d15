"""What a user of each engine writes: one class an engine, one method a workload, in the engine's own idiom.

A method gets the data of `problems.make` and returns the result. ``start`` and ``stop`` are not timed. The lines of
a method are what the table counts as user code. An engine without a workload has no method of its name.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

#: Engine → (module, class, the package that it needs).
ENGINES: dict[str, tuple[str, str, str]] = {
    "serial": ("serial", "Serial", "numpy"),
    "raynb": ("ray_api", "Raynb", "raynb"),
    "Ray": ("ray_api", "Ray", "ray"),
    "Dask": ("dask_client", "Dask", "distributed"),
    "ipyparallel": ("ipp", "Ipyparallel", "ipyparallel"),
    "joblib": ("loky", "Joblib", "joblib"),
    "multiprocessing": ("pools", "Multiprocessing", "numpy"),
}
#: Workload → the method of it.
METHODS = {
    "grid search": "grid_search",
    "groupby and join": "frames",
    "CSV to features": "files",
    "image filters": "images",
    "100,000 small tasks": "small_tasks",
    "100,000 in chunks": "chunks",
    "shuffle of 2 GB": "shuffle",
    "matrix product": "matrix",
    "parameter server": "parameters",
    "nested agents": "agents",
    "agents in one level": "level",
    "I/O-bound calls": "calls",
}


def engine(name: str) -> Any:
    """Returns a fresh engine of the name."""
    module, cls, _ = ENGINES[name]
    return getattr(importlib.import_module(f"benchmarks.workloads.idioms.{module}"), cls)()


def has(name: str, workload: str) -> bool:
    """Returns whether an engine has a way to run a workload: some have no nested tasks."""
    return hasattr(engine(name), METHODS[workload])


def lines_of(name: str, workload: str) -> int:
    """Counts the lines that a user of an engine writes, without blank ones, comments and the ``def``."""
    source = inspect.getsource(getattr(type(engine(name)), METHODS[workload]))
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in source.splitlines()) - 1
