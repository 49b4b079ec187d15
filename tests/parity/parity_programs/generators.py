"""num_returns="dynamic" and "streaming"."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, error, family, kind, says, until


def counting(ray: Any, **options: Any) -> Any:
    """Returns a remote generator function that yields 0..n-1."""

    def count(n: int) -> Any:
        for i in range(n):  # noqa: UP028
            yield i

    return ray.remote(**options)(count) if options else ray.remote(count)


@program
def a_generator_function_streams(ray: Any) -> Any:
    gen = counting(ray).remote(4)
    return [type(gen).__name__, ray.get(list(gen))]


@program
def streaming_asked_for_by_name(ray: Any) -> Any:
    gen = counting(ray, num_returns="streaming").remote(3)
    return [isinstance(gen, ray.ObjectRefGenerator), [ray.get(ref) for ref in gen]]


@program
def streaming_by_options(ray: Any) -> Any:
    @ray.remote
    def count(n: int) -> Any:
        for i in range(n):  # noqa: UP028
            yield i

    return ray.get(list(count.options(num_returns="streaming").remote(2)))


@program
def items_come_before_the_task_ends(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def two() -> Any:
        yield "early"
        gate.wait()
        yield "late"

    gen = two.remote()
    first = ray.get(next(gen))
    gate.open()
    return [first, ray.get(next(gen)), kind(next, gen), kind(next, gen)]


@program
def an_error_in_the_middle(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def breaks() -> Any:
        yield 1
        raise ValueError("mid")

    gen = breaks.remote()
    return [
        ray.get(next(gen)),
        family(error(ray.get, next(gen)), ray.exceptions.RayTaskError, ValueError),
        kind(next, gen),
        kind(next, gen),
    ]


@program
def a_function_that_does_not_yield(ray: Any) -> Any:
    def plain() -> int:
        return 1

    caught = error(lambda: ray.remote(num_returns="streaming")(plain))
    return [type(caught).__name__, says(caught, "streaming", "generator")]


@program
@differs("Ray sends into the generator, which a delegated range doesn't take", expected=[0, 1, 2])
def yield_from(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def delegated() -> Any:
        yield from range(3)

    return [ray.get(ref) for ref in delegated.remote()]


@program
def an_empty_generator(ray: Any) -> Any:
    return [kind(next, counting(ray).remote(0))]


@program
def completed_and_is_finished(ray: Any) -> Any:
    gen = counting(ray).remote(2)
    ray.get(gen.completed())
    before = gen.is_finished()
    list(gen)
    return [before, gen.is_finished()]


@program
def waiting_for_a_generator(ray: Any) -> Any:
    gen = counting(ray).remote(2)
    ready, rest = ray.wait([gen], timeout=60)
    return [len(ready), len(rest), ready[0] is gen, ray.get(next(gen))]


@program
def get_of_a_generator_is_the_generator(ray: Any) -> Any:
    gen = counting(ray).remote(1)
    same = ray.get(gen) is gen
    return [same, ray.get(list(gen))]


@program
def async_iteration(ray: Any) -> Any:
    async def main() -> list:
        return [await ref async for ref in counting(ray).remote(5)]

    return asyncio.run(main())


@program
def generator_methods(ray: Any) -> Any:
    @ray.remote
    class Source:
        def numbers(self, n: int) -> Any:
            for i in range(n):  # noqa: UP028
                yield i

        async def later(self, n: int) -> Any:
            for i in range(n):
                yield i * 10

    source = Source.remote()
    return [ray.get(list(source.numbers.remote(3))), ray.get(list(source.later.remote(3)))]


@program
def backpressure(ray: Any) -> Any:
    made = Tally()

    @ray.remote(num_returns="streaming", _generator_backpressure_num_objects=2)
    def eager() -> Any:
        for i in range(6):
            made.add()
            yield i

    gen = eager.remote()
    first = ray.get(next(gen))
    until(lambda: made.count() >= 3)
    ray.wait([gen.completed()], timeout=0.3)
    ahead = made.count() <= 4
    return [first, ahead, ray.get(list(gen))]


@program
def dropping_a_stream_early(ray: Any) -> Any:
    gen = counting(ray).remote(1000)
    first = ray.get(next(gen))
    del gen

    @ray.remote
    def fine() -> str:
        return "fine"

    return [first, ray.get(fine.remote())]


@program
def dynamic_returns(ray: Any) -> Any:
    gen = ray.get(counting(ray, num_returns="dynamic").remote(3))
    return [type(gen).__name__, [ray.get(ref) for ref in gen]]


@program
def dynamic_returns_into_a_task(ray: Any) -> Any:
    @ray.remote
    def total(gen: Any) -> int:
        return sum(ray.get(ref) for ref in gen)

    return ray.get(total.remote(counting(ray, num_returns="dynamic").remote(4)))


@program
def an_error_of_a_dynamic_generator(ray: Any) -> Any:
    @ray.remote(num_returns="dynamic", max_retries=0)
    def breaks() -> Any:
        yield 1
        raise ValueError("mid")

    def read() -> list:
        return [ray.get(ref) for ref in ray.get(breaks.remote())]

    return family(error(read), ray.exceptions.RayTaskError, ValueError)


@program
def a_fixed_number_of_yields(ray: Any) -> Any:
    @ray.remote(num_returns=2, max_retries=0)
    def gives(n: int) -> Any:
        for i in range(n):  # noqa: UP028
            yield i

    few = gives.remote(1)
    return [
        ray.get(gives.remote(2)),
        family(error(ray.get, few), ray.exceptions.RayTaskError, ValueError),
        family(error(ray.get, gives.remote(3)), ray.exceptions.RayTaskError, ValueError),
    ]


@program
@differs("raynb raises TaskCancelledError itself, wherever it met the task", [1, "TaskCancelledError"])
def cancelling_a_stream(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    def endless() -> Any:
        yield 1
        started.open()
        until(lambda: False, 1000)
        yield 2

    gen = endless.remote()
    first = ray.get(next(gen))
    started.wait()
    ray.cancel(gen)
    caught = error(lambda: [ray.get(ref) for ref in gen])
    return [first, type(caught).__name__]


@program
def a_crash_in_the_middle_is_retried_without_repeats(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=1)
    def breaks() -> Any:
        yield "a"
        if tries.add() == 1:
            os._exit(1)
        yield "b"

    return [ray.get(ref) for ref in breaks.remote()]


@program
def a_stream_inside_a_task(ray: Any) -> Any:
    numbers = counting(ray)

    @ray.remote
    def consume(n: int) -> int:
        return sum(ray.get(ref) for ref in numbers.remote(n))

    return ray.get(consume.remote(5))


@program
def large_items(ray: Any) -> Any:
    @ray.remote
    def blocks() -> Any:
        for i in range(3):
            yield bytes([i]) * 500_000

    return [[len(block), block[0]] for block in map(ray.get, blocks.remote())]


@program
def wait_over_several_streams(ray: Any) -> Any:
    streams = [counting(ray).remote(2) for _ in range(2)]
    seen = 0
    while streams:
        ready, _ = ray.wait(streams, num_returns=1, timeout=60)
        if kind(lambda ready=ready: ray.get(next(ready[0]))) == "StopIteration":
            streams.remove(ready[0])
        else:
            seen += 1
    return seen


@program
def killing_the_actor_in_mid_stream(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    class Source:
        def numbers(self) -> Any:
            yield 1
            started.open()
            until(lambda: False, 1000)

    source = Source.remote()
    gen = source.numbers.remote()
    first = ray.get(next(gen))
    started.wait()
    ray.kill(source)
    caught = error(ray.get, next(gen))
    return [first, family(caught, ray.exceptions.RayActorError), kind(next, gen), kind(next, gen)]
