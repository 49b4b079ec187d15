"""A. Workers that die: fault × phase → what the user sees."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from raynb.base import engine
from raynb.exceptions import ActorDiedError, RayTaskError, WorkerCrashedError
from raynb.testing import faults, leaks
from raynb.testing.faults import Bomb, Counter, Gate

pytestmark = pytest.mark.raynb(num_cpus=2)

#: action → words that its message must have, so that the user knows how the worker died.
DEATHS = {
    "sigkill": "SIGKILL",
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "os._exit(0)": r"code 0\b",
    "os._exit(3)": r"code 3\b",
    "sys.exit(3)": r"code 3\b|sys\.exit\(3\)",
}


@pytest.mark.parametrize("action", DEATHS)
def test_a1_to_a4_death_while_running_without_retries(ray: Any, action: str) -> None:
    @ray.remote(max_retries=0)
    def die() -> None:
        faults.strike(action)

    with pytest.raises(WorkerCrashedError, match=DEATHS[action]):
        ray.get(die.remote(), timeout=60)


@pytest.mark.parametrize("action", faults.DEADLY)
@pytest.mark.parametrize("phase", ["arguments", "result"])
def test_death_while_reading_arguments_or_writing_the_result(ray: Any, phase: str, action: str) -> None:
    @ray.remote(max_retries=0)
    def f(bomb: Any = None) -> Any:
        return Bomb("pickle", action)

    ref = f.remote(Bomb("unpickle", action)) if phase == "arguments" else f.remote()
    with pytest.raises(WorkerCrashedError):
        ray.get(ref, timeout=60)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a5_a_task_is_tried_once_more_than_its_retries(ray: Any, counter: Counter, retries: int) -> None:
    @ray.remote(max_retries=retries)
    def die() -> None:
        counter.add()
        faults.strike("sigkill")

    with pytest.raises(WorkerCrashedError):
        ray.get(die.remote(), timeout=60)
    assert counter.value == retries + 1


def test_a_retry_that_succeeds_is_a_success(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=3)
    def die_twice() -> int:
        if counter.add() < 3:
            faults.strike("os._exit(3)")
        return counter.value

    assert ray.get(die_twice.remote(), timeout=60) == 3


def test_a6_death_of_an_idle_worker_is_not_seen(ray: Any) -> None:
    @ray.remote(max_retries=0)
    def pid() -> int:
        return os.getpid()

    first = {ray.get(pid.remote(), timeout=60) for _ in range(4)}
    faults.kill(*first)
    assert not first & {ray.get(pid.remote(), timeout=60) for _ in range(4)}


def test_a7_a_result_is_whole_or_not_there(ray: Any, gate: Gate, counter: Counter) -> None:
    """The worker is killed at a random moment of writing large results, several times over."""

    @ray.remote(max_retries=-1)
    def make(number: int) -> tuple[bytes, str]:
        gate.arrive(f"made{number}")
        data = os.urandom(1000) * 20_000
        return data, hashlib.sha1(data).hexdigest()

    for number in range(4):
        ref = make.remote(number)
        faults.kill(*gate.wait_for(f"made{number}"))
        data, digest = ray.get(ref, timeout=60)
        assert hashlib.sha1(data).hexdigest() == digest
        del data, ref


def test_a8_death_while_putting_leaves_the_store_usable(ray: Any, gate: Gate) -> None:
    @ray.remote(max_retries=0)
    def put_for_ever() -> None:
        gate.arrive("putting")
        while True:
            ray.put(bytearray(3_000_000))

    ref = put_for_ever.remote()
    faults.kill(*gate.wait_for("putting"))
    with pytest.raises(WorkerCrashedError):
        ray.get(ref, timeout=60)
    del ref
    data = bytes(range(256)) * 40_000
    assert ray.get(ray.put(data)) == data


def test_a9_bystanders_of_a_crash_are_right(ray: Any) -> None:
    @ray.remote(max_retries=3)
    def square(n: int) -> int:
        return n * n

    @ray.remote(max_retries=0)
    def die() -> None:
        faults.strike("sigkill")

    before = [square.remote(n) for n in range(10)]
    crasher = die.remote()
    after = [square.remote(n) for n in range(10, 19)]
    assert ray.get(before + after, timeout=60) == [n * n for n in range(19)]
    with pytest.raises(WorkerCrashedError):
        ray.get(crasher, timeout=60)


def test_tasks_prefetched_behind_a_crash_lose_no_attempt(ray: Any, counter: Counter) -> None:
    """A task that had not started when its worker died may not count that as its own failure."""

    @ray.remote(max_retries=0)
    def one(n: int) -> int:
        return n

    @ray.remote(max_retries=0)
    def die() -> None:
        faults.strike("os._exit(3)")

    refs: list[Any] = []
    crashers = []
    for n in range(200):
        refs.append(one.remote(n))
        if n % 50 == 25:
            crashers.append(die.remote())
    assert ray.get(refs, timeout=60) == list(range(200))
    for ref in crashers:
        with pytest.raises(WorkerCrashedError):
            ray.get(ref, timeout=60)


def test_a10_endless_retries_go_on_and_can_be_cancelled(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=-1)
    def loop() -> None:
        counter.add()
        faults.strike("os._exit(3)")

    said: list[str] = []
    ray.runtime().engine.on_output.append(lambda output: said.append(output.text))
    ref = loop.remote()
    assert leaks.until(lambda: counter.value >= 6)
    assert leaks.until(lambda: sum("loop has crashed its worker" in text for text in said) >= 2)
    assert "code 3" in said[0]
    ray.cancel(ref)
    from raynb.exceptions import TaskCancelledError

    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("yields", [0, 1, 3, 200])
def test_a11_a_generator_that_dies_gives_what_it_had_and_then_the_error(
    ray: Any, counter: Counter, retries: int, yields: int
) -> None:
    @ray.remote(max_retries=retries, num_returns="streaming")
    def stream() -> Any:
        counter.add()
        yield from range(yields)
        faults.strike("sigkill")

    items = stream.remote()
    refs = list(items)
    assert [ray.get(ref, timeout=60) for ref in refs[:yields]] == list(range(yields))
    assert len(refs) == yields + 1
    with pytest.raises(WorkerCrashedError):
        ray.get(refs[yields], timeout=60)
    assert list(items) == []
    assert counter.value == retries + 1


def test_a11_a_generator_that_dies_twice_yields_each_item_once(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=2, num_returns="streaming")
    def stream() -> Any:
        dies = counter.add() < 3
        for number in range(100):
            if dies and number == 50:
                faults.strike("segfault")
            yield number

    assert [ray.get(ref, timeout=60) for ref in stream.remote()] == list(range(100))
    assert counter.value == 3


def test_a11_a_generator_method_of_an_actor_that_dies(ray: Any) -> None:
    @ray.remote(num_cpus=0)
    class Source:
        def stream(self, count: int) -> Any:
            yield from range(count)
            faults.strike("sigkill")

    refs = list(Source.remote().stream.options(num_returns="streaming").remote(100))
    assert ray.get(refs[:100], timeout=60) == list(range(100))
    assert len(refs) == 101
    with pytest.raises(ActorDiedError):
        ray.get(refs[100], timeout=60)


def test_a13_all_workers_killed_at_once(ray: Any, gate: Gate) -> None:
    @ray.remote(max_retries=2)
    def hold(n: int) -> int:
        gate.pass_through(f"hold{n}")
        return n

    refs = [hold.remote(n) for n in range(2)]
    pids = [*gate.wait_for("hold0"), *gate.wait_for("hold1")]
    faults.kill(*pids)
    gate.open("hold0")
    gate.open("hold1")
    assert ray.get(refs, timeout=60) == [0, 1]


def test_a14_the_supervisor_killed_is_survived(ray: Any, gate: Gate, counter: Counter) -> None:
    @ray.remote
    def hold(name: str) -> int:
        gate.pass_through(name)
        return counter.add()

    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    back, mortal = Actor.options(max_restarts=1, max_task_retries=1).remote(), Actor.remote()
    before = [ray.get(actor.pid.remote(), timeout=60) for actor in (back, mortal)]
    kept = ray.put(bytes(1_000_000))
    again, once = hold.options(max_retries=1).remote("again"), hold.options(max_retries=0).remote("once")
    running = {*gate.wait_for("again"), *gate.wait_for("once")}
    queued = [hold.remote("queued") for _ in range(3)]
    old = faults.supervisor_pids()
    faults.kill(*old)
    for name in ("again", "once", "queued"):
        gate.open(name)
    with pytest.raises(WorkerCrashedError, match="supervisor"):
        ray.get(once, timeout=60)
    assert sorted(ray.get([again, *queued], timeout=60)) == [1, 2, 3, 4]  # each of them ran to its end once
    assert len(gate.arrivals("again")) == 2
    assert ray.get(back.pid.remote(), timeout=60) not in before
    with pytest.raises(ActorDiedError, match="supervisor"):
        ray.get(mortal.pid.remote(), timeout=60)
    assert ray.get(kept, timeout=60) == bytes(1_000_000)
    new = faults.supervisor_pids()
    assert len(new) == 1
    assert new != old
    assert not running & set(faults.worker_pids())


def test_a14_a_later_supervisor_starts_workers_where_the_first_did(
    raynb_runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime: Any = engine.current()
    before = runtime.supervision._settings()
    assert before["cwd"] == engine.starts[runtime].folder == os.getcwd()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert runtime.supervision._settings() == before


def test_an_exception_is_not_a_crash(ray: Any) -> None:
    @ray.remote
    def fail() -> None:
        faults.strike("raise")

    with pytest.raises(RayTaskError) as caught:
        ray.get(fail.remote(), timeout=60)
    assert isinstance(caught.value, faults.Boom)
