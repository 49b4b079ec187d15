"""ray.util: pools, queues, iteration, metrics, placement groups."""

from __future__ import annotations

import asyncio
import os
import queue
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, error, kind, says, sub, until


def doublers(ray: Any, n: int = 2) -> list:
    @ray.remote(num_cpus=0)
    class Doubler:
        def double(self, x: int) -> int:
            return 2 * x

        def slow(self, gate: Gate) -> str:
            gate.wait()
            return "slow"

        def fail(self, x: int) -> None:
            raise ValueError(x)

    return [Doubler.remote() for _ in range(n)]


@program
def actor_pool_map(ray: Any) -> Any:
    pool = sub(ray, "util").ActorPool(doublers(ray))
    ordered = list(pool.map(lambda a, v: a.double.remote(v), [1, 2, 3, 4, 5]))
    unordered = sorted(pool.map_unordered(lambda a, v: a.double.remote(v), [1, 2, 3]))
    return [ordered, unordered]


@program
def actor_pool_submit(ray: Any) -> Any:
    pool = sub(ray, "util").ActorPool(doublers(ray))
    before = [pool.has_next(), pool.has_free()]
    for i in range(4):
        pool.submit(lambda a, v: a.double.remote(v), i)
    busy = [pool.has_next(), pool.has_free()]
    return [before, busy, [pool.get_next() for _ in range(4)], pool.has_next(), kind(pool.get_next)]


@program
def actor_pool_timeouts(ray: Any) -> Any:
    pool, gate = sub(ray, "util").ActorPool(doublers(ray, 1)), Gate()
    pool.submit(lambda a, v: a.slow.remote(v), gate)
    first = [kind(pool.get_next, timeout=0.1), kind(pool.get_next_unordered, timeout=0.1)]
    gate.open()
    return [first, pool.get_next(timeout=60)]


@program
def actor_pool_push_and_pop(ray: Any) -> Any:
    a, b = doublers(ray)
    pool = sub(ray, "util").ActorPool([a])
    taken = pool.pop_idle()
    nothing = pool.pop_idle()
    pool.push(b)
    return [taken == a, nothing, kind(pool.push, b), list(pool.map(lambda x, v: x.double.remote(v), [4]))]


@program
def actor_pool_errors(ray: Any) -> Any:
    pool = sub(ray, "util").ActorPool(doublers(ray, 1))
    pool.submit(lambda a, v: a.fail.remote(v), 1)
    pool.submit(lambda a, v: a.double.remote(v), 2)
    return [kind(pool.get_next), pool.get_next()]


@program
def a_queue(ray: Any) -> Any:
    module = sub(ray, "util.queue")
    q = module.Queue(maxsize=2)
    q.put("a")
    q.put("b")
    full = [q.full(), q.qsize(), len(q), kind(q.put, "c", block=False), kind(q.put, "c", timeout=0.05)]
    out = [q.get(), q.get_nowait()]
    empty = [q.empty(), kind(q.get, block=False), kind(q.get, timeout=0.05)]
    return [full, out, empty, issubclass(module.Empty, queue.Empty), issubclass(module.Full, queue.Full)]


@program
def a_queue_in_batches(ray: Any) -> Any:
    q = sub(ray, "util.queue").Queue(maxsize=3)
    q.put_nowait_batch([1, 2, 3])
    too_many = kind(q.put_nowait_batch, [4])
    some = q.get_nowait_batch(2)
    bad = [kind(q.get_nowait_batch, 2), kind(q.get_nowait_batch, -1), kind(q.put_nowait_batch, 5)]
    return [too_many, some, bad, kind(q.get, timeout=-1), kind(q.get_nowait_batch, "two")]


