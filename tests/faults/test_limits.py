"""E. Memory and the limits of the system."""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raynb.engine.loop.polling import Poller, Wake
from raynb.exceptions import GetTimeoutError, OutOfMemoryError, TaskCancelledError, WorkerCrashedError
from raynb.testing import leaks
from raynb.testing.faults import Counter, Gate

from ..lifecycle.scripts import run

MB = 1 << 20


@pytest.mark.raynb(num_cpus=2)
def test_e41_a_task_that_outgrows_its_memory_is_stopped_and_told(ray: Any) -> None:
    @ray.remote(max_retries=0, memory=300 * MB)
    def hog() -> int:
        held = []
        while True:
            held.append(bytearray(os.urandom(4096) * 2560))  # 10 MB that are really there
            time.sleep(0.005)  # not faster than a busy machine looks

    with pytest.raises(OutOfMemoryError, match="hog.*MiB"):
        ray.get(hog.remote(), timeout=60)


@pytest.mark.raynb(num_cpus=2)
def test_e42_a_task_that_always_outgrows_its_memory_is_given_up(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=2, memory=300 * MB)
    def hog() -> int:
        counter.add()
        held = []
        while True:
            held.append(bytearray(os.urandom(4096) * 2560))
            time.sleep(0.005)

    with pytest.raises(OutOfMemoryError):
        ray.get(hog.remote(), timeout=60)
    assert counter.value == 3


@pytest.mark.raynb(num_cpus=2)
def test_e43_tasks_nested_fifty_deep_on_two_cpus(ray: Any) -> None:
    @ray.remote
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + int(ray.get(depth.remote(n - 1)))

    assert ray.get(depth.remote(50), timeout=110) == 50


