"""What is measured: each row is a batch of calls of raynb, and says how many operations it has done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import raynb as ray


@ray.remote
def small() -> bytes:
    return b"ok"


@ray.remote
def small_of(_: object) -> bytes:
    return b"ok"


@ray.remote
def family(n: int) -> int:
    return len(ray.get([small.remote() for _ in range(n)]))


@ray.remote
def many_refs(n: int) -> list[Any]:
    return [ray.put(1) for _ in range(n)]


@ray.remote
class Actor:
    def small(self) -> bytes:
        return b"ok"


@ray.remote
class AsyncActor:
    async def small(self) -> bytes:
        return b"ok"


@ray.remote
def calls_of(actor: Any, n: int) -> int:
    return len(ray.get([actor.small.remote() for _ in range(n)]))


REFS = 10_000  # in the object of "object with 10,000 refs"


class Rows:
    """The rows on a started runtime.

    Args:
        size: tasks or calls in a batch of those that are submitted together.
    """

    def __init__(self, size: int) -> None:
        ray.init(num_cpus=2)
        self._size = size
        self._actor: Any = Actor.remote()
        self._threaded: Any = Actor.options(max_concurrency=16).remote()
        self._async: Any = AsyncActor.remote()
        self._int: Any = ray.put(0)
        self._refs: Any = many_refs.remote(REFS)
        ray.get([self._refs, small.remote()])
        ray.get([actor.small.remote() for actor in (self._actor, self._threaded, self._async)])

    def tasks(self) -> int:
        ray.get([small.remote() for _ in range(self._size)])
        return self._size

    def tasks_with_an_argument(self) -> int:
        ray.get([small_of.remote(i) for i in range(self._size)])
        return self._size

    def actor_calls(self) -> int:
        return self._calls(self._actor)

    def threaded_calls(self) -> int:
        return self._calls(self._threaded)

    def async_calls(self) -> int:
        return self._calls(self._async)

    def _calls(self, actor: Any) -> int:
        ray.get([actor.small.remote() for _ in range(self._size)])
        return self._size

    def calls_of_a_task(self) -> int:
        ray.get(calls_of.remote(self._actor, self._size))
        return self._size

    def tasks_of_a_task(self) -> int:
        ray.get(family.remote(self._size))
        return self._size

    def one_task_at_a_time(self) -> int:
        for _ in range(200):
            ray.get(small.remote())
        return 200

    def one_call_at_a_time(self) -> int:
        return self._one_by_one(self._actor)

    def one_threaded_call_at_a_time(self) -> int:
        return self._one_by_one(self._threaded)

    def one_async_call_at_a_time(self) -> int:
        return self._one_by_one(self._async)

    def _one_by_one(self, actor: Any) -> int:
        for _ in range(200):
            ray.get(actor.small.remote())
        return 200

    def puts(self) -> int:
        for _ in range(3000):
            ray.put(0)
        return 3000

    def gets(self) -> int:
        ref = self._int
        for _ in range(5000):
            ray.get(ref)
        return 5000

    def waits(self) -> int:
        left = [small.remote() for _ in range(1000)]
        while left:
            _, left = ray.wait(left)
        return 1000

    def refs(self) -> int:
        for _ in range(10):
            ray.get(self._refs)
        return 10 * REFS


ROWS: dict[str, Callable[[Rows], int]] = {
    "tasks": Rows.tasks,
    "tasks with an argument": Rows.tasks_with_an_argument,
    "actor calls": Rows.actor_calls,
    "concurrent actor calls": Rows.threaded_calls,
    "async actor calls": Rows.async_calls,
    "actor calls of a task": Rows.calls_of_a_task,
    "tasks of a task": Rows.tasks_of_a_task,
    "one task at a time": Rows.one_task_at_a_time,
    "one actor call at a time": Rows.one_call_at_a_time,
    "one concurrent actor call at a time": Rows.one_threaded_call_at_a_time,
    "one async actor call at a time": Rows.one_async_call_at_a_time,
    "put of an int": Rows.puts,
    "get of an int": Rows.gets,
    "wait for 1,000 tasks, one by one": Rows.waits,
    "get of 10,000 refs, each": Rows.refs,
}