@program
def a_queue_between_tasks(ray: Any) -> Any:
    q = sub(ray, "util.queue").Queue()

    @ray.remote
    def produce(q: Any) -> None:
        for i in range(3):
            q.put(i)

    @ray.remote
    def consume(q: Any) -> list:
        return [q.get(timeout=60) for _ in range(3)]

    taken = consume.remote(q)
    ray.get(produce.remote(q))
    return ray.get(taken)


@program
def a_queue_with_async_methods(ray: Any) -> Any:
    module = sub(ray, "util.queue")
    q = module.Queue(maxsize=1)

    async def main() -> list:
        await q.put_async("x")
        try:
            await q.put_async("y", block=False)
            full = "no error"
        except module.Full:
            full = "Full"
        value = await q.get_async()
        try:
            await q.get_async(timeout=0.05)
            empty = "no error"
        except module.Empty:
            empty = "Empty"
        return [full, value, empty]

    return asyncio.run(main())


@program
@differs("raynb says that the queue was shut down", expected="RuntimeError")
def a_queue_shut_down(ray: Any) -> Any:
    q = sub(ray, "util.queue").Queue(actor_options={"num_cpus": 0})
    q.put(1)
    q.shutdown(force=True)
    return kind(q.put, 2)


@program
def as_completed(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def work(i: int) -> int:
        if i == 0:
            gate.wait()
        return i

    refs = [work.remote(i) for i in range(4)]
    done = sub(ray, "util").as_completed(refs, chunk_size=1)
    first = sorted(next(done) for _ in range(3))
    gate.open()
    return [first, list(done)]


@program
def as_completed_with_refs(ray: Any) -> Any:
    refs = [ray.put(i) for i in range(3)]
    util = sub(ray, "util")
    found = list(util.as_completed(refs, yield_obj_refs=True))
    bad = [
        kind(lambda: list(util.as_completed(refs, chunk_size=0))),
        kind(lambda: list(util.as_completed(refs, num_returns=1))),
    ]
    return [set(found) == set(refs), bad]


@program
def map_unordered(ray: Any) -> Any:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    util = sub(ray, "util")
    found = sorted(util.map_unordered(double, range(20), backpressure_size=4, chunk_size=2))
    return [found, kind(lambda: list(util.map_unordered(double, [1], backpressure_size=0)))]


@program(timeout=60)
def pool_map_and_friends(ray: Any) -> Any:
    with sub(ray, "util.multiprocessing").Pool(2) as pool:
        return [
            pool.map(lambda x: x + 1, range(10)),
            pool.map(lambda x: x + 1, range(10), chunksize=3),
            pool.starmap(lambda a, b: a * b, [(1, 2), (3, 4)]),
            pool.apply(lambda a, b=0: a - b, (5,), {"b": 2}),
            list(pool.imap(lambda x: x * x, range(5))),
            list(pool.imap(lambda x: x * x, iter(range(5)), chunksize=2)),
            sorted(pool.imap_unordered(lambda x: -x, [1, 2, 3])),
            pool.map(lambda x: x, []),
        ]


@program(timeout=60)
def pool_async_results(ray: Any) -> Any:
    multiprocessing = sub(ray, "util.multiprocessing")
    called: list = []
    gate = Gate()
    with multiprocessing.Pool(2) as pool:
        slow = pool.apply_async(gate.wait)
        timed_out = kind(slow.get, timeout=0.1)
        not_ready = [slow.ready(), kind(slow.successful)]
        gate.open()
        value = slow.get(timeout=60)
        many = pool.map_async(lambda x: x, [1, 2, 3], callback=called.append)
        many.wait(60)
        bad = pool.apply_async(lambda: 1 / 0, error_callback=lambda e: called.append(type(e).__name__))
        failed = kind(bad.get, timeout=60)
        star = pool.starmap_async(lambda a, b: a + b, [(1, 2)]).get(timeout=60)
    done = [value, many.get(), many.successful(), failed, bad.successful(), star]
    return [timed_out, not_ready, done, sorted(called[0])]


@program(timeout=60)
def pool_errors(ray: Any) -> Any:
    def fail(x: int) -> int:
        if x == 2:
            raise KeyError("two")
        return x

    with sub(ray, "util.multiprocessing").Pool(2) as pool:
        return [
            kind(pool.map, fail, range(4)),
            kind(pool.apply, fail, (2,)),
            pool.apply(fail, (1,)),
        ]


@program(timeout=60)
def pool_initializer(ray: Any) -> Any:
    def prepare(value: str) -> None:
        os.environ["PARITY_POOL"] = value

    with sub(ray, "util.multiprocessing").Pool(2, initializer=prepare, initargs=("set",)) as pool:
        return pool.map(lambda _: os.environ.get("PARITY_POOL"), range(4))


@program(timeout=60)
def pool_life(ray: Any) -> Any:
    pool = sub(ray, "util.multiprocessing").Pool(1)
    running = kind(pool.join)
    result = pool.map_async(lambda x: x, [1, 2])
    pool.close()
    pool.join()
    return [running, result.get(timeout=60), kind(pool.map, len, [[]])]


@program(timeout=60)
def pool_max_tasks_per_child(ray: Any) -> Any:
    with sub(ray, "util.multiprocessing").Pool(1, maxtasksperchild=1) as pool:
        pids = pool.map(lambda _: os.getpid(), range(3), chunksize=1)
    return len(set(pids))


@program
def pool_of_bad_sizes(ray: Any) -> Any:
    pool = sub(ray, "util.multiprocessing").Pool
    return [kind(pool, 0), kind(pool, 1000)]


@program
def metrics(ray: Any) -> Any:
    m = sub(ray, "util.metrics")
    counter = m.Counter("parity_count", description="how many", tag_keys=("kind",))
    counter.set_default_tags({"kind": "a"})
    counter.inc()
    counter.inc(2.5, tags={"kind": "b"})
    gauge = m.Gauge("parity_gauge", tag_keys=())
    gauge.set(5)
    histogram = m.Histogram("parity_histogram", boundaries=[1.0, 10.0])
    histogram.observe(3)
    return [
        [counter.info["name"], counter.info["tag_keys"], counter.info["default_tags"]],
        histogram.info["boundaries"],
        kind(counter.inc, 0),
        kind(counter.inc, "one"),
        kind(gauge.set, "high"),
        kind(m.Counter("parity_other", tag_keys=("x",)).inc),
        kind(m.Histogram, "parity_h2"),
        kind(m.Histogram, "parity_h3", boundaries=[-1]),
        kind(m.Counter, ""),
        kind(m.Counter, "parity_c2", tag_keys=["x"]),
        kind(counter.set_default_tags, {"colour": "red"}),
    ]


@program(timeout=60)
def a_placement_group(ray: Any) -> Any:
    util, strategies = sub(ray, "util"), sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}, {"CPU": 1, "widget": 1}], strategy="PACK", name="parity")
    ready = ray.get(group.ready(), timeout=60)
    inside = strategies.PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1)

    @ray.remote(resources={"widget": 1})
    def work() -> Any:
        current = sub(ray, "util").get_current_placement_group()
        return current == group

    value = ray.get(work.options(scheduling_strategy=inside).remote(), timeout=60)
    state = util.placement_group_table(group)
    util.remove_placement_group(group)
    gone = until(lambda: util.placement_group_table(group)["state"] == "REMOVED")
    return [
        ready == group,
        value,
        group.bundle_specs,
        group.bundle_count,
        [state["state"], state["name"], state["strategy"], list(state["bundles"].values())],
        gone,
    ]


