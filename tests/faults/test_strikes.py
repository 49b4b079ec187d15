"""Exceptions that come from outside: what of ours they can fall into, and what they can make lost."""

from __future__ import annotations

import ctypes
import functools
import gc
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

import raynb
from raynb.base import engine as slot
from raynb.base.process import shelter, strikes
from raynb.base.process.futures import ListenedFuture
from raynb.engine.local.objects import reading
from raynb.engine.loop.callbacks import run_all
from raynb.testing.faults import Gate
from raynb.testing.leaks import until


class Struck(Exception):
    pass


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What other tests have left is not collected in the middle of this one."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_thread_that_waits_has_moved_when_a_strike_is_looked_up(
    ray: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first asynchronous exception of a process finds the waiting thread outside every change of state."""
    monkeypatch.setattr(strikes, "known", [False])
    monkeypatch.setattr(shelter, "_known", strikes.known)
    monkeypatch.setattr(strikes, "CLEAR_SECONDS", 60.0)  # however busy the machine is
    monkeypatch.setattr(shelter, "READY_SECONDS", 60.0)
    monkeypatch.setattr(shelter, "MANY_LOOKS", 1_000)
    vars(ctypes.pythonapi).pop(strikes.NAME, None)

    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 3

    got: list[Any] = []
    ref = hold.remote()
    gate.wait_for("held")

    def run(call: Any) -> None:
        try:
            got.append(call())
        except Struck:
            got.append("struck")

    calls = [lambda: ray.get(ref), lambda: ray.get(ref), lambda: len(ray.wait([ref])[0])]
    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()

    def inside(thread: threading.Thread) -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        while frame is not None and frame.f_code.co_name not in ("_follow", "_be_leader"):
            frame = frame.f_back
        return frame is not None

    until(lambda: all(map(inside, threads)))
    look_up = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert not any(map(inside, threads))
    look_up(ctypes.c_ulong(threads[0].ident or 0), ctypes.py_object(Struck))
    threads[0].join(60)
    gate.open("held")
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert got[0] == "struck"
    assert sorted(got[1:]) == [1, 3]


def test_an_item_whose_reader_was_interrupted_comes_again(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @ray.remote(num_returns="streaming")
    def count(n: int) -> Any:
        yield from range(n)

    run, struck = shelter.run, []

    def interrupted(step: Any, *args: Any) -> Any:
        result = run(step, *args)
        if step.__name__ == "_await_item" and len(struck) % 2 == 0:
            struck.append(1)
            raise KeyboardInterrupt
        struck.append(0)
        return result

    monkeypatch.setattr(reading.shelter, "run", interrupted)
    items = count.remote(3)
    got = []
    while True:
        try:
            got.append(ray.get(next(items)))
        except KeyboardInterrupt:
            continue
        except StopIteration:
            break
    assert got == [0, 1, 2]
    assert any(struck)


def test_the_ends_of_refs_views_and_generators_run_no_python(ray: Any, no_collection: None) -> None:
    """So nothing that is raised at that moment can make them lost."""

    @ray.remote(num_returns="streaming")
    def count(n: int) -> Any:
        yield from range(n)

    dying: list[Any] = [ray.put(1), count.remote(2), ray.get(ray.put(bytes(1_000_000)))]
    seen: list[str] = []

    def trace(frame: Any, event: str, argument: Any) -> None:
        seen.append(frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        dying.clear()
    finally:
        sys.settrace(before)
    assert not seen
    assert ray.get(count.remote(1).completed(), timeout=60) is None


def test_a_raising_profile_function_breaks_nothing(ray: Any, no_collection: None) -> None:
    """As the hook of pdb does, when somebody quits it in the middle of a call."""
    echo = ray.remote(lambda x: x)
    ray.get(echo.remote(0))
    calls, struck = 0, 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 97 == 0:
            raise Struck

    before = sys.getprofile()
    for start in range(0, 97, 3):
        calls = start
        try:
            sys.setprofile(profile)
            ray.get(echo.remote(ray.put(bytes(300_000))))
        except Struck:
            struck += 1
        finally:
            sys.setprofile(before)
    assert struck
    assert ray.get([echo.remote(i) for i in range(20)], timeout=60) == list(range(20))


def test_what_a_profile_function_raises_while_a_value_is_pickled_is_for_the_user(ray: Any, no_collection: None) -> None:
    ref = ray.put([1])
    got: list[Any] = []  # in a thread of its own: pytest's alarm exposes the main thread anyway

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") in ("loads", "dumps"):
            raise Struck

    def call() -> None:
        for step in (lambda: ray.get(ref), lambda: ray.put(5)):
            sys.setprofile(profile)
            try:
                got.append(step())
            except Exception as error:
                got.append(type(error))
            finally:
                sys.setprofile(None)
        got.append(ray.get(ref))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert got == [Struck, Struck, [1]]


def test_no_memory_for_a_step_is_its_callers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(dict[int, Any]):
        def __setitem__(self, key: int, value: Any) -> None:
            raise MemoryError

    def no_thread() -> None:
        raise MemoryError

    assert shelter.aside(lambda: 5) == 5  # from here on a thread waits for jobs
    with monkeypatch.context() as patch:
        patch.setattr(shelter, "_start_thread", no_thread)
        assert shelter.aside(lambda: 6) == 6
    with monkeypatch.context() as patch:
        patch.setattr(shelter, "_running", Full())
        with pytest.raises(MemoryError):
            shelter.aside(lambda: 7)
    assert shelter.aside(lambda: 8) == 8


class Starved:
    """A socket's end where no memory can be had at all."""

    def __init__(self, end: Any) -> None:
        self.end, self.fileno, self.close = end, end.fileno, end.close
        self.send, self.sendmsg = end.send, end.sendmsg

    def recvmsg(self, *given: Any) -> Any:
        raise MemoryError

    recvmsg_into = recvmsg


