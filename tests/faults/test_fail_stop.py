"""A runtime that is broken ends at once, loudly; what is the user's never breaks it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import sys
import threading
from typing import Any

import pytest

import raynb
from raynb.base import engine
from raynb.base.process import strikes, trace
from raynb.engine.local.processes import supervision
from raynb.exceptions import RaySystemError, RuntimeGoneError
from raynb.testing import faults, leaks
from raynb.testing.faults import Gate


@pytest.mark.parametrize("where", ["machine", "effects", "left half done"])
def test_an_exception_in_a_change_ends_the_runtime_for_all_who_wait(where: str, gate: Gate) -> None:
    with raynb.Runtime(num_cpus=1) as runtime:
        loop = runtime.engine.loop

        @raynb.remote
        def hold() -> None:
            gate.pass_through("held")

        held = hold.remote()
        gate.wait_for("held")
        got: list[BaseException] = []

        def wait() -> None:
            try:
                raynb.get(held)
            except RaySystemError as error:
                got.append(error)

        waiting = [threading.Thread(target=wait) for _ in range(3)]
        future = held.future()
        for thread in waiting:
            thread.start()

        def fault(_: Any) -> Any:
            raise (MemoryError if where == "effects" else ZeroDivisionError)("a bug of ours")

        if where == "machine":
            loop.machine.handle = fault
        elif where == "effects":
            loop.effects = fault
        else:  # as an exception leaves it that fell in between, and that nobody could catch
            loop.health.changing = "a change"
        with contextlib.suppress(RaySystemError):  # the first call finds out, or the I/O thread a moment before
            raynb.cancel(held)
        for thread in waiting:
            thread.join(60)
        assert len(got) == 3
        assert len(set(map(id, got))) == 3, "each has an exception of its own"
        for error in got:
            assert "restart" in str(error)
            assert "The last events" in str(error)
        with pytest.raises(RaySystemError, match="has failed"):
            future.result(60)
        with pytest.raises(RaySystemError, match="has failed"):
            raynb.get(hold.remote())
        with pytest.raises(RaySystemError, match="has failed"):
            raynb.put(bytes(100_000))
    with raynb.Runtime(num_cpus=1):
        assert raynb.get(raynb.remote(lambda: 5).remote()) == 5


def test_init_after_a_failure_starts_anew() -> None:
    try:
        first = raynb.init(num_cpus=1).engine
        f = raynb.remote(lambda: 5)
        kept = f.remote()
        assert raynb.get(kept) == 5
        assert raynb.init().engine is first
        first.loop.health.break_down(ZeroDivisionError("a bug of ours"), "a test")
        with pytest.raises(RaySystemError, match="a bug of ours.*restart"):
            f.remote()
            raynb.get(kept)
        assert "a bug of ours" in first.failure
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(raynb.init(num_cpus=1).engine)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 4
        assert len(set(map(id, found))) == 1
        assert found[0] is not first
        assert not first.failure
        assert raynb.get(f.remote()) == 5
        with pytest.raises(RuntimeGoneError):
            raynb.get(kept)
    finally:
        raynb.shutdown()


def test_callbacks_may_get_leave_and_block(ray: Any, gate: Gate) -> None:
    @ray.remote
    def value(x: int, wait_at: str = "") -> int:
        if wait_at:
            gate.pass_through(wait_at)
        return x

    def call_at_end(callback: Any, name: str) -> None:
        """Adds the callback while the task still runs: a future that has ended calls it in the thread that adds."""
        value.remote(1, name).future().add_done_callback(callback)
        gate.open(name)

    done: concurrent.futures.Future[int] = concurrent.futures.Future()
    call_at_end(lambda _: done.set_result(ray.get(value.remote(2))), "gets")
    assert done.result(60) == 2

    call_at_end(lambda _: sys.exit(3), "leaves")
    blocked, free = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        blocked.set()
        free.wait(60)

    call_at_end(block, "blocks")
    try:
        assert blocked.wait(60)
        # While it blocks, time goes on, and other futures end.
        with pytest.raises(TimeoutError):
            ray.get(ray.remote(lambda: gate.pass_through("never")).options(timeout=0.2).remote(), timeout=60)
        assert value.remote(7).future().result(60) == 7
    finally:
        free.set()


def test_await_runs_no_code_of_the_users_on_our_threads(ray: Any) -> None:
    class Where:
        def __reduce__(self) -> Any:
            return threading.current_thread, ()

    async def main() -> Any:
        return await ray.put([Where()]), threading.current_thread()

    got, mine = asyncio.run(main())
    assert got[0] is mine


class Looks:
    """Its value is whether the thread that unpickles it is inside of raynb."""

    def __reduce__(self) -> Any:
        return is_inside, ()


def is_inside() -> bool:
    """Returns whether the calling thread has a lock of the runtime's, or is one of its own; in a task False."""
    runtime: Any = engine.current()
    loop = getattr(runtime, "loop", None)
    me = threading.get_ident()
    return loop is not None and (loop.is_inside(me) or loop.lock.is_mine() or me in strikes.threads_of_ours)


