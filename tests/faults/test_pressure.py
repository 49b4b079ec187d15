"""D. The store with arrays that are read without a copy: pinned, spilled, lost, never mixed up.

`test_store` does the same with values that are copied when they are read. Every test here ends
with the store and the disk empty.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raynb.exceptions import ObjectLostError, RayTaskError, WorkerCrashedError
from raynb.testing import faults, leaks

MB = 1 << 20
ONE = 4 * MB
LIMIT = 6 * ONE + MB

pytestmark = pytest.mark.raynb(num_cpus=2, object_store_memory=LIMIT)


@pytest.fixture
def engine(ray: Any, raynb_runtime: Any) -> Iterator[Any]:
    """The runtime's engine. When the test has dropped everything, memory and disk are empty."""
    yield raynb_runtime.engine
    check_empty(raynb_runtime.engine)


def check_empty(engine: Any) -> None:
    def empty() -> bool:
        gc.collect()
        return engine.store.total() == 0 and not spilled(engine)

    assert leaks.until(empty), f"{engine.store.total()} bytes and the files {spilled(engine)} are left"


def spilled(engine: Any) -> list[str]:
    return sorted(os.path.join(engine.disk.path, name) for name in os.listdir(engine.disk.path))


def within_limit(engine: Any) -> bool:
    """A process that looks for room notes its bytes first, and steps back before it writes any if they are too
    many: so for a moment the sum that others read may pass the limit."""
    return leaks.until(lambda: engine.store.total() <= LIMIT)


def array(number: int, size: int = ONE) -> np.ndarray[Any, Any]:
    return np.frombuffer(random.Random(number).randbytes(size), "u1")


def make(ray: Any) -> Any:
    @ray.remote
    def make(number: int, size: int = ONE) -> Any:
        return np.frombuffer(random.Random(number).randbytes(size), "u1")

    return make


def first(ray: Any) -> Any:
    @ray.remote
    def first(a: Any) -> int:
        return int(a[0])

    return first


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
def test_larger_than_the_store_put_made_and_passed_on(ray: Any, engine: Any, size: int) -> None:
    put, made = ray.put(array(1, size)), make(ray).remote(2, size)
    assert np.array_equal(ray.get(put), array(1, size))
    assert np.array_equal(ray.get(made), array(2, size))
    assert ray.get(first(ray).remote(made)) == array(2)[0]
    assert within_limit(engine)


def test_six_times_the_store_live_in_any_order(ray: Any, engine: Any) -> None:
    task = make(ray)
    refs = [ray.put(array(i)) if i % 2 else task.remote(i) for i in range(36)]
    firsts = [first(ray).remote(ref) for ref in refs]
    for i in random.Random(0).sample(range(36), 36):
        assert np.array_equal(ray.get(refs[i]), array(i))
        assert within_limit(engine)
    assert ray.get(firsts) == [array(i)[0] for i in range(36)]


def test_everything_is_pinned_by_an_actor(ray: Any, engine: Any) -> None:
    @ray.remote
    class Holder:
        def __init__(self) -> None:
            self.held: list[Any] = []

        def hold(self, a: Any) -> None:
            self.held.append(a)

        def firsts(self) -> list[int]:
            return [int(a[0]) for a in self.held]

    holder = Holder.remote()
    for i in range(6):
        ray.get(holder.hold.remote(ray.put(array(i))))
    assert np.array_equal(ray.get(make(ray).remote(8)), array(8))
    assert ray.get(holder.firsts.remote()) == [array(i)[0] for i in range(6)]
    ray.kill(holder)


def test_a_lost_argument_is_the_tasks_error(ray: Any, engine: Any) -> None:
    refs = [ray.put(array(i)) for i in range(10)]
    files = spilled(engine)
    for path in files:
        os.unlink(path)
    task, lost = first(ray), 0
    for i, ref in enumerate(refs):
        try:
            assert ray.get(task.remote(ref), timeout=60) == array(i)[0]
        except (ObjectLostError, RayTaskError):
            lost += 1
    assert lost == len(files) > 0


def test_damaged_files_of_puts_are_removed(ray: Any, engine: Any) -> None:
    refs = [ray.put(array(i)) for i in range(10)]
    files = spilled(engine)
    for path in files:
        os.truncate(path, 100)
    lost = 0
    for i, ref in enumerate(refs):
        try:
            assert np.array_equal(ray.get(ref), array(i))
        except ObjectLostError:
            lost += 1
    assert lost == len(files) > 0
    assert leaks.until(lambda: not set(files) & set(spilled(engine)))


def test_killed_in_the_middle_of_writing_a_result(ray: Any, engine: Any) -> None:
    @ray.remote(max_retries=0)
    def die() -> Any:
        from raynb.store.arena import Arena

        Arena.fill = lambda *args: faults.strike("sigkill")  # type: ignore[method-assign]
        return np.ones(ONE, "u1")

    with pytest.raises(WorkerCrashedError):
        ray.get(die.remote(), timeout=60)
    check_empty(engine)
    large = make(ray).remote(1, LIMIT - MB)
    assert np.array_equal(ray.get(large), array(1, LIMIT - MB))


@pytest.mark.parametrize("made_by", ["driver", "worker"])
def test_a_view_keeps_its_bytes_while_others_come_and_go(ray: Any, engine: Any, made_by: str) -> None:
    view = ray.get(ray.put(array(1)) if made_by == "driver" else make(ray).remote(1))
    gc.collect()
    for i in range(12):
        again = ray.get(ray.put(array(i)) if i % 2 else make(ray).remote(i))
        assert np.array_equal(again, array(i))
        assert engine.store.total() >= 2 * ONE, "the view's bytes are accounted"
    assert np.array_equal(view, array(1))


def test_a_spill_directory_of_ones_own_is_left_empty(tmp_path: Path) -> None:
    import raynb

    with raynb.Runtime(num_cpus=1, object_store_memory=2 * ONE, spill_directory=str(tmp_path)):
        refs = [raynb.put(array(i)) for i in range(6)]
        assert len(list(tmp_path.iterdir())) == 1
        assert np.array_equal(raynb.get(refs[0]), array(0))
        del refs
    assert list(tmp_path.iterdir()) == []


def test_a_destructor_may_wait_for_a_task_that_needs_room_while_a_put_makes_room(ray: Any, engine: Any) -> None:
    big, large = make(ray), 4 * ONE
    told: list[int] = []

    class Junk:
        def __init__(self, view: Any) -> None:
            self.me, self.view = self, view  # a cycle: only the collector finds it

        def __del__(self) -> None:
            told.append(ray.get(big.remote(1, large), timeout=60).nbytes)

    ref = ray.put(array(0, large))
    Junk(ray.get(ref))
    del ref
    second = ray.put(array(2, large))
    assert np.array_equal(ray.get(second, timeout=60), array(2, large))
    assert leaks.until(lambda: gc.collect() >= 0 and told == [large])
