"""F54, B15. Forks, of the driver and inside tasks: the child has no runtime, and no result to give."""

from __future__ import annotations

import multiprocessing
import operator
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raynb.testing.faults import Counter

pytestmark = pytest.mark.raynb(num_cpus=2)

#: What a forked child tries; none may start a runtime, write to the parent's sockets or its store.
ATTEMPTS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "remote": lambda ray, f, actor, ref: f.remote(),
    "options": lambda ray, f, actor, ref: f.options(num_cpus=0).remote(),
    "actor": lambda ray, f, actor, ref: ray.remote(Plain).remote(),
    "method": lambda ray, f, actor, ref: actor.one.remote(),
    "put": lambda ray, f, actor, ref: ray.put(1),
    "large put": lambda ray, f, actor, ref: ray.put(np.ones(1 << 18)),
    "get": lambda ray, f, actor, ref: ray.get(ref),
    "wait": lambda ray, f, actor, ref: ray.wait([ref]),
    "future": lambda ray, f, actor, ref: ref.future(),
    "cancel": lambda ray, f, actor, ref: ray.cancel(ref),
    "kill": lambda ray, f, actor, ref: ray.kill(actor),
    "get_actor": lambda ray, f, actor, ref: ray.get_actor("somebody"),
    "cluster_resources": lambda ray, f, actor, ref: ray.cluster_resources(),
}


class Plain:
    def one(self) -> int:
        return 1


def one() -> int:
    return 1


def in_child(ray: Any, f: Any, actor: Any, ref: Any) -> list[str]:
    """Forks; returns what the child was not refused."""
    from raynb.exceptions import RuntimeGoneError

    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        allowed = []
        try:
            for what, attempt in ATTEMPTS.items():
                try:
                    attempt(ray, f, actor, ref)
                except RuntimeGoneError as error:
                    if "fork" in str(error) and "raynb.init()" in str(error):
                        continue
                    allowed.append(f"{what}: {error}")
                except BaseException as error:
                    allowed.append(f"{what}: {error!r}")
                else:
                    allowed.append(what)
            if ray.is_initialized():
                allowed.append("a runtime was started")
            os.write(write, "\n".join(allowed).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said.splitlines()


def test_f54_a_child_of_the_driver_is_refused_everything_at_once(ray: Any) -> None:
    f, actor = ray.remote(one), ray.remote(Plain).remote()
    ref = f.remote()
    assert ray.get([ref, actor.one.remote()]) == [1, 1]
    assert not in_child(ray, f, actor, ref)
    assert ray.get([f.remote(), actor.one.remote()], timeout=60) == [1, 1]


def test_b15_a_child_of_a_task_is_refused_everything_at_once(ray: Any) -> None:
    f, actor = ray.remote(one), ray.remote(Plain).remote()

    @ray.remote
    def task(refs: Any) -> list[str]:
        import raynb

        return in_child(raynb, raynb.remote(one), refs[1], refs[0])

    assert ray.get(task.remote([f.remote(), actor]), timeout=60) == []
    assert ray.get(actor.one.remote(), timeout=60) == 1


def fork_and_return(make: Callable[[str], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.waitpid(child, 0)
    return make("parent" if child else "child")


def raising(who: str) -> Any:
    if who == "child":
        raise ValueError("of the child")
    return who


RESULTS: dict[str, Callable[[str], Any]] = {
    "small": lambda who: who,
    "large": lambda who: who * 100_000,
    "none": lambda who: None,
    "raises": raising,
}


@pytest.mark.parametrize("what", RESULTS)
def test_b15_a_task_that_forks_and_returns_twice_has_the_parents_value(what: str, ray: Any, counter: Counter) -> None:
    make = RESULTS[what]

    def task() -> Any:
        counter.add()
        return fork_and_return(make)

    class Forking:
        def call(self) -> Any:
            return task()

    class Threaded(Forking):
        pass

    class Async:
        async def call(self) -> Any:
            return task()

    plain = ray.remote(task)
    actors = [ray.remote(Forking).remote(), ray.remote(Async).remote(),
              ray.remote(max_concurrency=2)(Threaded).remote()]  # fmt: skip
    for round_ in range(3):
        refs = [plain.remote(), *(actor.call.remote() for actor in actors)]
        assert ray.get(refs, timeout=120) == [make("parent")] * 4, round_
    assert counter.value == 12


def test_b15_a_child_in_the_middle_of_a_stream_yields_nothing(ray: Any) -> None:
    @ray.remote(num_returns="streaming")
    def items() -> Any:
        yield 0
        yield fork_and_return(lambda who: who)
        yield 2

    assert [ray.get(ref, timeout=60) for ref in items.remote()] == [0, "parent", 2]


def test_b15_multiprocessing_works_inside_a_task(ray: Any) -> None:
    @ray.remote
    def task() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with multiprocessing.get_context("fork").Pool(2) as pool:
                found = pool.map(operator.neg, range(10))
                pool.close()
                pool.join()
        return found, ray.get(ray.put("and the task goes on"))

    expected = [-x for x in range(10)], "and the task goes on"
    assert ray.get([task.remote() for _ in range(3)], timeout=120) == [expected] * 3
