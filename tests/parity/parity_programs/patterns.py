"""Patterns that Ray's guides teach: signals, supervisors, trees, limits, pipelines, parameter servers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from parity_programs import program
from parity_programs._tools import PATIENCE, Gate, Tally, error, family, until


@program
def get_does_not_wait_for_the_others_when_one_has_failed(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("bad")

    @ray.remote(num_cpus=0)
    def held(gate: Gate) -> bool:
        return gate.wait()

    @ray.remote(num_cpus=0)
    def nested(gate: Gate) -> list[Any]:
        caught = error(ray.get, [held.remote(gate), bad.remote()], timeout=PATIENCE)
        return [family(caught, ValueError), gate.is_open()]

    gate = Gate()
    caught = error(ray.get, [held.remote(gate), bad.remote()], timeout=PATIENCE)
    found = [family(caught, ValueError), gate.is_open(), ray.get(nested.remote(gate))]
    gate.open()
    return found


@program
def a_signal_actor(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Signal:
        def __init__(self) -> None:
            self.event = asyncio.Event()
            self.waiting = 0

        async def send(self, clear: bool = False) -> None:
            self.event.set()
            if clear:
                self.event.clear()

        async def wait(self) -> str:
            self.waiting += 1
            await self.event.wait()
            return "go"

        async def count(self) -> int:
            return self.waiting

    @ray.remote(num_cpus=0)
    def wait_and_go(signal: Any) -> Any:
        return ray.get(signal.wait.remote())

    signal = Signal.remote()
    refs = [wait_and_go.remote(signal) for _ in range(3)]
    met = until(lambda: ray.get(signal.count.remote()) == 3)
    ready, _ = ray.wait(refs, num_returns=3, timeout=0.1)
    ray.get(signal.send.remote())
    return [met, len(ready), ray.get(refs)]


@program
def a_tree_of_sums(ray: Any) -> Any:
    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    layer = [ray.put(n) for n in range(16)]
    rounds = 0
    while len(layer) > 1:
        layer = [add.remote(a, b) for a, b in zip(layer[::2], layer[1::2], strict=True)]
        rounds += 1
    return [ray.get(layer[0]), rounds]


@program
def at_most_so_many_in_flight(ray: Any) -> Any:
    @ray.remote
    def square(n: int) -> int:
        return n * n

    pending: list[Any] = []
    results = []
    most = 0
    for number in range(30):
        if len(pending) >= 5:
            ready, pending = ray.wait(pending, num_returns=1)
            results += ray.get(ready)
        pending.append(square.remote(number))
        most = max(most, len(pending))
    results += ray.get(pending)
    return [sorted(results), most]


@program
def a_word_count(ray: Any) -> Any:
    @ray.remote(num_returns=3)
    def mapped(text: str) -> list[Counter[str]]:
        parts: list[Counter[str]] = [Counter() for _ in range(3)]
        for word in text.split():
            parts[ord(word[0]) % 3][word] += 1
        return parts

    @ray.remote
    def reduced(*parts: Counter[str]) -> dict[str, int]:
        total: Counter[str] = Counter()
        for part in parts:
            total += part
        return dict(total)

    texts = ["the cat and the dog", "a dog and a bird", "the bird"]
    columns = [mapped.remote(text) for text in texts]
    found: dict[str, int] = {}
    for part in ray.get([reduced.remote(*[column[i] for column in columns]) for i in range(3)]):
        found.update(part)
    return sorted(found.items())


@program
def a_parameter_server(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Server:
        def __init__(self, size: int) -> None:
            self.weights = [0.0] * size

        def push(self, *gradients: list[float]) -> list[float]:
            for gradient in gradients:
                self.weights = [w + g for w, g in zip(self.weights, gradient, strict=True)]
            return self.weights

    @ray.remote(num_cpus=0)
    class Trainer:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gradient(self, weights: list[float]) -> list[float]:
            return [self.rank + w * 0 for w in weights]

    server = Server.remote(3)
    trainers = [Trainer.remote(rank) for rank in (1, 2)]
    weights = server.push.remote()
    for _ in range(4):
        weights = server.push.remote(*[trainer.gradient.remote(weights) for trainer in trainers])
    return ray.get(weights)


@program
def a_supervisor_and_its_workers(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Worker:
        def work(self, n: int) -> int:
            if n == 2:
                raise RuntimeError("two")
            return n * 10

    @ray.remote(num_cpus=0)
    class Supervisor:
        def __init__(self) -> None:
            self.workers = [Worker.remote() for _ in range(3)]

        def work(self) -> list[Any]:
            refs = [worker.work.remote(n) for n, worker in enumerate(self.workers)]
            return [ray.get(ref) if not error(ray.get, ref) else "failed" for ref in refs]

        def team(self) -> list[Any]:
            return self.workers

    supervisor = Supervisor.remote()
    found = ray.get(supervisor.work.remote())
    team = ray.get(supervisor.team.remote())
    direct = ray.get(team[1].work.remote(5))
    ray.kill(supervisor)
    # The team was made by the supervisor: it goes with it, though handles are held here.
    gone = until(lambda: error(ray.get, team[0].work.remote(1), timeout=PATIENCE) is not None)
    return [found, direct, gone]


@program
def a_progress_actor(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Progress:
        def __init__(self, tasks: int) -> None:
            self.done = dict.fromkeys(range(tasks), 0)

        def report(self, task: int, count: int) -> None:
            self.done[task] = count

        def share(self) -> float:
            return sum(self.done.values()) / (len(self.done) * 100)

    @ray.remote
    def sample(task: int, progress: Any) -> int:
        inside = 0
        for number in range(100):
            inside += (number * 37 + task) % 5 < 4
            if number % 25 == 24:
                progress.report.remote(task, number + 1)
        return inside

    progress = Progress.remote(3)
    inside = ray.get([sample.remote(task, progress) for task in range(3)])
    return [inside, until(lambda: ray.get(progress.share.remote()) == 1.0)]


@program
def a_checkpoint_on_restart(ray: Any) -> Any:
    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=-1)
    class Steps:
        def __init__(self, tally: Tally) -> None:
            self.tally = tally
            self.again = ray.get_runtime_context().was_current_actor_reconstructed

        def step(self) -> int:
            return self.tally.add()

        def die_once(self) -> bool:
            if not self.again:
                import os

                os._exit(1)
            return self.again

    steps = Steps.remote(Tally())
    return [ray.get(steps.step.remote()), ray.get(steps.die_once.remote()), ray.get(steps.step.remote())]


@program
def a_pipeline_of_actors(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Stage:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def run(self, n: int) -> int:
            return n * self.factor

    stages = [Stage.remote(factor) for factor in (2, 3, 5)]
    results = []
    for number in range(10):
        ref = ray.put(number)
        for stage in stages:
            ref = stage.run.remote(ref)
        results.append(ref)
    return ray.get(results)


@program
def a_ref_of_a_ref(ray: Any) -> Any:
    @ray.remote
    def inner() -> int:
        return 7

    @ray.remote
    def outer() -> Any:
        return [inner.remote() for _ in range(2)]

    @ray.remote
    def total(refs: Any) -> int:
        return sum(ray.get(refs))

    refs = outer.remote()
    return [ray.get(ray.get(refs)), ray.get(total.remote(refs)), ray.get(total.remote(ray.get(refs)))]


@program
def quicksort(ray: Any) -> Any:
    @ray.remote
    def sort(items: list[int]) -> list[int]:
        if len(items) < 8:
            return sorted(items)
        pivot, rest = items[0], items[1:]
        low = sort.remote([n for n in rest if n < pivot])
        high = sort.remote([n for n in rest if n >= pivot])
        return [*ray.get(low), pivot, *ray.get(high)]

    items = [(n * 7919) % 101 for n in range(100)]
    return ray.get(sort.remote(items)) == sorted(items)


@program
def gather_in_an_async_actor(ray: Any) -> Any:
    @ray.remote
    def double(n: int) -> int:
        if n == 3:
            raise KeyError(n)
        return 2 * n

    @ray.remote(num_cpus=0)
    class Fan:
        async def good(self) -> list[int]:
            return list(await asyncio.gather(*[double.remote(n) for n in range(3)]))

        async def mixed(self) -> list[str]:
            found = await asyncio.gather(*[double.remote(n) for n in range(2, 5)], return_exceptions=True)
            return [family(one, KeyError)[0] if isinstance(one, BaseException) else str(one) for one in found]

    fan = Fan.remote()
    return ray.get([fan.good.remote(), fan.mixed.remote()])
