"""`get_runtime_context`: the ids and settings of the calling code."""

from __future__ import annotations

import os
import warnings
from typing import Any

from raynb.api.options import ACCELERATORS
from raynb.base import ids
from raynb.base.engine import Context, current


class RuntimeContext:
    """Ids and settings of the calling code (``ray.runtime_context.RuntimeContext``)."""

    def __init__(self) -> None:
        self._engine = current()

    @property
    def _context(self) -> Context:
        return self._engine.context()

    def _hex(self, number: int, width: int) -> str:
        return ids.to_hex(number, self._engine.nonce, width)

    def get_job_id(self) -> str:
        """Returns the job's id: one a runtime."""
        return ids.JOB

    def get_node_id(self) -> str:
        """Returns the node's id: one a runtime, except on a cluster."""
        return self._engine.node_id()

    def get_worker_id(self) -> str:
        """Returns the id of the calling process."""
        return self._hex(self._context.worker, ids.NODE_HEX)

    def get_task_id(self) -> str | None:
        """Returns the id of the running task; None in the driver."""
        context = self._context
        if context.task_hex:
            return context.task_hex
        return self._hex(context.task, ids.TASK_HEX) if context.task else None

    def get_actor_id(self) -> str | None:
        """Returns the id of the actor that the code runs in; None outside one."""
        actor = self._context.actor
        return self._hex(actor, ids.ACTOR_HEX) if actor else None

    def get_task_name(self) -> str | None:
        """Returns the name of the running task; None in the driver."""
        return self._context.name or None

    def get_task_function_name(self) -> str | None:
        """Returns the name of the function, whatever ``name=`` the task was given."""
        return self._context.function_name or None

    def get_actor_name(self) -> str | None:
        """Returns the name of the actor that the code runs in; "" if it has none, None outside one."""
        actor = self._engine.actor_here()
        return actor.name if actor is not None else None

    @property
    def namespace(self) -> str:
        """Returns the namespace of named actors."""
        return self._context.namespace or "default"

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Returns whether this actor was restarted."""
        return self._context.restarted

    @property
    def current_actor(self) -> Any:
        """Returns a handle of the actor that the code runs in; it doesn't keep the actor alive (as Ray's).

        Raises:
            RuntimeError: outside an actor.
        """
        from raynb.api.actor import ActorHandle

        actor = self._engine.actor_here()
        if actor is None:
            raise RuntimeError("This method is only available in an actor.")
        return ActorHandle(self._engine.own_handle(actor.actor_id), actor)

    def is_canceled(self) -> bool:
        """Returns whether the running task was cancelled (a sync actor's call may look and stop)."""
        return self._context.cancelled

    def get_assigned_resources(self) -> dict[str, float]:
        """Returns what the running task or actor was given."""
        return self._context.resources

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Returns the ids of the accelerators of the running task, by Ray's names; only GPUs are told apart."""
        from raynb.api.calls import get_gpu_ids

        return {**{name: [] for name in ACCELERATORS}, "GPU": [str(i) for i in get_gpu_ids()]}

    def get_resource_ids(self) -> dict[str, list[str]]:
        """Returns the ids of the accelerators (Ray's earlier name of `get_accelerator_ids`)."""
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        """Returns the labels of the node that the code runs on."""
        from raynb.api.views import nodes

        here = self.get_node_id()
        return next((dict(node["Labels"]) for node in nodes() if node["NodeID"] == here), {})

    def get_session_name(self) -> str:
        """Returns a name of the running runtime; no folder belongs to it."""
        return f"raynb_{self._engine.nonce:x}"

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Returns whether tasks that the code submits go into its own placement group."""
        return bool(self._engine.capture)

    def get_runtime_env_string(self) -> str:
        """Returns the ``runtime_env`` as JSON."""
        import json

        return json.dumps(self.runtime_env)

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The ``runtime_env`` that tasks submitted here inherit."""
        return self._engine.job_env

    @property
    def gcs_address(self) -> str:
        """Returns "local": there is no cluster address."""
        return "local"

    @property
    def worker_pid(self) -> int:
        """Returns the id of the calling process."""
        return os.getpid()

    def get(self) -> dict[str, Any]:
        """Returns the ids as a dict (deprecated in Ray, kept for its programs)."""
        of = ids.HexId
        found: dict[str, Any] = {"job_id": of(self.get_job_id()), "node_id": of(self.get_node_id())}
        found["namespace"] = self.namespace
        if self._context.worker:
            found["task_id"] = of(self.get_task_id() or "")
            if self._context.actor:
                found["actor_id"] = of(self.get_actor_id() or "")
        return found


def _old(name: str) -> Any:
    """Makes a property of Ray's earlier days: the id as an object, with the advice to use its getter."""

    def read(self: RuntimeContext) -> ids.HexId | None:
        warnings.warn(f"Use get_{name}() instead", DeprecationWarning, stacklevel=2)
        found = getattr(self, f"get_{name}")()
        return ids.HexId(found) if found else None

    return property(read, doc=f"The id as an object; deprecated, as in Ray: use `get_{name}`.")


for _name in ("job_id", "node_id", "task_id", "actor_id"):
    setattr(RuntimeContext, _name, _old(_name))


def get_runtime_context() -> RuntimeContext:
    """Returns who and where the calling code is (``ray.get_runtime_context``).

    Example:
        >>> ray.get(ray.remote(lambda: ray.get_runtime_context().get_task_name() is not None).remote())
        True
    """
    return RuntimeContext()
