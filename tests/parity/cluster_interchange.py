"""Checks of refs and actors that go between raynb and plain Ray in one process (see `cluster_checks.py`)."""

from __future__ import annotations

import asyncio
from typing import Any

import ray as real_ray
from cluster_tools import WAIT, check, lines, raised, until

import raynb
from raynb.base.ref import foreign
from raynb.engine.cluster.bridge import translate
from raynb.engine.cluster.submission import MARK


async def _awaited(*refs: Any) -> list[Any]:
    return [await ref for ref in refs]


@check
def refs_and_actors_are_the_same_to_raynb_and_to_plain_ray() -> None:
    class Plain:
        def add(self, a: int, b: int = 0) -> int:
            return a + b

        def read(self, box: list[Any]) -> Any:
            return real_ray.get(box[0])

        def _raynb_call(self, head: bytes) -> None:
            """An actor of another version of raynb has such a method, and is to this one an actor of plain Ray."""
            raise AssertionError(head)

    class Ours:
        def __init__(self) -> None:
            self.total = 0

        def add(self, amount: int) -> int:
            self.total += amount
            return self.total

    plain = real_ray.remote(num_cpus=0)(Plain).options(name="plain").remote()
    ours = raynb.remote(num_cpus=0)(Ours).options(name="ours").remote()
    found = raynb.get_actor("plain")
    assert raynb.get(found.add.remote(raynb.put(4), b=3), timeout=WAIT) == 7
    assert raynb.get(ours.add.remote(2), timeout=WAIT) == 2
    assert real_ray.get(real_ray.get_actor("ours").add.remote(5), timeout=WAIT) == 7
    older = real_ray.get_actor("ours").add.remote(MARK + b"1\xe9\x02")  # as another version calls
    error = raised(lambda: raynb.get(foreign[real_ray.ObjectRef](older), timeout=WAIT))
    assert isinstance(error, raynb.exceptions.RaySystemError), repr(error)
    assert "another version of raynb" in str(error), str(error)

    @raynb.remote
    def use(handle: Any) -> Any:
        import ray as rays

        return rays.get(handle.add.remote(1))

    assert raynb.get(use.remote(plain), timeout=WAIT) == 1
    assert raynb.get(found.read.remote([raynb.put([1, 2, 3])]), timeout=WAIT) == [1, 2, 3]
    raynb.kill(plain)
    raynb.kill(ours)


@check
def refs_of_plain_ray_are_taken_everywhere_and_ours_by_plain_ray() -> None:
    native = real_ray.put({"made": "natively"})
    assert raynb.get(native, timeout=WAIT) == {"made": "natively"}
    assert raynb.get([native, raynb.put(1)], timeout=WAIT) == [{"made": "natively"}, 1]
    assert raynb.wait([native], timeout=WAIT) == ([native], [])

    @raynb.remote
    def top(value: Any) -> Any:
        return value

    @raynb.remote
    def nested(box: dict[str, Any]) -> tuple[str, Any]:
        import ray as rays

        return type(box["ref"]).__module__, rays.get(box["ref"])

    assert raynb.get(top.remote(native), timeout=WAIT) == {"made": "natively"}
    module, value = raynb.get(nested.remote({"ref": native}), timeout=WAIT)
    assert value == {"made": "natively"}
    assert module.startswith("ray"), module

    mine = raynb.put([1, 2, 3])
    assert real_ray.get(mine, timeout=WAIT) == [1, 2, 3]
    assert real_ray.get([mine, native], timeout=WAIT)[0] == [1, 2, 3]
    assert real_ray.wait([mine], timeout=WAIT) == ([mine], [])
    native_task = real_ray.remote(num_cpus=0)(lambda value: value)
    assert real_ray.get(native_task.remote(mine), timeout=WAIT) == [1, 2, 3]
    assert raynb.get(native_task.remote(top.remote(mine)), timeout=WAIT) == [1, 2, 3]
    (inside,) = real_ray.get(native_task.remote([mine]), timeout=WAIT)
    assert raynb.get(inside, timeout=WAIT) == [1, 2, 3]
    assert asyncio.run(_awaited(native, mine)) == [{"made": "natively"}, [1, 2, 3]]


