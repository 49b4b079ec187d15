"""The engines under measurement, by the name that ``--engines`` takes."""

from __future__ import annotations

import importlib
import importlib.util

from benchmarks.engines.base import Adapter, Unsupported

#: Name → (module, class). Modules are loaded only in the process that measures the engine.
ENGINES: dict[str, tuple[str, str]] = {
    "raynb": ("ray_api", "Raynb"),
    "ray": ("ray_api", "Ray"),
    "futures": ("pools", "Futures"),
    "loky": ("pools", "Loky"),
    "dask": ("dask", "Dask"),
    "ipyparallel": ("ipp", "Ipyparallel"),
    "limits": ("limits", "Limits"),
}


def adapter(name: str) -> Adapter:
    """Returns a fresh adapter of the named engine.

    Raises:
        ValueError: there is no engine of that name.
    """
    try:
        module, cls = ENGINES[name]
    except KeyError:
        raise ValueError(f"There is no engine {name!r}; known: {', '.join(ENGINES)}.") from None
    made: Adapter = getattr(importlib.import_module(f"benchmarks.engines.{module}"), cls)()
    return made


def installed(name: str) -> bool:
    """Returns whether this interpreter has the engine's package (nothing is imported)."""
    package = adapter(name).package
    return importlib.util.find_spec(package.split(".")[0]) is not None


__all__ = ["ENGINES", "Adapter", "Unsupported", "adapter", "installed"]