@program(timeout=60)
def a_placement_group_that_must_wait(ray: Any) -> Any:
    util = sub(ray, "util")
    until(lambda: ray.available_resources().get("widget") == 2)
    first = util.placement_group([{"widget": 2}])
    second = util.placement_group([{"widget": 1}])
    states = [first.wait(60), second.wait(0.3)]
    util.remove_placement_group(first)
    states.append(second.wait(60))
    util.remove_placement_group(second)
    return states


@program
def bad_placement_groups(ray: Any) -> Any:
    pg = sub(ray, "util").placement_group
    return {
        "empty": kind(pg, []),
        "no list": kind(pg, {"CPU": 1}),
        "empty bundle": kind(pg, [{}]),
        "zero": kind(pg, [{"CPU": 0}]),
        "strategy": kind(pg, [{"CPU": 1}], strategy="HEAP"),
        "lifetime": kind(pg, [{"CPU": 1}], lifetime="eternal"),
        "name": kind(sub(ray, "util").get_placement_group, "nobody"),
    }


@program(timeout=60)
def an_actor_in_a_placement_group(ray: Any) -> Any:
    util, strategies = sub(ray, "util"), sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}])
    group.wait(60)
    inside = strategies.PlacementGroupSchedulingStrategy(placement_group=group)

    @ray.remote(num_cpus=1)
    class Actor:
        def group(self) -> Any:
            return sub(ray, "util").get_current_placement_group()

    actor = Actor.options(scheduling_strategy=inside).remote()
    same = ray.get(actor.group.remote(), timeout=60) == group
    util.remove_placement_group(group)
    dead = until(lambda: kind(ray.get, actor.group.remote()) == "ActorDiedError")
    return [same, dead]


