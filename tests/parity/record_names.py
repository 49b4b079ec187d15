"""Records what is public in Ray: ``python record_names.py`` with the Python that has Ray.

A name is public if it is in a module's ``__all__``, or annotated as an API and defined there. Of functions and
methods the parameters are kept, of classes the public members.
"""

from __future__ import annotations

import importlib
import inspect
import json
import types
import warnings
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("names.json")
MODULES = (
    "actor", "cluster_utils", "exceptions", "experimental.internal_kv", "experimental.tqdm_ray", "remote_function",
    "runtime_context", "runtime_env", "types", "util", "util.accelerators", "util.actor_pool", "util.annotations",
    "util.check_serialize", "util.debug", "util.joblib", "util.metrics", "util.multiprocessing",
    "util.multiprocessing.pool", "util.placement_group", "util.queue", "util.scheduling_strategies",
    "util.serialization", "util.state", "util.state.common", "util.state.exception", "util.timer",
)  # fmt: skip


#: Libraries on top of Ray Core: each an API of its own.
LIBRARIES = frozenset(("air", "data", "llm", "rllib", "serve", "train", "tune", "workflow"))


def parameters(callee: Any) -> list[list[Any]] | None:
    """Returns (name, kind, default as text) of each parameter; None: it has no signature."""
    try:
        found = inspect.signature(callee).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, None if p.default is p.empty else repr(p.default)[:40]] for p in found]


def members(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(cls):
        if not name.startswith("_"):
            static = inspect.getattr_static(cls, name)
            method = callable(getattr(cls, name, None)) and not isinstance(static, (property, type))
            found[name] = parameters(getattr(cls, name)) if method else "value"
    return found


def described(value: Any) -> dict[str, Any]:
    if inspect.isclass(value):
        return {"kind": "class", "parameters": parameters(value), "members": members(value)}
    if callable(value):
        return {"kind": "function", "parameters": parameters(value)}
    return {"kind": "value"}


def is_public(module: Any, name: str, value: Any) -> bool:
    if name.startswith("_") or isinstance(value, types.ModuleType):
        return False
    if name in getattr(module, "__all__", ()):
        return True
    return vars(value).get("_annotated") == name if hasattr(value, "__dict__") else False


def names_of(root: str) -> dict[str, Any]:
    """Returns module → name → what it is, of everything public below a package."""
    found: dict[str, Any] = {}
    for place in ("", *MODULES):
        module = importlib.import_module(f"{root}.{place}" if place else root)
        names = sorted({*dir(module), *getattr(module, "__all__", ())} - LIBRARIES)
        values = {name: getattr(module, name, None) for name in names}
        found[place] = {name: described(value) for name, value in values.items() if is_public(module, name, value)}
    return found


if __name__ == "__main__":
    # Ray's names warn when they are looked at.
    warnings.simplefilter("ignore")
    import ray

    TARGET.write_text(json.dumps({"ray": ray.__version__, "names": names_of("ray")}, indent=0, sort_keys=True) + "\n")
