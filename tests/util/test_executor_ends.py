"""How futures of an `Executor` end: the order of their ends, and what falls into a submission."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.testing.leaks import until
from raynb.util import Executor, executor
from raynb.util.executor import Future

from .test_executors import hold

pytestmark = pytest.mark.raynb(num_cpus=2)


def test_waiting_futures_that_cannot_start_fail_alone(raynb_runtime: Any, tmp_path: Path) -> None:
    class Leaves:
        def __reduce__(self) -> Any:
            raise SystemExit("left")

    gate, seen = tmp_path / "gate", []
    with Executor(max_workers=1) as pool:
        first = pool.submit(hold, gate)
        first.add_done_callback(lambda _: seen.append(last.result(timeout=60)))
        left = pool.submit(str, Leaves())
        failed = [pool.submit(str, threading.Lock()) for _ in range(600)]  # no deeper on the stack with each
        last = pool.submit(abs, -3)
        gate.touch()
        assert first.result(timeout=60) == "through"
        assert isinstance(left.exception(timeout=60), SystemExit)
        assert {type(future.exception(timeout=60)) for future in failed} == {TypeError}
        assert last.result(timeout=60) == 3
    assert until(lambda: seen)


def test_callbacks_of_a_future_and_of_those_its_place_went_to_may_wait_for_each_other(
    raynb_runtime: Any, tmp_path: Path
) -> None:
    gate, seen = tmp_path / "gate", []
    with Executor(max_workers=1) as pool:
        first = pool.submit(hold, gate)
        failed = [pool.submit(str, threading.Lock()) for _ in range(2)]
        ends: list[Any] = [first, *failed]
        for future in ends:
            future.add_done_callback(lambda _: seen.append([type(one.exception(timeout=60)) for one in ends]))
        gate.touch()
    assert until(lambda: len(seen) == 3)
    assert seen == [[type(None), TypeError, TypeError]] * 3


@pytest.mark.parametrize("sent", [True, False])
def test_what_comes_out_of_the_start_of_another_future_is_raised_only_if_a_handler_did(
    raynb_runtime: Any, sent: bool
) -> None:
    class Struck(Exception):
        pass

    class Leaves:
        def __reduce__(self) -> Any:
            if sent:
                signal.raise_signal(signal.SIGALRM)
            raise SystemExit("left")

    class Fails:
        def __reduce__(self) -> Any:
            if not waiting:
                waiting.extend([pool.submit(str, Leaves()), pool.submit(abs, -4)])
            raise TypeError("fails")

    def handler(number: int, frame: Any) -> None:
        raise Struck

    waiting: list[Any] = []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with Executor(1) as pool, pytest.raises(Struck) if sent else contextlib.nullcontext():
            assert isinstance(pool.submit(str, Fails()).exception(timeout=60), TypeError)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert isinstance(waiting[0].exception(timeout=60), Struck if sent else SystemExit)
    assert waiting[1].result(timeout=60) == 4


def test_an_interrupted_submission_leaves_the_place_of_a_future_that_another_thread_starts(
    raynb_runtime: Any, tmp_path: Path
) -> None:
    class Struck(Exception):
        pass

    class Lock:
        """In its release an exception falls into the thread that submits, when another one starts the future."""

        def __init__(self) -> None:
            self.inner, self.armed = threading.Lock(), False

        def __enter__(self) -> None:
            self.inner.acquire()

        def __exit__(self, *exc: object) -> None:
            self.inner.release()
            if self.armed and threading.current_thread() is threading.main_thread():
                self.armed = False
                (tmp_path / "gate").touch()
                assert starting.wait(60)
                raise Struck

    class Slow:
        def __reduce__(self) -> Any:
            starting.set()
            assert going_on.wait(60)
            return int, ()

    starting, going_on = threading.Event(), threading.Event()
    with Executor(1) as pool:
        lock: Any = Lock()
        pool._lock = lock
        first = pool.submit(hold, tmp_path / "gate")
        lock.armed = True
        with pytest.raises(Struck):
            pool.submit(hold, tmp_path / "never", Slow())
        last = pool.submit(abs, -6)
        assert last.ref is None  # it waits: there is one place, and who starts a task in it has it still
        going_on.set()
        assert last.result(timeout=60) == 6
        assert first.result(timeout=60) == "through"


def test_a_future_has_one_end_and_may_be_given_it_again() -> None:
    begun: Any = Future()
    begun.set_running_or_notify_cancel()  # and there the first call was interrupted
    for result in (1, 2):
        begun.settle(result)
    begun.settle(error=ValueError())
    assert begun.result() == 1
    cancelled: Any = Future()
    cancelled.cancel()
    for _ in range(2):
        cancelled.settle(3)
    assert concurrent.futures.wait([cancelled], timeout=0).done == {cancelled}


def test_callbacks_of_a_future_are_called_once_also_where_one_leaves() -> None:
    called: list[Any] = []
    future: Any = Future()
    future.add_done_callback(lambda _: sys.exit("left"))
    future.add_done_callback(called.append)
    with pytest.raises(SystemExit):
        future.settle(1)
    for _ in range(2):
        future.settle(2)
    assert called == [future]
    assert future.result() == 1


@pytest.mark.parametrize("threads", [True, False])
def test_a_submission_that_a_handler_interrupts_gives_its_place_back(
    raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    class Struck(Exception):
        pass

    def no_thread(**how: Any) -> Any:
        raise RuntimeError("can't start new thread")

    class Slow:
        def __reduce__(self) -> Any:
            waiting.append(pool.submit(abs, -5))
            signal.raise_signal(signal.SIGALRM)
            return int, ()

    def handler(number: int, frame: Any) -> None:
        raise Struck

    waiting: list[Any] = []
    if not threads:
        parts = {name: getattr(threading, name) for name in threading.__all__}
        monkeypatch.setattr(executor, "threading", SimpleNamespace(**{**parts, "Thread": no_thread}))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Struck), Executor(1) as pool:
            pool.submit(abs, Slow())  # the error holds its frame, and so the future: nobody may wait for that
    finally:
        signal.signal(signal.SIGALRM, before)
    assert waiting[0].result(timeout=60) == 5
