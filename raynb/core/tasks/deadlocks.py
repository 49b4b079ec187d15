"""Actors that wait for each other in a ring: found when the last of them begins to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raynb.core.machine import Machine


def ring(m: Machine, worker_id: int, wanted: tuple[int, ...]) -> list[str] | None:
    """Returns the names of a ring of waiting actors that this `get` would close, or None.

    Only actors that run one call at a time can close one: others go on with the call that is
    waited for.
    """
    worker = m.pool.table[worker_id]
    if not worker.actor or not _single(m, worker.actor):
        return None
    found = _search(m, worker.actor, worker.actor, wanted, set())
    if found is None:
        return None
    return [m.actors.table[actor].spec.class_name for actor in (worker.actor, *found)]


def _single(m: Machine, actor_id: int) -> bool:
    actor = m.actors.table.get(actor_id)
    return actor is not None and not m.calls.unordered(actor)


def _search(m: Machine, start: int, here: int, wanted: tuple[int, ...], seen: set[int]) -> list[int] | None:
    """Follows what is waited for: its actor, what that actor itself waits for, and so on."""
    for identity in wanted:
        task = m.tasks.of_object(identity)
        if task is None or not task.spec.actor or not _single(m, task.spec.actor):
            continue
        actor = task.spec.actor
        if actor == start:
            return [start]
        if actor in seen:
            continue
        seen.add(actor)
        for number in m.requests.by_worker.get(m.actors.table[actor].worker, {}).values():
            request = m.requests.table[number]
            if not request.is_wait:
                rest = _search(m, start, actor, request.ids, seen)
                if rest is not None:
                    return [actor, *rest]
    return None
