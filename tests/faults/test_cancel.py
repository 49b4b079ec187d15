"""F. Cancelling and interrupting."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from typing import Any

import pytest

from raynb.base.process import package
from raynb.exceptions import GetTimeoutError, RayError, TaskCancelledError, WorkerCrashedError
from raynb.testing import leaks
from raynb.testing.faults import Counter, Gate

pytestmark = pytest.mark.raynb(num_cpus=1)


def test_f47_a_queued_task_never_runs(ray: Any, gate: Gate, counter: Counter) -> None:
    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 1

    @ray.remote
    def count() -> int:
        return counter.add()

    held = hold.remote()
    gate.wait_for("held")
    queued = [count.remote() for _ in range(5)]
    for ref in queued:
        ray.cancel(ref)
    gate.open("held")
    assert ray.get(held, timeout=60) == 1
    for ref in queued:
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=60)
    assert counter.value == 0


def test_f47_a_task_that_waits_for_a_cancelled_one_is_cancelled_too(ray: Any, gate: Gate) -> None:
    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 1

    @ray.remote
    def after(x: int) -> int:
        return x

    first = hold.remote()
    gate.wait_for("held")
    second = after.remote(first)
    ray.cancel(first)
    for ref in (first, second):
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=60)


def test_f48_a_sleeping_task_is_woken_and_its_cpu_is_free(ray: Any, gate: Gate) -> None:
    @ray.remote
    def sleep() -> None:
        gate.arrive("asleep")
        time.sleep(600)

    @ray.remote
    def quick() -> int:
        return 5

    ref = sleep.remote()
    gate.wait_for("asleep")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(quick.remote(), timeout=60) == 5
    assert leaks.until(lambda: ray.available_resources().get("CPU") == 1)


def test_f49_a_task_that_swallows_the_interrupt_is_killed_after_the_grace(ray: Any, gate: Gate) -> None:
    @ray.remote(max_retries=0)
    def swallow() -> None:
        while True:
            try:
                gate.arrive("in")  # inside: the interrupt may come at once
                time.sleep(600)
            except KeyboardInterrupt:
                pass

    ref = swallow.remote()
    (pid,) = gate.wait_for("in")
    ray.cancel(ref)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=60)
    assert leaks.until(lambda: pid not in leaks.all_processes())


def test_f49_c_code_that_holds_the_gil_is_killed_after_the_grace(ray: Any, gate: Gate) -> None:
    @ray.remote(max_retries=0)
    def stuck() -> None:
        while True:
            try:
                gate.arrive("in")
                # PyDLL keeps the interpreter's lock during the call.
                ctypes.PyDLL(None).sleep(600)
            except KeyboardInterrupt:  # it came before the call
                pass

    ref = stuck.remote()
    (pid,) = gate.wait_for("in")
    ray.cancel(ref)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=60)
    assert leaks.until(lambda: pid not in leaks.all_processes())


@pytest.mark.raynb(num_cpus=1, cancel_grace=60.0)
def test_a_task_that_catches_the_interrupt_and_returns_has_succeeded(ray: Any, gate: Gate) -> None:
    @ray.remote
    def catch() -> str:
        try:
            gate.arrive("in")
            time.sleep(600)
        except KeyboardInterrupt:
            return "caught"
        return "slept"

    ref = catch.remote()
    gate.wait_for("in")
    ray.cancel(ref)
    assert ray.get(ref, timeout=60) == "caught"


def test_force_kills_the_worker(ray: Any, gate: Gate) -> None:
    @ray.remote
    def sleep() -> None:
        gate.arrive("in")
        time.sleep(600)

    ref = sleep.remote()
    (pid,) = gate.wait_for("in")
    ray.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=60)
    assert leaks.until(lambda: pid not in leaks.all_processes())


@pytest.mark.raynb(num_cpus=2)
def test_f50_the_children_of_a_cancelled_task_are_cancelled(ray: Any, gate: Gate) -> None:
    @ray.remote
    def child() -> None:
        gate.arrive("child")
        time.sleep(600)

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    gate.wait_for("child")
    ray.cancel(ref, recursive=True)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert leaks.until(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.parametrize("how", ["get", "wait"])
def test_f51_ctrl_c_ends_the_wait_and_no_worker_feels_it(ray: Any, gate: Gate, how: str) -> None:
    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return os.getpid()

    ref = hold.remote()
    (pid,) = gate.wait_for("held")
    # The signal goes to this process from outside, while its main thread waits.
    stop = threading.Event()
    sender = threading.Thread(target=_interrupt_when_waiting, args=(stop,))
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ray.get(ref, timeout=60) if how == "get" else ray.wait([ref], timeout=60)
    finally:
        stop.set()
        sender.join()
    gate.open("held")
    assert ray.get(ref, timeout=60) == pid


def _interrupt_when_waiting(stop: threading.Event) -> None:
    """Sends SIGINT when the main thread has come to a wait inside the runtime."""
    import sys

    main = threading.main_thread().ident or 0

    def waits() -> bool:
        frame = sys._current_frames().get(main)
        return frame is not None and frame.f_code.co_filename.startswith(package.FOLDER)

    if leaks.until(lambda: stop.is_set() or waits()) and not stop.is_set():
        os.kill(os.getpid(), signal.SIGINT)


def test_cancelling_twice_and_after_the_end_does_nothing(ray: Any) -> None:
    @ray.remote
    def f() -> int:
        return 3

    ref = f.remote()
    assert ray.get(ref, timeout=60) == 3
    ray.cancel(ref)
    ray.cancel(ref)
    assert ray.get(ref, timeout=60) == 3


def test_a_timeout_of_get_leaves_the_task_alone(ray: Any, gate: Gate) -> None:
    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 8

    ref = hold.remote()
    gate.wait_for("held")
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.05)
    gate.open("held")
    assert ray.get(ref, timeout=60) == 8


@pytest.mark.parametrize("not_a_ref", [5, "ref", [1], None])
def test_what_is_no_ref_is_refused_by_name(ray: Any, not_a_ref: Any) -> None:
    for call in (ray.get, ray.cancel, lambda thing: ray.wait([thing])):
        with pytest.raises((TypeError, ValueError), match=type(not_a_ref).__name__ + "|ObjectRef"):
            call(not_a_ref)


def test_errors_name_no_inner_part(ray: Any) -> None:
    """A cancelled task's message is for the user: it has no frame of the package in it."""

    @ray.remote
    def f() -> None:
        raise ValueError("mine")

    with pytest.raises(RayError) as caught:
        ray.get(f.remote(), timeout=60)
    assert "mine" in str(caught.value)
    assert package.FOLDER not in str(caught.value)