@program
def a_bundle_too_small(ray: Any) -> Any:
    util, strategies = sub(ray, "util"), sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}])
    group.wait(60)

    @ray.remote(num_cpus=3)
    def big() -> None: ...

    strategy = strategies.PlacementGroupSchedulingStrategy(placement_group=group)
    found = kind(lambda: big.options(scheduling_strategy=strategy).remote())
    util.remove_placement_group(group)
    return found


@program
def node_affinity(ray: Any) -> Any:
    strategies = sub(ray, "util.scheduling_strategies")

    @ray.remote(num_cpus=0)
    def where() -> str:
        return ray.get_runtime_context().get_node_id()

    here = ray.get_runtime_context().get_node_id()
    pinned = strategies.NodeAffinitySchedulingStrategy(node_id=here, soft=False)
    return [
        ray.get(where.options(scheduling_strategy=pinned).remote()) == here,
        kind(strategies.NodeAffinitySchedulingStrategy, node_id="xyz", soft=False),
    ]


@program
def inspect_serializability(ray: Any) -> Any:
    import threading

    lock = threading.Lock()

    def uses_lock() -> Any:
        return lock

    inspect = sub(ray, "util").inspect_serializability
    with open(os.devnull, "w") as sink:
        good, none = inspect(5, print_file=sink)
        bad, failures = inspect(uses_lock, print_file=sink)
    return [good, len(none), bad, [type(one.obj).__name__ for one in failures], says(str(failures), "lock")]


@program
def a_tqdm_inside_a_task(ray: Any) -> Any:
    tqdm_ray = sub(ray, "experimental.tqdm_ray")
    ticks = Tally()

    @ray.remote
    def work() -> int:
        bar = tqdm_ray.tqdm(range(3), desc="parity")
        total = 0
        for i in bar:
            ticks.add()
            total += i
        return total

    return [ray.get(work.remote()), ticks.count()]


@program(timeout=60)
def joblib_backend(ray: Any) -> Any:
    import joblib

    sub(ray, "util.joblib").register_ray()

    def square(x: int) -> int:
        return x * x

    def fail() -> None:
        raise ValueError("inside")

    with joblib.parallel_config("ray", n_jobs=2):
        good = joblib.Parallel()(joblib.delayed(square)(i) for i in range(4))
        failed = error(joblib.Parallel(), [joblib.delayed(fail)()])
    return [good, ["ValueError"] if isinstance(failed, ValueError) else [type(failed).__name__]]
