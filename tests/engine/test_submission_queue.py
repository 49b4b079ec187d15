"""Submissions are only noted at first: nobody who looks at the machine may miss one, and none is lost."""

from __future__ import annotations

import contextvars
import select
import threading
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.base import engine as slot
from raynb.base.process import shelter
from raynb.testing import leaks
from raynb.testing.faults import Gate

pytestmark = pytest.mark.raynb(num_cpus=2)


@pytest.fixture
def ray(raynb_runtime: Any) -> Any:
    return raynb


def engine() -> Any:
    return slot.current()


def test_whoever_has_the_lock_sees_every_submission(ray: Any) -> None:
    @ray.remote
    def one() -> int:
        return 1

    refs = [one.remote() for _ in range(200)]
    loop = engine().loop
    with loop.lock:
        assert not loop.submission_queue
        objects = engine().machine.objects.table
        assert all(ref._id in objects for ref in refs)
    assert ray.get(refs, timeout=60) == [1] * 200


def test_refs_that_are_gone_before_the_machine_was_told_hold_nothing(ray: Any) -> None:
    @ray.remote
    def one() -> int:
        return 1

    class Echo:
        def say(self) -> str:
            return "well"

    echo = ray.remote(num_cpus=0)(Echo).remote()
    for _ in range(2_000):
        one.remote()
        echo.say.remote()
    assert ray.get(echo.say.remote(), timeout=60) == "well"
    objects = engine().machine.objects.table
    assert leaks.until(lambda: set(objects) == {echo._ray_ref._id}), objects


def test_a_destructor_may_submit_under_the_lock(ray: Any) -> None:
    @ray.remote
    def one() -> int:
        return 1

    class Late:
        def __del__(self) -> None:
            refs.append(one.remote())

    refs: list[Any] = []
    assert ray.get(one.remote(), timeout=60) == 1  # the function is known
    last = Late()
    with engine().loop.lock:
        del last
    assert ray.get(refs, timeout=60) == [1]


def test_threads_that_submit_at_once(ray: Any) -> None:
    @ray.remote
    def echo(value: int) -> int:
        return value

    got: dict[int, list[int]] = {}

    def submit(number: int) -> None:
        got[number] = ray.get([echo.remote(number * 1_000 + i) for i in range(300)], timeout=60)

    # The test's runtime is in its context, which a thread does not have by itself.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(submit, number)) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: [number * 1_000 + i for i in range(300)] for number in range(4)}


def test_small_values_are_noted_in_order_with_the_tasks_that_name_them(ray: Any) -> None:
    """A put names what a task before it makes, a task names the put, and both refs go at once."""
    @ray.remote
    def double(value: Any) -> Any:
        return 2 * value

    @ray.remote
    def total(parts: Any) -> int:
        return sum(ray.get(parts["refs"], timeout=60))

    assert ray.get(total.remote({"refs": []}), timeout=60) == 0  # both functions are known
    results = []
    for number in range(300):
        made = double.remote(ray.put(number))
        results.append(total.remote(ray.put({"refs": [made, ray.put(1)]})))
        del made
    assert ray.get(results, timeout=60) == [2 * number + 1 for number in range(300)]
    own = {ref._id for ref in results}
    objects = engine().machine.objects.table
    assert leaks.until(lambda: set(objects) == own), len(objects)


def test_puts_that_may_be_struck_are_told_by_another_thread(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the user's is in place: the loop of puts must not change the machine, nor pile up what it noted."""
    monkeypatch.setattr(shelter, "exposed", lambda: threading.current_thread() is threading.main_thread())
    loop = engine().loop
    kept = [ray.put(number) for number in range(2_000)]
    objects = engine().machine.objects.table
    # What another thread took out of the queue is in the machine a moment later.
    assert leaks.until(lambda: not loop.submission_queue and len(objects) == len(kept))
    assert {ref._id for ref in kept} == set(objects)
    del kept[:]
    ray.put(0)
    assert leaks.until(lambda: not objects), len(objects)


def test_a_destructor_may_put_under_the_lock(ray: Any) -> None:
    class Late:
        def __del__(self) -> None:
            refs.append(ray.put(7))

    refs: list[Any] = []
    last = Late()
    with engine().loop.lock:
        del last
    assert ray.get(refs, timeout=60) == [7]


def test_who_waits_reads_where_the_one_who_leads_is_held_up(
    ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As by a destructor that waits for a lock of the one who follows."""
    gate = Gate(tmp_path)

    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 1

    @ray.remote
    def echo(value: int) -> int:
        return value

    leads, go_on = threading.Event(), threading.Event()
    io = engine().loop.io
    step_aside = io.step_aside

    def held_up() -> None:
        if not leads.is_set():
            leads.set()
            go_on.wait(60)
        step_aside()

    monkeypatch.setattr(io, "step_aside", held_up)
    ref, got = hold.remote(), []
    leading = threading.Thread(target=lambda: got.append(ray.get(ref)))
    leading.start()
    try:
        assert leads.wait(60)
        waiters = engine().loop.waiters
        waiters.wake()  # is meant for the one who leads, who would go on to sleep if it were read here
        assert ray.get(echo.remote(3), timeout=60) == 3
        assert (waiters.wake.read, select.EPOLLIN) in waiters.poll.wait(0)
    finally:
        go_on.set()
        gate.open("held")
        leading.join(60)
    assert got == [1]
