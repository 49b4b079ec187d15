"""Calls that wait for each other in a ring: found when the last of them begins to wait.

A ring goes through actors that run one call at a time, and through tasks between them: a task waits for what
it gets, and before it runs for its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raynb.core.vocabulary.transitions import O_READY

if TYPE_CHECKING:
    from raynb.core.machine import Machine
    from raynb.core.vocabulary.records import Task

#: An actor (True, its id) that runs one call at a time, or one task (False, its id).
Node = tuple[bool, int]


def ring(m: Machine, worker_id: int, task_id: int, wanted: Sequence[int]) -> list[str] | None:
    """Returns the names of those in a ring that this `get` would close, or None.

    Actors that run several calls at a time close none as a whole: others go on with the call that is waited
    for. Only the one call that waits counts.

    Args:
        m: the machine.
        worker_id: the worker that asks.
        task_id: the task that asks there.
        wanted: the objects that are not there yet.
    """
    actor = m.pool.table[worker_id].actor
    if not actor and not m.requests.table:
        return None  # nobody else waits
    asking = m.tasks.table.get(task_id)
    if actor and _single(m, actor):
        start = (True, actor)
    elif asking is not None:
        start = (False, task_id)
    else:
        return None
    found = _search(m, start, wanted, set())
    return None if found is None else [_name(m, node) for node in (start, *found)]


def _single(m: Machine, actor_id: int) -> bool:
    actor = m.actors.table.get(actor_id)
    return actor is not None and not m.calls.unordered(actor)


def _name(m: Machine, node: Node) -> str:
    whole, identity = node
    return m.actors.table[identity].spec.class_name if whole else m.tasks.table[identity].spec.options.name


def _node(m: Machine, task: Task) -> Node:
    actor = task.spec.actor
    return (True, actor) if actor and _single(m, actor) else (False, task.spec.task_id)


def _search(m: Machine, start: Node, wanted: Sequence[int], seen: set[Node]) -> list[Node] | None:
    """Follows what each one waits for, depth first, with a stack of its own: chains may be longer than
    Python's recursion limit.
    """
    came_from: dict[Node, Node | None] = {}
    stack: list[tuple[Node | None, int]] = [(None, identity) for identity in wanted]
    while stack:
        before, identity = stack.pop()
        task = m.tasks.of_object(identity)
        if task is None:
            continue
        node = _node(m, task)
        if node == start:
            path = [node]
            while before is not None:
                path.append(before)
                before = came_from[before]
            return path[::-1]
        # Behind an actor's turn, a call also waits for its own arguments: each is looked at by itself.
        for dep in task.spec.deps:
            obj = m.objects.table.get(dep)
            if obj is not None and obj.state != O_READY and (False, dep) not in seen:
                seen.add((False, dep))
                came_from.setdefault(node, before)
                stack.append((node, dep))
        if node in seen:
            continue
        seen.add(node)
        came_from.setdefault(node, before)
        stack += [(node, other) for other in _waits_for(m, node)]
    return None


def _waits_for(m: Machine, node: Node) -> list[int]:
    """Returns the objects that an actor's running call, or a task, waits for in `get`."""
    whole, identity = node
    if whole:
        worker, only = m.actors.table[identity].worker, 0
    else:
        task = m.tasks.table[identity]
        worker, only = task.worker, identity
    found: list[int] = []
    for number in m.requests.by_worker.get(worker, {}).values():
        request = m.requests.table[number]
        if not request.is_wait and (not only or request.task == only):
            found += request.ids
    return found
