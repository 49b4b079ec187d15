"""Tasks that wait for each other in a ring: found when the last of them begins to wait.

A ring goes through actors that run one call at a time, and through tasks between them: a task waits for what
it gets, and before it runs for its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from raynb.core.vocabulary.records import Actor, Request, Task, Worker
from raynb.core.vocabulary.transitions import O_READY

if TYPE_CHECKING:
    from raynb.core.objects.table import Objects
    from raynb.core.tasks.table import Tasks

#: An actor (True, its id) that runs one call at a time, or one task (False, its id).
Node = tuple[bool, int]


class Deadlocks:
    """Looks for rings of waits.

    Args:
        requests: the requests of workers that are not answered.
        by_worker: worker → its number of a request → the request's id.
    """

    def __init__(
        self, workers: Mapping[int, Worker], actors: Mapping[int, Actor], tasks: Tasks, objects: Objects,
        requests: Mapping[int, Request], by_worker: Mapping[int, Mapping[int, int]],
    ) -> None:  # fmt: skip
        self._workers = workers
        self._actors = actors
        self._tasks = tasks
        self._objects = objects
        self._requests = requests
        self._by_worker = by_worker

    def ring(self, worker_id: int, task_id: int, wanted: Sequence[int]) -> list[str] | None:
        """Returns the names of those in a ring that this `get` would close, or None.

        Actors that run several calls at a time close none as a whole: others go on with the call that is waited
        for. Only the one call that waits counts.

        Args:
            worker_id: the worker that asks.
            task_id: the task that asks there.
            wanted: the objects that are not there yet.
        """
        actor = self._workers[worker_id].actor
        if not actor and not self._requests:
            return None  # nobody else waits
        asking = self._tasks.table.get(task_id)
        if actor and self._single(actor):
            start = (True, actor)
        elif asking is not None:
            start = (False, task_id)
        else:
            return None
        found = self._search(start, wanted, set())
        return None if found is None else [self._name(node) for node in (start, *found)]

    def _single(self, actor_id: int) -> bool:
        actor = self._actors.get(actor_id)
        return actor is not None and not actor.unordered

    def _name(self, node: Node) -> str:
        whole, identity = node
        return self._actors[identity].spec.class_name if whole else self._tasks.table[identity].spec.options.name

    def _node(self, task: Task) -> Node:
        actor = task.spec.actor
        return (True, actor) if actor and self._single(actor) else (False, task.spec.task_id)

    def _search(self, start: Node, wanted: Sequence[int], seen: set[Node]) -> list[Node] | None:
        """Follows what each one waits for, depth first, with a stack of its own: chains may be longer than
        Python's recursion limit.
        """
        came_from: dict[Node, Node | None] = {}
        stack: list[tuple[Node | None, int]] = [(None, identity) for identity in wanted]
        while stack:
            before, identity = stack.pop()
            task = self._tasks.of_object(identity)
            if task is None:
                continue
            node = self._node(task)
            if node == start:
                path = [node]
                while before is not None:
                    path.append(before)
                    before = came_from[before]
                return path[::-1]
            # Behind an actor's turn, a call also waits for its own arguments: each is looked at by itself.
            for dep in task.spec.deps:
                obj = self._objects.table.get(dep)
                if obj is not None and obj.state != O_READY and (False, dep) not in seen:
                    seen.add((False, dep))
                    came_from.setdefault(node, before)
                    stack.append((node, dep))
            if node in seen:
                continue
            seen.add(node)
            came_from.setdefault(node, before)
            stack += [(node, other) for other in self._waits_for(node)]
        return None

    def _waits_for(self, node: Node) -> list[int]:
        """Returns the objects that an actor's running call, or a task, waits for in `get`."""
        whole, identity = node
        if whole:
            worker, only = self._actors[identity].worker, 0
        else:
            task = self._tasks.table[identity]
            worker, only = task.worker, identity
        found: list[int] = []
        for number in self._by_worker.get(worker, {}).values():
            request = self._requests[number]
            if not request.is_wait and (not only or request.task == only):
                found += request.ids
        return found