@pytest.mark.raynb(num_cpus=1)  # no second worker comes meanwhile
def test_where_nothing_can_be_read_for_want_of_memory_who_waits_learns_of_it(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    def echo(value: int) -> int:
        return value

    assert ray.get(echo.remote(1), timeout=60) == 1
    monkeypatch.setattr("raynb.wire.channel.STARVED_SECONDS", 0.0)
    monkeypatch.setattr("raynb.engine.loop.loop.MOST_STARVED", 5)
    loop: Any = slot.current().loop  # type: ignore[attr-defined]
    starved = [connection for connection in loop.connections.values() if connection.peer is not None]
    try:
        for connection in starved:
            connection.channel.sock = Starved(connection.channel.sock)
        ref = echo.remote(2)  # only now: else the answer may have been read before
        with pytest.raises(MemoryError, match="no memory to read"):
            ray.get(ref)
        late = [connection for connection in starved if connection.channel.readable()]
        with loop.lock, pytest.raises(MemoryError, match="dead worker"):
            loop.drain_connection(late[0], 0.0)
    finally:
        for connection in starved:
            connection.channel.sock = connection.channel.sock.end
    assert ray.get(ref, timeout=60) == 2


def test_where_threads_may_be_struck_a_runtime_has_a_thread_for_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function may have been looked up before raynb was imported, or before a fork."""
    monkeypatch.setattr(strikes, "known", [True])
    monkeypatch.setattr(shelter, "_known", strikes.known)
    with raynb.Runtime(num_cpus=1):
        assert any(map(shelter.stays, threading.enumerate()))


def test_what_a_handler_raises_in_every_attempt_to_pickle_is_for_the_user(ray: Any) -> None:
    """Its error is known by its traceback. To try whether the value can be pickled is no help where each try is hit."""

    class Slow:
        def __reduce__(self) -> Any:
            signal.raise_signal(signal.SIGALRM)
            return int, ()

    class Handler:
        def __call__(self, *given: Any) -> None:
            self.leave(*given)

        def leave(self, *given: Any) -> None:
            raise Struck

    def plain(number: int, frame: Any) -> None:
        raise Struck

    slow = Slow()
    echo = ray.remote(lambda x: x)
    before = signal.getsignal(signal.SIGALRM)
    try:
        for handler in (plain, Handler(), functools.partial(plain)):
            signal.signal(signal.SIGALRM, handler)
            for call in (lambda: ray.put(slow), lambda: echo.remote([slow]), lambda: ray.remote(lambda: slow).remote()):
                with pytest.raises(Struck):
                    call()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_error_of_a_value_is_not_taken_for_a_handlers() -> None:
    def raises(frame: Any) -> None:
        raise Struck

    here = sys._getframe()
    with pytest.raises(Struck) as of_its_own:
        (lambda: raises(here))()  # not the frame that calls
    assert not shelter.was_sent(of_its_own.value)


def test_callbacks_without_memory_are_called_the_next_time() -> None:
    called: list[str] = []

    def no_memory() -> None:
        called.append("tried")
        if len(called) == 1:
            raise MemoryError

    queue: deque[Any] = deque([no_memory, lambda: called.append("last")])
    run_all(queue)
    assert called == ["tried"]
    run_all(queue)
    assert called == ["tried", "tried", "last"]
    assert not queue


def test_a_destructor_in_the_thread_that_reads_the_sockets_reads_them_itself(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynb.engine.loop.waiters.RESUME_SECONDS", 1e6)  # nobody else would read
    monkeypatch.setattr(shelter, "LOOK_SECONDS", 1e6)
    loop: Any = slot.current().loop  # type: ignore[attr-defined]
    echo = ray.remote(lambda x: x)
    assert ray.get(echo.remote(1), timeout=60) == 1
    flush, inside = loop.flush, []

    def flush_and_collect() -> None:
        if not inside and loop.waiters._leader == threading.get_ident():
            inside.append(0)
            inside.append(ray.get([echo.remote(2), ray.put(3)], timeout=60))
        flush()

    monkeypatch.setattr(loop, "flush", flush_and_collect)
    for n in range(100):
        assert ray.get(echo.remote(n), timeout=60) == n
        if inside:
            break
    assert inside == [0, [2, 3]]
    assert ray.get(echo.remote(5), timeout=60) == 5


def test_what_falls_into_the_wait_for_a_future_comes_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition that has given its lock back cannot release it: its own error would hide the user's."""
    future: ListenedFuture[int] = ListenedFuture()
    condition = future._condition
    release: Any = condition._release_save  # type: ignore[attr-defined]

    def struck() -> None:
        release()
        raise Struck

    monkeypatch.setattr(condition, "_release_save", struck)
    for call in (future.result, future.exception):
        with pytest.raises(Struck):
            call(60)
    monkeypatch.undo()
    future.set_result(5)
    assert future.result(60) == 5
    assert future.exception(60) is None
    failed: ListenedFuture[int] = ListenedFuture()
    failed.set_exception(Struck())
    with pytest.raises(Struck):
        failed.result(60)


def test_the_lock_of_a_future_is_taken_in_c(no_collection: None) -> None:
    future: ListenedFuture[int] = ListenedFuture()
    ran: list[str] = []
    sys.setprofile(lambda frame, what, about: ran.append(frame.f_code.co_name) if what == "call" else None)
    try:
        with future._condition:
            pass
    finally:
        sys.setprofile(None)
    assert not ran
    with future._condition:
        future._condition.notify_all()  # it knows that it is locked
    future.set_result(3)
    assert future.result(60) == 3


def test_a_lookup_of_strikes_wakes_threads_and_no_future(ray: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A future that was told too early read a value that was not there."""
    monkeypatch.setattr(strikes, "_somebody_inside", iter((True, True, False)).__next__)

    @ray.remote
    def hold() -> int:
        gate.pass_through("held")
        return 3

    ref = hold.remote()
    future = ref.future()
    gate.wait_for("held")
    strikes._clear()
    assert not slot.current().loop.callbacks  # type: ignore[attr-defined]
    gate.open("held")
    assert future.result(60) == 3
