"""The public API, in Ray's names. `raynb` re-exports it."""

from __future__ import annotations

from raynb.api.actor import ActorClass, ActorHandle, exit_actor, method
from raynb.api.calls import (
    cancel,
    free,
    get,
    get_actor,
    get_gpu_ids,
    kill,
    list_named_actors,
    put,
    remote,
    show_in_dashboard,
    wait,
)  # fmt: skip
from raynb.api.context import RuntimeContext, get_runtime_context
from raynb.api.remote_function import RemoteFunction
from raynb.api.runtime import Runtime, init, init_async, is_initialized, runtime, shutdown, shutdown_async
from raynb.api.views import available_resources, cluster_resources, nodes, timeline
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from raynb.serde.pickling import deregister_serializer, register_serializer

__all__ = [
    "ActorClass", "ActorHandle", "DynamicObjectRefGenerator", "ObjectRef", "ObjectRefGenerator",
    "RemoteFunction", "Runtime", "RuntimeContext", "available_resources", "cancel", "cluster_resources",
    "deregister_serializer", "exit_actor", "free", "get", "get_actor", "get_gpu_ids",
    "get_runtime_context", "init", "init_async", "is_initialized", "kill", "list_named_actors", "method",
    "nodes", "put", "register_serializer", "remote", "runtime", "show_in_dashboard", "shutdown",
    "shutdown_async", "timeline", "wait",
]  # fmt: skip
