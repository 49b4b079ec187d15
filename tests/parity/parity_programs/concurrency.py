"""Threaded and asyncio actors, concurrency groups, awaiting refs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, error, family, kind, until


@program
def a_threaded_actor_runs_calls_together(ray: Any) -> Any:
    @ray.remote(max_concurrency=2)
    class Pair:
        def meet(self, mine: Gate, other: Gate) -> bool:
            mine.open()
            return other.wait()

    pair, a, b = Pair.remote(), Gate(), Gate()
    return ray.get([pair.meet.remote(a, b), pair.meet.remote(b, a)])


@program
def max_concurrency_is_a_limit(ray: Any) -> Any:
    gate, running = Gate(), Tally()

    @ray.remote(max_concurrency=2)
    class Few:
        def hold(self) -> bool:
            running.add()
            return gate.wait()

    few = Few.remote()
    refs = [few.hold.remote() for _ in range(4)]
    until(lambda: running.count() >= 2)
    ray.wait(refs, num_returns=4, timeout=0.3)
    seen = running.count()
    gate.open()
    return [seen, ray.get(refs)]


@program
def an_async_actor_interleaves(ray: Any) -> Any:
    @ray.remote
    class Meeting:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def wait(self) -> str:
            await self.event.wait()
            return "woken"

        async def wake(self) -> str:
            self.event.set()
            return "woke"

    meeting = Meeting.remote()
    waiting = meeting.wait.remote()
    return ray.get([waiting, meeting.wake.remote()])


@program
def a_thousand_coroutines(ray: Any) -> Any:
    @ray.remote(max_concurrency=2000)
    class Barrier:
        def __init__(self) -> None:
            self.here, self.event = 0, asyncio.Event()

        async def arrive(self, all_of: int) -> int:
            self.here += 1
            if self.here == all_of:
                self.event.set()
            await self.event.wait()
            return self.here

    barrier = Barrier.remote()
    return set(ray.get([barrier.arrive.remote(1000) for _ in range(1000)])) == {1000}


@program
def an_async_actor_has_a_limit_of_a_thousand(ray: Any) -> Any:
    @ray.remote
    class Count:
        def __init__(self) -> None:
            self.now, self.most = 0, 0

        async def work(self) -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.2)
            self.now -= 1
            return self.most

    count = Count.remote()
    return max(ray.get([count.work.remote() for _ in range(1100)])) <= 1000


@program
def async_max_concurrency(ray: Any) -> Any:
    gate, running = Gate(), Tally()

    @ray.remote(max_concurrency=3)
    class Count:
        def __init__(self) -> None:
            self.now, self.most = 0, 0

        async def work(self) -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            running.add()
            while not gate.is_open():  # noqa: ASYNC110  another process opens it
                await asyncio.sleep(0.01)
            self.now -= 1
            return self.most

    count = Count.remote()
    refs = [count.work.remote() for _ in range(6)]
    until(lambda: running.count() >= 3)
    ray.wait(refs, timeout=0.2)  # a fourth one would begin meanwhile
    gate.open()
    return max(ray.get(refs))


@program
def sync_methods_of_an_async_actor_run_on_the_loop(ray: Any) -> Any:
    @ray.remote
    class Mixed:
        async def thread_of_async(self) -> int:
            return threading.get_ident()

        def thread_of_sync(self) -> int:
            return threading.get_ident()

    mixed = Mixed.remote()
    return len(set(ray.get([mixed.thread_of_async.remote(), mixed.thread_of_sync.remote()])))


@program
def awaiting_refs_in_an_async_actor(ray: Any) -> Any:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    @ray.remote
    class Gatherer:
        async def gather(self, n: int) -> list:
            return list(await asyncio.gather(*[square.remote(i) for i in range(n)]))

        async def one(self, box: list) -> Any:
            return await box[0]

    gatherer = Gatherer.remote()
    return ray.get([gatherer.gather.remote(4), gatherer.one.remote([ray.put("x")])])


@program
def errors_in_async_methods(ray: Any) -> Any:
    @ray.remote
    class Failing:
        async def fail(self) -> None:
            await asyncio.sleep(0)
            raise KeyError("async")

        async def fine(self) -> str:
            return "fine"

    failing = Failing.remote()
    caught = error(ray.get, failing.fail.remote())
    return [family(caught, KeyError, ray.exceptions.RayTaskError), ray.get(failing.fine.remote())]


@program
def awaiting_in_the_driver(ray: Any) -> Any:
    @ray.remote
    def f(x: int) -> int:
        return x + 1

    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("no")

    async def main() -> list:
        ref = f.remote(1)
        first, second = await ref, await ref
        many = await asyncio.gather(*[f.remote(i) for i in range(3)])
        try:
            await bad.remote()
            failed = "no error"
        except ValueError:
            failed = "ValueError"
        return [first, second, list(many), failed]

    return asyncio.run(main())


@program
def asyncio_wait_and_wait_for(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    @ray.remote
    def soon() -> int:
        return 1

    async def main() -> list:
        slow, fast = late.remote(), soon.remote()
        tasks = [asyncio.ensure_future(_await(one)) for one in (slow, fast)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        try:
            await asyncio.wait_for(_await(slow), timeout=0.05)
            waited = "done"
        except asyncio.TimeoutError:
            waited = "timeout"
        gate.open()
        await asyncio.gather(*pending)
        return [len(done), len(pending), waited, await slow]

    async def _await(ref: Any) -> Any:
        return await ref

    return asyncio.run(main())


@program
def cancelling_the_await_leaves_the_task(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "finished"

    async def main() -> Any:
        ref = late.remote()

        async def waiting() -> Any:
            return await ref

        task = asyncio.ensure_future(waiting())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        gate.open()
        return await ref

    return asyncio.run(main())


@program
def concurrency_groups(ray: Any) -> Any:
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Grouped:
        @ray.method(concurrency_group="io")
        def io(self, mine: Gate, other: Gate) -> bool:
            mine.open()
            return other.wait()

        @ray.method(concurrency_group="compute")
        def compute(self) -> int:
            return 1

        def plain(self) -> int:
            return 2

    grouped, a, b = Grouped.remote(), Gate(), Gate()
    first = grouped.io.remote(a, b)
    others = ray.get([grouped.compute.remote(), grouped.plain.remote()], timeout=60)
    second = grouped.io.remote(b, a)
    return [others, ray.get([first, second])]


@program
@differs("raynb refuses the call; in Ray the actor dies of it", expected=["ran", "ValueError"])
def a_group_chosen_at_the_call(ray: Any) -> Any:
    @ray.remote(concurrency_groups={"io": 1})
    class Grouped:
        def name(self) -> str:
            return "ran"

    grouped = Grouped.remote()
    good = ray.get(grouped.name.options(concurrency_group="io").remote())
    return [good, kind(lambda: ray.get(grouped.name.options(concurrency_group="none").remote(), timeout=10))]


@program
def async_concurrency_groups(ray: Any) -> Any:
    @ray.remote(concurrency_groups={"io": 2})
    class Grouped:
        def __init__(self) -> None:
            self.open = False

        @ray.method(concurrency_group="io")
        async def wait(self) -> str:
            while not self.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return "through"

        async def unlock(self) -> None:
            self.open = True

    grouped = Grouped.remote()
    waiting = grouped.wait.remote()
    ray.get(grouped.unlock.remote())
    return ray.get(waiting)


@program
def ready_calls_overtake_in_a_threaded_actor(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    @ray.remote(max_concurrency=2)
    class Echo:
        def say(self, x: str) -> str:
            return x

    echo = Echo.remote()
    first, second = echo.say.remote(late.remote()), echo.say.remote("second")
    ready, _ = ray.wait([first, second], timeout=60)
    gate.open()
    return [ready == [second], ray.get([first, second])]


@program
def out_of_order_execution_when_asked_for(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    @ray.remote(allow_out_of_order_execution=True)
    class Echo:
        def say(self, x: str) -> str:
            return x

    echo = Echo.remote()
    first, second = echo.say.remote(late.remote()), echo.say.remote("second")
    ready, _ = ray.wait([first, second], timeout=60)
    gate.open()
    return [ready == [second], ray.get([first, second])]


@program
def get_inside_an_async_actor_warns_but_works_in_a_thread(ray: Any) -> Any:
    @ray.remote
    class Threads:
        async def read(self, box: list) -> Any:
            return await asyncio.get_running_loop().run_in_executor(None, ray.get, box[0])

    return ray.get(Threads.remote().read.remote([ray.put("value")]))


@program
def async_iteration_over_an_async_generator(ray: Any) -> Any:
    @ray.remote
    class Source:
        async def numbers(self, n: int) -> Any:
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    async def main() -> list:
        source = Source.remote()
        return [await ref async for ref in source.numbers.remote(4)]

    return asyncio.run(main())
