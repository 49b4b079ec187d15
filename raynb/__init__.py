"""raynb: Ray's programming model made for the Jupyter notebook.

``import raynb as ray`` runs Ray Core programs on an embedded engine; ``%load_ext raynb`` brings the
magics and the dashboard.
"""

from __future__ import annotations

import sys
from typing import Any

import cloudpickle

from raynb import actor, api, exceptions
from raynb.actor import ActorProxy, TypedActor
from raynb.api import (
    ActorClass,
    ActorHandle,
    DynamicObjectRefGenerator,
    ObjectRef,
    ObjectRefGenerator,
    Runtime,
    available_resources,
    cancel,
    cluster_resources,
    free,
    get,
    get_actor,
    get_gpu_ids,
    get_runtime_context,
    init,
    init_async,
    is_initialized,
    kill,
    method,
    nodes,
    put,
    remote,
    runtime,
    show_in_dashboard,
    shutdown,
    shutdown_async,
    timeline,
    wait,
)  # fmt: skip
from raynb.api.session import install_starter as _install_starter
from raynb.base.ray_names import hook as _ray_hook
from raynb.base.ray_names.refused import LEFT_OUT as _LEFT_OUT
from raynb.base.ray_names.refused import refused as _refused

__version__ = "0.1.0"
#: Ray's numbers for what a process is.
SCRIPT_MODE, WORKER_MODE, LOCAL_MODE = 0, 1, 2
ObjectID = ObjectRef  # Ray's former name

_MODULES = frozenset((
    "_private", "_raylet", "as_ray", "cluster_utils", "data", "experimental", "internal", "jupyter", "runtime_env",
    "types", "util",
))  # fmt: skip
_ID_CLASSES = frozenset((
    "ActorClassID", "ActorID", "ClusterID", "FunctionID", "JobID", "NodeID", "PlacementGroupID", "TaskID", "UniqueID",
    "WorkerID",
))  # fmt: skip

_install_starter()
# Ray's import paths: `import ray.cloudpickle`.
sys.modules["raynb.cloudpickle"] = cloudpickle
sys.modules["raynb.runtime_context"] = sys.modules["raynb.api.context"]
sys.modules["raynb.remote_function"] = sys.modules["raynb.api.remote_function"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"raynb.{name}")
    if name == "as_completed":
        from raynb.util import as_completed

        return as_completed
    if name in _ID_CLASSES:
        from raynb.base.ray_names import id_classes

        return getattr(id_classes, name)
    if name == "logger":
        import logging

        return logging.getLogger("raynb")
    if name == "LoggingConfig":
        from raynb.base.ray_names.logging_config import LoggingConfig

        return LoggingConfig
    refused = _refused(f"ray.{name}")
    if refused is not None:
        return refused
    why = f": {_LEFT_OUT[name]}." if name in _LEFT_OUT else ""
    raise AttributeError(f"module 'raynb' has no attribute {name!r}{why}")


if _ray_hook.asked_for():
    _ray_hook.install()


def load_ipython_extension(ipython: Any) -> None:
    """Called by ``%load_ext raynb``.

    Raises:
        ImportError: a package that only the notebook needs is missing.
    """
    try:
        from raynb.jupyter.extension import load_ipython_extension as load
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "raynb":
            raise
        raise ImportError(
            f"%load_ext raynb needs the package {missing.name}, which is not installed: raynb was installed without "
            "its dependencies. Install them: pip install raynb"
        ) from missing

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Called by ``%unload_ext raynb``."""
    from raynb.jupyter.extension import unload_ipython_extension as unload

    unload(ipython)


__all__ = [
    "LOCAL_MODE",
    "SCRIPT_MODE",
    "WORKER_MODE",
    "ActorClass",
    "ActorHandle",
    "ActorProxy",
    "DynamicObjectRefGenerator",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "Runtime",
    "TypedActor",
    "__version__",
    "actor",
    "api",
    "available_resources",
    "cancel",
    "cloudpickle",
    "cluster_resources",
    "exceptions",
    "free",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "init_async",
    "is_initialized",
    "kill",
    "load_ipython_extension",
    "method",
    "nodes",
    "put",
    "remote",
    "runtime",
    "show_in_dashboard",
    "shutdown",
    "shutdown_async",
    "timeline",
    "unload_ipython_extension",
    "wait",
]  # fmt: skip