@check
def what_ray_raises_around_a_cancelled_task_is_its_cancellation() -> None:
    @real_ray.remote(max_retries=0)
    def fails() -> None:
        raise TypeError("somewhere in Ray's own code")

    ref = foreign[real_ray.ObjectRef](fails.remote())
    error = raised(lambda: raynb.get(ref, timeout=WAIT))
    assert isinstance(error, TypeError), repr(error)
    assert isinstance(error, raynb.exceptions.RayTaskError), repr(error)
    # Ray 2.60 ends the process where a cancel meets the very end of a task ("Tried to complete task that was not
    # pending"). It works answers off one after the other, so after the next one that end is over.
    raised(lambda: real_ray.get(fails.remote(), timeout=WAIT))
    raynb.cancel(ref)  # it is over: this only says who has ended it
    assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), raynb.exceptions.TaskCancelledError)

    class Bare(TypeError, real_ray.exceptions.RayTaskError):
        def __init__(self) -> None:
            self.cause = TypeError("bare")

    made = translate(Bare())
    assert isinstance(made, raynb.exceptions.RayTaskError), repr(made)
    assert isinstance(made, TypeError), repr(made)


@check
def an_actor_of_another_namespace_is_told_of() -> None:
    class Elsewhere:
        def ping(self) -> int:
            return 1

    made = raynb.remote(num_cpus=0)(Elsewhere).options(name="apart", namespace="another room").remote()
    assert raynb.get(made.ping.remote(), timeout=WAIT) == 1
    text = str(raised(lambda: raynb.get_actor("apart")))
    assert "in the namespace 'another room'" in text, text
    assert "c.Raynb.namespace" in text, text
    assert "another room" not in str(raised(lambda: raynb.get_actor("nowhere")))
    assert raynb.get(raynb.get_actor("apart", namespace="another room").ping.remote(), timeout=WAIT) == 1


@check
def code_that_plain_ray_runs_submits_to_the_same_cluster() -> None:
    """In a trial of Tune or a function of Ray Data's, also on a worker that has run nothing of raynb's."""

    @raynb.remote(num_cpus=0)
    def inner(n: int) -> tuple[int, str]:
        print("said by inner", n)
        return n, real_ray.get_runtime_context().get_node_id()

    @raynb.remote(num_cpus=0)
    class Counts:
        def __init__(self) -> None:
            self.n = 0

        def up(self) -> int:
            self.n += 1
            return self.n

    # A worker of its own: another one may have run tasks of raynb, and has its engine.
    @real_ray.remote(num_cpus=0, runtime_env={"env_vars": {"RAYNB_CHECKED": "fresh"}})
    def plain(counts: Any) -> tuple[Any, ...]:
        import raynb as rays
        from raynb.base import engine as slot

        before = slot.peek()
        read = rays.get([inner.remote(n) for n in range(2)], timeout=WAIT)
        put = rays.get(rays.put("stored"), timeout=WAIT)
        return before is None, type(slot.current()).__name__, read, put, rays.get(counts.up.remote(), timeout=WAIT)

    counts = Counts.remote()
    was_fresh, kind, read, put, count = real_ray.get(plain.remote(counts), timeout=2 * WAIT)
    assert (kind, put, count) == ("WorkerAdapter", "stored", 1), (was_fresh, kind, put, count)
    assert [n for n, _ in read] == [0, 1]
    assert {node for _, node in read} == {real_ray.get_runtime_context().get_node_id()}
    wanted = ["said by inner 0", "said by inner 1"]
    until(lambda: [line for line in lines(0) if line.startswith("said by inner")] == wanted, "what it has submitted")
