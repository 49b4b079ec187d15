"""Corners of several areas at once: groups and names, pools and queues, streams and errors, lists of exceptions."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import PATIENCE, Gate, Tally, error, family, kind, says, sub, until


@program
def retries_for_a_list_of_exceptions(ray: Any) -> Any:
    class Flaky(OSError):
        pass

    def attempts(*raised: type[BaseException]) -> Any:
        tally = Tally()

        @ray.remote(max_retries=2, retry_exceptions=[OSError, KeyError])
        def work() -> str:
            count = tally.add()
            if count <= len(raised):
                raise raised[count - 1]("try")
            return "done"

        caught = error(ray.get, work.remote())
        return [family(caught, OSError, KeyError, ValueError), tally.count()]

    return [
        attempts(Flaky, KeyError),
        attempts(ValueError),
        attempts(OSError, ValueError),
        attempts(OSError, OSError, OSError),
        kind(lambda: ray.remote(retry_exceptions="OSError")(lambda: None)),
        kind(lambda: ray.remote(retry_exceptions=[OSError("x")])(lambda: None)),
    ]


@program
def errors_inside_an_async_generator(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Source:
        async def items(self, count: int) -> Any:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
            raise ValueError("spent")

    found: list[Any] = []
    refs = Source.remote().items.options(num_returns="streaming").remote(3)

    async def read() -> None:
        async for ref in refs:
            try:
                found.append(await ref)
            except ValueError as caught:
                found.append(family(caught, ValueError))

    asyncio.run(read())
    return [found, kind(next, refs)]


@program
def a_generator_with_backpressure_in_an_actor(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Source:
        def items(self, tally: Tally) -> Any:
            for number in range(8):
                tally.add()
                yield number

    tally = Tally()
    items = Source.remote().items.options(num_returns="streaming", _generator_backpressure_num_objects=2).remote(tally)
    first = ray.get(next(items))
    until(lambda: tally.count() >= 3)
    held = not until(lambda: tally.count() > 4, 0.5)
    return [first, held, [ray.get(ref) for ref in items], tally.count()]


@program
def a_queue_that_is_empty_or_full(ray: Any) -> Any:
    queue_module = sub(ray, "util.queue")
    queue = queue_module.Queue(maxsize=2, actor_options={"num_cpus": 0})
    found: list[Any] = [
        kind(queue.get_nowait),
        kind(queue.get, timeout=0.05),
        kind(queue.get, timeout=-1),
        kind(queue.get_nowait_batch, 1),
    ]
    queue.put_nowait_batch([1, 2])
    found += [
        kind(queue.put_nowait, 3),
        kind(queue.put, 3, timeout=0.05),
        kind(queue.put, 3, timeout=-1),
        kind(queue.put_nowait_batch, [3]),
        kind(queue.get_nowait_batch, 3),
        kind(queue.get_nowait_batch, "2"),
        kind(queue.put_nowait_batch, 5),
        queue.full(),
        queue.qsize(),
        queue.get_nowait_batch(2),
        queue.empty(),
    ]
    queue.shutdown()
    return found


@program
def callbacks_of_a_pool(ray: Any) -> Any:
    pool_class = sub(ray, "util.multiprocessing").Pool

    def risky(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n * n

    good: list[Any] = []
    bad: list[Any] = []
    with pool_class(2) as pool:
        one = pool.apply_async(risky, (2,), callback=good.append, error_callback=bad.append)
        one.wait(PATIENCE)
        two = pool.apply_async(risky, (3,), callback=good.append, error_callback=bad.append)
        two.wait(PATIENCE)
        three = pool.starmap_async(lambda a, b: a + b, [(1, 2)], callback=good.append)
        three.wait(PATIENCE)
        until(lambda: len(good) == 2 and len(bad) == 1)
        states = [one.successful(), two.successful(), three.get(PATIENCE)]
    return [sorted(map(str, good)), len(bad), states[:2], sorted(states[2]), kind(pool.map, risky, [1])]


@program
@differs(
    "an error is raised where its item is asked for, and callbacks get it as the user's class",
    expected=[["ValueError"], [1, 4, "ValueError", 16, "StopIteration"]],
)
def errors_of_a_pool_as_in_multiprocessing(ray: Any) -> Any:
    pool_class = sub(ray, "util.multiprocessing").Pool

    def risky(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n * n

    bad: list[Any] = []
    with pool_class(2) as pool:
        pool.apply_async(risky, (3,), error_callback=bad.append).wait(PATIENCE)
        until(lambda: bad)
        lazy = pool.imap(risky, [1, 2, 3, 4])
        steps = [next(lazy), next(lazy), kind(next, lazy), next(lazy), kind(next, lazy)]
    return [family(bad[0], ValueError), steps]


@program
def a_placement_group_by_name(ray: Any) -> Any:
    util = sub(ray, "util")
    groups = sub(ray, "util.placement_group")
    strategies = sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}], name="pair", strategy="PACK")
    ray.get(group.ready(), timeout=PATIENCE)
    same = util.get_placement_group("pair")

    @ray.remote(num_cpus=1)
    def here() -> Any:
        current = groups.get_current_placement_group()
        return None if current is None else current.id.hex()

    @ray.remote(num_cpus=1)
    def parent() -> Any:
        return ray.get(here.remote())

    def inside(capture: bool) -> Any:
        return strategies.PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_capture_child_tasks=capture
        )

    found = [
        same.id == group.id,
        len(group.bundle_specs),
        group.bundle_count,
        ray.get(here.remote()) is None,
        ray.get(here.options(scheduling_strategy=inside(False)).remote()) == group.id.hex(),
        ray.get(parent.options(scheduling_strategy=inside(False)).remote()) is None,
        kind(util.get_placement_group, "nobody"),
        kind(util.get_placement_group, ""),
        util.placement_group_table(group)["state"],
    ]
    util.remove_placement_group(group)
    removed = until(lambda: util.placement_group_table(group)["state"] == "REMOVED")
    return [*found, removed]


@program
def removing_a_placement_group_ends_its_actor(ray: Any) -> Any:
    util = sub(ray, "util")
    strategies = sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}])
    ray.get(group.ready(), timeout=PATIENCE)

    @ray.remote(num_cpus=1)
    class Tenant:
        def ping(self) -> str:
            return "pong"

    strategy = strategies.PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=0)
    tenant = Tenant.options(scheduling_strategy=strategy).remote()
    before = ray.get(tenant.ping.remote(), timeout=PATIENCE)
    util.remove_placement_group(group)
    ended = until(lambda: error(ray.get, tenant.ping.remote(), timeout=PATIENCE) is not None)
    caught = error(ray.get, tenant.ping.remote(), timeout=PATIENCE)
    return [before, ended, family(caught, ray.exceptions.RayActorError)]


@program
def an_actor_that_leaves_with_a_failing_exit_code(ray: Any) -> Any:
    tally = Tally()

    class Leaver:
        def __init__(self) -> None:
            self.calls = 0

        def leave(self, code: Any, times: int) -> str:
            if tally.add() <= times:
                sys.exit(code)
            return "stayed"

        def count(self) -> int:
            self.calls += 1
            return self.calls

    def outcome(code: Any, times: int, **options: Any) -> Any:
        actor = ray.remote(**options)(Leaver).remote() if options else ray.remote(Leaver).remote()
        before = [ray.get(actor.count.remote(), timeout=PATIENCE), tally.count()]
        try:
            found = ray.get(actor.leave.remote(code, before[1] + times), timeout=PATIENCE)
        except ray.exceptions.RayActorError as raised:
            found = type(raised).__name__
        after = error(ray.get, actor.count.remote(), timeout=PATIENCE)
        return [found, tally.count() - before[1], type(after).__name__]

    return [
        outcome(1, 1),
        outcome(0, 1, max_restarts=2, max_task_retries=2),  # a wish to end, and no crash
        outcome(None, 1, max_restarts=2, max_task_retries=2),
        outcome(1, 2, max_restarts=2, max_task_retries=2),
        outcome(1, 9, max_restarts=1, max_task_retries=1),
        outcome(1, 1, max_restarts=1, max_task_retries=0)[1:2],
    ]


@program
def names_and_namespaces_together(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Named:
        def where(self) -> str:
            return str(ray.get_runtime_context().namespace)

    @ray.remote(num_cpus=0)
    def find(name: str, namespace: Any = None) -> str:
        return str(ray.get(ray.get_actor(name, namespace=namespace).where.remote()))

    here = Named.options(name="both").remote()
    there = Named.options(name="both", namespace="other", lifetime="detached").remote()
    found = [
        ray.get(here.where.remote()),
        ray.get(there.where.remote()),
        ray.get(find.remote("both")),
        ray.get(find.remote("both", "other")),
        family(error(ray.get, find.remote("both", "nowhere")), ValueError),
        kind(ray.get_actor, ""),
        kind(ray.get_actor, 5),
        kind(Named.options(name="").remote),
        kind(lambda: Named.options(name=5).remote()),
        kind(lambda: Named.options(namespace=5, name="x").remote()),
        kind(lambda: Named.options(lifetime="for ever", name="y").remote()),
        kind(lambda: Named.options(namespace="", name="z").remote()),
    ]
    ray.kill(here)
    ray.kill(there)
    return found


@program
def cancelling_by_force_spares_no_child(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def child(started: Tally, gate: Gate) -> bool:
        started.add()
        return gate.wait()

    @ray.remote(max_retries=0)
    def parent(started: Tally, gate: Gate) -> bool:
        started.add()
        return bool(ray.get(child.remote(started, gate)))

    started, gate = Tally(), Gate()
    ref = parent.remote(started, gate)
    met = until(lambda: started.count() == 2)
    ray.cancel(ref, force=True, recursive=True)
    caught = error(ray.get, ref, timeout=PATIENCE)
    back = until(lambda: ray.available_resources().get("CPU") == 4)
    gate.open()
    return [met, caught is not None, back]


@program
def a_dynamic_generator_that_fails_in_the_middle(ray: Any) -> Any:
    @ray.remote(num_returns="dynamic", max_retries=0)
    def items(count: int) -> Any:
        for number in range(count):
            if number == 2:
                raise ValueError("two")
            yield number

    good = ray.get(items.remote(2))
    found: list[Any] = [[ray.get(ref) for ref in good], len(good), type(good).__name__]
    bad = items.remote(4)
    caught = error(ray.get, bad)
    if caught is not None:
        return [*found, family(caught, ValueError)]
    return [*found, [family(error(ray.get, ref), ValueError) or ray.get(ref) for ref in ray.get(bad)]]


@program
def a_method_with_options(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Pair:
        @ray.method(num_returns=2)
        def two(self) -> tuple[int, int]:
            return 1, 2

        def many(self, count: int) -> list[int]:
            return list(range(count))

    pair = Pair.remote()
    one, two = pair.two.remote()
    three = pair.many.options(num_returns=3, name="three").remote(3)
    return [
        ray.get([one, two]),
        ray.get(three),
        ray.get(pair.two.options(num_returns=1).remote()),
        kind(lambda: ray.get(pair.many.options(num_returns=2).remote(3))),
        says(error(lambda: ray.get(pair.many.options(num_returns=2).remote(3))[0]), "num_returns"),
    ]