def test_e44_too_few_descriptors_is_a_clear_error(tmp_path: Path) -> None:
    out = run(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from raynb.exceptions import RayError
ray.init(num_cpus=2)
@ray.remote(num_cpus=0)
class A:
    def m(self):
        return 1
actors, told = [], ""
try:
    for _ in range(200):
        actor = A.remote()
        ray.get(actor.m.remote(), timeout=60)
        actors.append(actor)
except (RayError, OSError) as error:
    told = str(error)
assert told, len(actors)
assert "descriptor" in told or "Too many open files" in told or "ulimit" in told, told
assert ray.get(actors[0].m.remote(), timeout=60) == 1
ray.shutdown()
print("told")
""",
        tmp_path,
    )
    assert out == "told\n"


@pytest.mark.raynb(num_cpus=1)
def test_e46_a_stopped_worker_can_be_given_up_by_a_timeout(ray: Any, gate: Gate) -> None:
    from raynb.exceptions import TaskTimeoutError

    @ray.remote
    def warm_up() -> None: ...

    @ray.remote(max_retries=0, timeout=10)
    def stopped() -> None:
        gate.arrive("in")
        os.kill(os.getpid(), signal.SIGSTOP)

    ray.get(warm_up.remote())  # the worker that is to arrive in time is there
    ref = stopped.remote()
    (pid,) = gate.wait_for("in")
    with pytest.raises(TaskTimeoutError):
        ray.get(ref, timeout=60)
    assert leaks.until(lambda: pid not in leaks.all_processes())


@pytest.mark.raynb(num_cpus=3, hang_warning=5.0)  # a busy machine's worker answers within it
def test_e46_stopped_and_hung_workers_are_told_and_busy_ones_are_not(ray: Any, gate: Gate) -> None:
    engine = ray.runtime().engine
    assert 0 < engine.config.hang_warning <= 10
    said: list[str] = []
    engine.on_output.append(lambda output: said.append(output.text))

    @ray.remote(max_retries=0)
    def stopped() -> None:
        gate.arrive("in")
        os.kill(os.getpid(), signal.SIGSTOP)

    @ray.remote(max_retries=0)
    def hung() -> None:
        ctypes.PyDLL(None).sleep(600)  # unlike CDLL, it keeps Python's lock

    @ray.remote
    def busy() -> int:
        return sum(range(1000)) if gate.arrivals("over") else busy_until(gate)

    refs = [stopped.remote(), hung.remote()]
    working = busy.remote()
    (pid,) = gate.wait_for("in")
    assert leaks.until(lambda: len(said) >= 2)
    gate.arrive("over")
    ray.get(working, timeout=60)
    (about_stopped,) = [text for text in said if "that runs stopped" in text]
    assert f"kill -CONT {pid}" in about_stopped
    (about_hung,) = [text for text in said if "that runs hung" in text]
    assert "has not answered" in about_hung
    assert f'test_limits.py", line {hung._function.__code__.co_firstlineno + 2}, in hung' in about_hung
    assert len(said) == 2
    for ref in refs:
        ray.cancel(ref, force=True)
        with pytest.raises((WorkerCrashedError, TaskCancelledError)):
            ray.get(ref, timeout=60)


@pytest.mark.raynb(num_cpus=3, hang_warning=1.0)
def test_a_callback_that_blocks_stops_neither_the_hang_watch_nor_the_memory_watch(ray: Any, gate: Gate) -> None:
    """A4. That it stops no timeout: `test_callbacks_may_get_leave_and_block`."""
    said: list[str] = []
    ray.runtime().engine.on_output.append(lambda output: said.append(output.text))
    blocked, free = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        blocked.set()
        free.wait()

    @ray.remote(max_retries=0, memory=300 * MB)
    def hog() -> None:
        held = []
        while True:
            held.append(bytearray(os.urandom(4096) * 2560))
            time.sleep(0.005)

    @ray.remote(max_retries=0)
    def stopped() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    ray.remote(lambda: gate.pass_through("ends")).remote().future().add_done_callback(block)
    gate.open("ends")  # only now: a future that has ended calls it in the thread that adds
    try:
        assert blocked.wait(60)
        with pytest.raises(OutOfMemoryError):
            ray.get(hog.remote(), timeout=60)
        ref = stopped.remote()
        assert leaks.until(lambda: any("that runs stopped" in text for text in said))
        ray.cancel(ref, force=True)
        with pytest.raises((WorkerCrashedError, TaskCancelledError)):
            ray.get(ref, timeout=60)
    finally:
        free.set()


def busy_until(gate: Gate) -> int:
    """Computes in Python until the gate has an arrival."""
    count = 0
    while not gate.arrivals("over"):
        count += sum(range(1000))
    return count


@pytest.mark.raynb(num_cpus=1)
def test_a_timeout_of_a_task_ends_it_and_frees_its_cpu(ray: Any) -> None:
    from raynb.exceptions import TaskTimeoutError

    @ray.remote(max_retries=0, timeout=0.5)
    def forever() -> None:
        while True:
            sum(range(1000))

    with pytest.raises(TaskTimeoutError, match="forever.*timeout"):
        ray.get(forever.remote(), timeout=60)
    assert leaks.until(lambda: ray.available_resources().get("CPU") == 1)


@pytest.mark.raynb(num_cpus=1)
def test_what_can_never_run_waits_visibly_and_can_be_cancelled(ray: Any) -> None:
    from raynb.exceptions import TaskCancelledError

    @ray.remote(num_cpus=50)
    def huge() -> None:
        pass

    ref = huge.remote()
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.2)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="Linux only")
def test_the_system_kills_workers_before_the_kernel(ray: Any) -> None:
    @ray.remote
    def score() -> int:
        return int(Path("/proc/self/oom_score_adj").read_text())

    assert ray.get(score.remote(), timeout=60) == 1000
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_options_made_anew_for_each_call_are_kept_once(ray: Any) -> None:
    """``f.options(...)`` in a loop inside a task makes an object a call; equal ones are one entry."""

    @ray.remote
    def same(value: int) -> int:
        return value

    @ray.remote
    def many() -> tuple[list[int], int]:
        from raynb.base.engine import current

        engine: Any = current()
        found = [ray.get(same.options(name=f"n{i % 3}").remote(i)) for i in range(30)]
        return found, len(engine._options)

    found, kept = ray.get(many.remote(), timeout=60)
    assert found == list(range(30))
    assert kept == 3


YEARS = (1e9, 1e10, 10**30, math.inf)  # seconds


@pytest.mark.raynb(num_cpus=2)
def test_a_timeout_of_years_is_one_and_nan_is_refused(ray: Any) -> None:
    """Systems take 24 days at most: a task with more ended the runtime."""
    poller, wake = Poller(), Wake()
    poller.register(wake.read, select.POLLIN)
    wake()
    assert [len(poller.wait(seconds)) for seconds in YEARS] == [1] * len(YEARS)
    poller.close()
    wake.close()

    @ray.remote
    def one() -> int:
        return 1

    @ray.remote
    def nested(seconds: float) -> list[int]:
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(ray.get(one.remote(), timeout=seconds)))
        thread.start()
        thread.join()
        return [*got, ray.get(one.remote(), timeout=seconds), len(ray.wait([one.remote()], timeout=seconds)[0])]

    for seconds in YEARS:
        assert ray.get(one.options(timeout=seconds).remote(), timeout=seconds) == 1
    assert ray.get([nested.remote(seconds) for seconds in YEARS], timeout=60) == [[1, 1, 1]] * len(YEARS)
    ref = one.remote()
    for call in (
        lambda: ray.get(ref, timeout=math.nan), lambda: ray.wait([ref], timeout=math.nan),
        lambda: one.options(timeout=math.nan), lambda: one.options(num_cpus=math.inf),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="nan|NaN|inf"):
            call()
