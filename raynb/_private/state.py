"""``ray._private.state``: tables of nodes and actors, as libraries read them."""

from __future__ import annotations

from raynb.api import available_resources, cluster_resources, get_runtime_context, nodes, timeline
from raynb.util.state import ActorState, list_actors
from raynb.util.state.api import Filter

#: Rows that `actors` reads at most: more than the runtime keeps.
_EVERY = 1_000_000


def actors(
    actor_id: str | None = None, job_id: object = None, actor_state_name: str | None = None
) -> dict[str, object]:
    """Returns what is known of an actor, or id → what is known of each.

    Args:
        actor_id: the hex id of one; {} if there is none.
        job_id: accepted for Ray's sake: there is one job.
        actor_state_name: only actors in this state (``"ALIVE"``, ``"DEAD"``, ...).
    """
    column, wanted = ("actor_id", actor_id) if actor_id is not None else ("state", actor_state_name)
    filters: list[Filter] = [(column, "=", wanted)] if wanted else []
    rows = [_row(actor) for actor in list_actors(filters=filters, limit=_EVERY, detail=True)]
    if actor_id is not None:
        return rows[0] if rows else {}
    return {str(row["ActorID"]): row for row in rows}


def _row(actor: ActorState) -> dict[str, object]:
    place = {"NodeID": actor.node_id or get_runtime_context().get_node_id()}
    return {
        "ActorID": actor.actor_id, "ActorClassName": actor.class_name, "IsDetached": bool(actor.is_detached),
        "Name": actor.name or "", "JobID": actor.job_id, "Address": place, "OwnerAddress": place,
        "State": actor.state, "NumRestarts": actor.num_restarts or 0, "Pid": actor.pid or 0,
    }  # fmt: skip


def total_resources_per_node() -> dict[str, dict[str, float]]:
    """Returns the id of each living node → its resources."""
    return {node["NodeID"]: node["Resources"] for node in nodes() if node["Alive"]}


__all__ = [
    "actors", "available_resources", "cluster_resources", "nodes", "timeline", "total_resources_per_node",
]  # fmt: skip
