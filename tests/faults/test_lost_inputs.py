"""D38, B13. An object whose bytes are lost is made again for whoever reads it: driver, task, actor or future."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raynb.exceptions import GetTimeoutError, ObjectLostError
from raynb.testing import leaks
from raynb.testing.faults import Counter, Gate

MB = 1 << 20
SIZE = 500_000

pytestmark = pytest.mark.raynb(num_cpus=2, object_store_memory=32 * MB)


def expected(add: int = 0) -> np.ndarray:
    return np.arange(SIZE) + add


def lose(ray: Any) -> list[Any]:
    """Fills the store, so that what nobody reads goes to disk, and removes it there; returns what fills it."""
    objects = ray.runtime().engine.machine.objects.table
    # What a task has read counts as read until its worker has said otherwise, which may be after the task's result.
    assert leaks.until(lambda: not any(one.lends for one in list(objects.values())))
    fill = [ray.put(bytes(10 * MB)) for _ in range(4)]
    folder = ray.runtime().engine.disk.path
    names = os.listdir(folder)
    assert names, "nothing was spilled"
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # of an object that was dropped before
            os.unlink(os.path.join(folder, name))
    return fill


@pytest.fixture
def makers(ray: Any, counter: Counter) -> dict[str, Any]:
    @ray.remote(max_retries=1)
    def make() -> Any:
        counter.add()
        return np.arange(SIZE)

    @ray.remote(max_retries=2)
    def more(x: Any) -> Any:
        return x + 1

    @ray.remote
    def read(refs: Any) -> Any:
        return ray.get(refs[0]) + 1

    @ray.remote
    def of_future(refs: Any) -> Any:
        return refs[0].future().result() + 1

    @ray.remote
    def waited(refs: Any) -> Any:
        ready, _ = ray.wait(refs)
        return ray.get(ready[0]) + 1

    @ray.remote
    class Adder:
        def __init__(self, first: Any = None) -> None:
            self.first = first
            self.seen: list[int] = []

        def more(self, x: Any, number: int) -> Any:
            self.seen.append(number)
            return x + 1

        def own(self) -> Any:
            return self.first + 1

        def order(self) -> list[int]:
            return self.seen

    @ray.remote
    class Async:
        async def more(self, refs: Any) -> Any:
            return await refs[0] + 1

        async def given(self, x: Any) -> Any:
            return x + 1

    return {"make": make, "more": more, "read": read, "of_future": of_future, "waited": waited,
            "Adder": Adder, "Async": Async}  # fmt: skip


READERS: dict[str, Callable[[Any, Any], Any]] = {
    "argument": lambda m, x: m["more"].remote(x),
    "keyword": lambda m, x: m["more"].remote(x=x),
    "get in a task": lambda m, x: m["read"].remote([x]),
    "wait in a task": lambda m, x: m["waited"].remote([x]),
    "future in a task": lambda m, x: m["of_future"].remote([x]),
    "call of an actor": lambda m, x: m["Adder"].remote().more.remote(x, 1),
    "constructor": lambda m, x: m["Adder"].remote(x).own.remote(),
    "await in an actor": lambda m, x: m["Async"].remote().more.remote([x]),
    "argument of an async actor": lambda m, x: m["Async"].remote().given.remote(x),
}


@pytest.mark.parametrize("how", READERS)
def test_d38_a_lost_input_is_made_again_for_whoever_reads_it(
    how: str, ray: Any, makers: dict[str, Any], counter: Counter
) -> None:
    x = makers["make"].remote()
    ray.wait([x])
    fill = lose(ray)
    assert np.array_equal(ray.get(READERS[how](makers, x), timeout=120), expected(1))
    assert counter.value == 2
    del fill


def test_d38_the_driver_reads_it_by_get_future_and_await(ray: Any, makers: dict[str, Any]) -> None:
    async def by_await(ref: Any) -> Any:
        return await ref

    for read in (
        lambda ref: ray.get(ref, timeout=120),
        lambda ref: ref.future().result(120),
        lambda ref: asyncio.run(by_await(ref)),
    ):
        x = makers["make"].remote()
        ray.wait([x])
        fill = lose(ray)
        assert np.array_equal(read(x), expected())
        del x, fill


def test_d38_a_chain_of_lost_objects_is_made_again_from_its_beginning(
    ray: Any, makers: dict[str, Any], counter: Counter
) -> None:
    x = makers["make"].remote()
    y = makers["more"].remote(x)
    z = makers["more"].remote(y)
    ray.wait([z])
    fill = lose(ray)
    assert np.array_equal(ray.get(makers["more"].remote(z), timeout=120), expected(3))
    assert counter.value == 2
    del fill


def test_d38_several_readers_of_one_loss_cost_one_retry(ray: Any, makers: dict[str, Any], counter: Counter) -> None:
    x = makers["make"].remote()
    ray.wait([x])
    fill = lose(ray)
    adder = makers["Adder"].remote()
    refs = [READERS[how](makers, x) for how in ("argument", "get in a task", "keyword")]
    refs += [adder.more.remote(x, number) for number in range(3)]
    for ref in refs:
        assert np.array_equal(ray.get(ref, timeout=120), expected(1))
    assert counter.value == 2
    assert ray.get(adder.order.remote(), timeout=60) == [0, 1, 2]
    del fill, refs


def test_d38_beyond_its_retries_it_is_an_error_of_every_reader(
    ray: Any, makers: dict[str, Any], counter: Counter
) -> None:
    x = makers["make"].remote()
    ray.wait([x])
    fill = lose(ray)
    assert np.array_equal(ray.get(makers["more"].remote(x), timeout=120), expected(1))
    del fill
    fill = lose(ray)
    for how in ("argument", "get in a task", "call of an actor", "future in a task"):
        with pytest.raises(ObjectLostError):
            ray.get(READERS[how](makers, x), timeout=120)
    assert counter.value == 2
    del fill


def test_d38_what_was_put_cannot_be_made_again(ray: Any, makers: dict[str, Any]) -> None:
    x = ray.put(np.arange(SIZE))
    fill = lose(ray)
    with pytest.raises(ObjectLostError):
        ray.get(makers["more"].remote(x), timeout=120)
    del fill


def test_d38_a_get_in_a_task_waits_no_longer_than_its_timeout(
    ray: Any, gate: Gate, counter: Counter
) -> None:
    @ray.remote(max_retries=2)
    def make() -> Any:
        if counter.add() > 1:
            gate.pass_through("again")
        return np.arange(SIZE)

    x = make.remote()
    ray.wait([x])
    fill = lose(ray)

    @ray.remote
    def read(refs: Any) -> str:
        try:
            ray.get(refs[0], timeout=0.2)
        except GetTimeoutError:
            return "timed out"
        return "read"

    assert ray.get(read.remote([x]), timeout=60) == "timed out"
    gate.wait_for("again")
    gate.open("again")
    assert np.array_equal(ray.get(x, timeout=60), expected())
    del fill