def test_values_are_unpickled_under_no_lock_and_on_no_thread_of_ours(ray: Any) -> None:
    @ray.remote
    def make(large: bool) -> Any:
        return Looks(), bytes(1_000_000 if large else 1)

    @ray.remote(num_returns="streaming")
    def stream() -> Any:
        yield Looks(), b""

    called: concurrent.futures.Future[Any] = concurrent.futures.Future()
    make.remote(False).future().add_done_callback(lambda done: called.set_result(done.result()))
    stored = ray.put([Looks()])
    found = [
        *ray.get([make.remote(False), make.remote(True)], timeout=60), ray.get(next(stream.remote()), timeout=60),
        make.remote(True).future().result(60), ray.get(stored), called.result(60),
    ]  # fmt: skip
    assert [value[0] for value in found] == [False] * 6


def test_another_supervisor_is_started_under_no_lock(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = engine.current()
    inside: list[bool] = []
    real = supervision.Supervised

    def start(*args: Any) -> Any:
        inside.append(runtime.loop.is_inside(threading.get_ident()))
        return real(*args)

    monkeypatch.setattr(supervision, "Supervised", start)
    faults.kill(*faults.supervisor_pids())
    assert ray.get(ray.remote(lambda: 5).remote(), timeout=60) == 5
    assert inside == [False]


def test_who_makes_room_for_workers_outlives_a_broken_disk(ray: Any) -> None:
    runtime: Any = engine.current()
    spilling, real = runtime.spilling, runtime.spilling.make
    answers: list[bool] = []
    errors = (OSError("the disk has a fault"), MemoryError(), ValueError("odd"), None)
    for asked, error in enumerate(errors, 1):

        def make(size: int, error: Any = error) -> bool:
            if error is not None:
                raise error
            return bool(real(size))

        spilling.make = make
        with runtime.loop.lock:
            spilling.ask(1000, answers.append)
        assert leaks.until(functools.partial(lambda n: len(answers) == n, asked))
    assert answers == [False, False, False, True]


def test_a_users_gc_disable_holds(ray: Any) -> None:
    f = ray.remote(lambda: 1)
    gc.disable()
    try:
        for _ in range(20):
            ray.get([f.remote() for _ in range(20)])
            assert not gc.isenabled()
    finally:
        gc.enable()


def test_nonsense_drops_the_peer_and_nobody_else(ray: Any) -> None:
    f = ray.remote(lambda x: x)
    assert ray.get([f.remote(i) for i in range(5)]) == list(range(5))
    runtime: Any = engine.current()
    many = runtime.inbox._many
    before = dict(many)

    def odd(*_: Any) -> None:
        many.update(before)
        raise KeyError("a message that makes no sense")

    many.update(dict.fromkeys(many, odd))
    assert ray.get(f.remote(3), timeout=60) == 3  # by a retry
    assert any("makes no sense" in entry.where for entry in list(trace.ring))
