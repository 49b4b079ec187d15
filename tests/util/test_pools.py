"""`ActorPool`, `multiprocessing.Pool`, `Queue` on the running engine, beyond what parity shows."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from typing import Any

import pytest

import raynb
from raynb.util import ActorPool, Queue
from raynb.util.multiprocessing import Pool
from raynb.util.queue import Empty, Full

pytestmark = pytest.mark.raynb(num_cpus=4)


@raynb.remote(num_cpus=0)
class Worker:
    def double(self, x: int) -> int:
        return 2 * x

    @raynb.method(num_returns=2)
    def pair(self, x: int) -> tuple[int, int]:
        return x, 2 * x

    def die(self) -> None:
        os._exit(1)


def test_a_dead_actor_leaves_the_pool(raynb_runtime: Any) -> None:
    pool = ActorPool([Worker.remote(), Worker.remote()])
    pool.submit(lambda a, _: a.die.remote(), None)
    with pytest.raises(raynb.exceptions.ActorDiedError):
        pool.get_next()
    assert list(pool.map(lambda a, v: a.double.remote(v), range(6))) == [0, 2, 4, 6, 8, 10]


def test_an_interrupted_pool_loses_no_result_and_no_actor(raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    pool = ActorPool([Worker.remote()])
    with pytest.raises(KeyboardInterrupt):
        pool.submit(interrupted, 0)
    for value in (1, 2):
        pool.submit(lambda actor, value: actor.double.remote(value), value)
    for step in ("wait", "get"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(f"raynb.util.actor_pool.ray.{step}", interrupted)
            pool.get_next()
    assert [pool.get_next(timeout=60), pool.get_next(timeout=60)] == [2, 4]


def test_a_timeout_by_a_signal_loses_no_result_and_is_not_swallowed(
    raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(number: int, frame: Any) -> None:
        raise TimeoutError("alarm")

    pool = ActorPool([Worker.remote()])
    pool.submit(lambda actor, value: actor.double.remote(value), 1)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for step in ("wait", "get"):
            for take in (pool.get_next, pool.get_next_unordered, lambda: pool.map(str, [])):
                real, struck = getattr(raynb, step), []

                def late(*args: Any, **kwargs: Any) -> Any:
                    if not struck:
                        struck.append(True)
                        signal.raise_signal(signal.SIGALRM)
                    return real(*args, **kwargs)

                raynb.wait([pool._running[0][0]])
                with monkeypatch.context() as patch, pytest.raises(TimeoutError, match="alarm"):
                    patch.setattr(f"raynb.util.actor_pool.ray.{step}", late)
                    take()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pool.get_next(timeout=60) == 2


def test_a_call_may_return_several_refs(raynb_runtime: Any) -> None:
    pool = ActorPool([Worker.remote(), Worker.remote()])

    def pair(actor: Any, value: int) -> Any:
        return actor.pair.remote(value)

    assert list(pool.map(pair, [1, 2, 3])) == [[1, 2], [2, 4], [3, 6]]
    assert sorted(pool.map_unordered(pair, [1, 2, 3])) == [[1, 2], [2, 4], [3, 6]]
    pool.submit(pair, 4)
    assert pool.get_next(timeout=60) == [4, 8]
    pool.submit(lambda actor, _: [], None)
    assert pool.get_next_unordered(timeout=60) == []
    pool.submit(pair, 5)
    assert list(pool.map_unordered(pair, [6])) == [[6, 12]]  # what nobody took is dropped


def test_a_call_that_cannot_be_waited_for_is_over_with_its_error(raynb_runtime: Any) -> None:
    pool = ActorPool([Worker.remote()])
    for timeout in (None, 60):
        for take in (pool.get_next, pool.get_next_unordered):
            pool.submit(lambda actor, value: value, {"no": "ref"})
            with pytest.raises(ValueError, match="dict"):
                take(timeout=timeout)
            assert pool.has_free()
    pool.submit(lambda actor, value: value, None)
    assert list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2])) == [2, 4]
    pool.submit(lambda actor, value: actor.double.remote(value), 3)
    with pytest.raises(ValueError, match="nonnegative"):
        pool.get_next(timeout=-1)  # the caller's mistake, and no call's
    assert pool.get_next_unordered(timeout=60) == 6


def test_the_calls_of_a_runtime_that_is_gone_end() -> None:
    with raynb.Runtime(num_cpus=1):
        pool = ActorPool([Worker.remote(), Worker.remote()])
        for value in range(2):
            pool.submit(lambda actor, value: actor.double.remote(value), value)
    for take in (pool.get_next, lambda: pool.get_next_unordered(timeout=60)):
        with pytest.raises(raynb.exceptions.RuntimeGoneError):
            take()
    assert not pool.has_next()


def test_a_call_out_of_turn_loses_the_order(raynb_runtime: Any) -> None:
    pool = ActorPool([Worker.remote(), Worker.remote()])
    for i in range(3):
        pool.submit(lambda a, v: a.double.remote(v), i)
    taken = {pool.get_next_unordered() for _ in range(3)}
    assert taken == {0, 2, 4}
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_results_nobody_took_do_not_reach_the_next_map(raynb_runtime: Any) -> None:
    pool = ActorPool([Worker.remote()])
    pool.submit(lambda a, v: a.double.remote(v), 100)
    assert list(pool.map(lambda a, v: a.double.remote(v), [1, 2])) == [2, 4]


def test_imap_is_lazy(raynb_runtime: Any) -> None:
    with Pool(2) as pool:
        squares = pool.imap(lambda x: x * x, itertools.count())
        assert [next(squares) for _ in range(10)] == [x * x for x in range(10)]


def test_imap_gives_errors_in_their_place(raynb_runtime: Any) -> None:
    def invert(x: int) -> float:
        return 1 / x

    with Pool(2) as pool:
        results = pool.imap(invert, [1, 0, 2])
        assert next(results) == 1.0
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert next(results) == 0.5
        with pytest.raises(StopIteration):
            next(results)


def test_a_timeout_of_next_loses_nothing(raynb_runtime: Any, tmp_path: Any) -> None:
    gate = tmp_path / "gate"

    def held(x: int) -> int:
        while not gate.exists():
            time.sleep(0.01)
        return x

    with Pool(1) as pool:
        results = pool.imap(held, [7])
        with pytest.raises(multiprocessing.TimeoutError):
            results.next(timeout=0.05)
        gate.touch()
        assert results.next(timeout=60) == 7


def test_callbacks_are_called_once_with_everything(raynb_runtime: Any) -> None:
    good: list[Any] = []
    bad: list[BaseException] = []
    with Pool(2) as pool:
        pool.map_async(str, range(5), callback=good.append, error_callback=bad.append).wait(60)
        failing = pool.map_async(int, ["1", "x"], callback=good.append, error_callback=bad.append)
        failing.wait(60)
        assert not failing.successful()
    assert good == [["0", "1", "2", "3", "4"]]
    assert [type(error) for error in bad] == [ValueError]


def test_a_closed_pool_refuses_and_ends(raynb_runtime: Any) -> None:
    pool = Pool(1)
    result = pool.apply_async(os.getpid)
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(os.getpid)
    pool.join()
    assert isinstance(result.get(), int)


def test_pools_of_bad_sizes_say_what_there_is(raynb_runtime: Any) -> None:
    with pytest.raises(ValueError, match="4 CPUs"):
        Pool(5)
    with pytest.raises(ValueError, match=">0"):
        Pool(0)
    with Pool(1) as pool, pytest.raises(ValueError, match="chunksize"):
        pool.map(str, [1], chunksize=0)


def test_a_full_and_an_empty_queue(raynb_runtime: Any) -> None:
    queue = Queue(maxsize=1, actor_options={"num_cpus": 0})
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.put(1)
    with pytest.raises(Full):
        queue.put_nowait(2)
    with pytest.raises(Full):
        queue.put(2, timeout=0.02)
    assert queue.get() == 1
    with pytest.raises(ValueError, match="non-negative"):
        queue.put(1, timeout=-1)


def test_a_put_that_waits_goes_through_when_there_is_room(raynb_runtime: Any) -> None:
    queue = Queue(maxsize=1)
    queue.put("first")

    @raynb.remote
    def second(q: Queue) -> None:
        q.put("second")

    putting = second.remote(queue)
    assert queue.get(timeout=60) == "first"
    raynb.get(putting)
    assert queue.get(timeout=60) == "second"


def test_a_queue_that_was_shut_down_says_so(raynb_runtime: Any) -> None:
    queue = Queue()
    queue.shutdown()
    queue.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        len(queue)


@pytest.mark.parametrize("end", ["close", "terminate", "join"])
def test_a_pool_whose_runtime_is_gone_can_be_ended(end: str) -> None:
    with raynb.Runtime(num_cpus=1):
        pool = Pool(1)
        assert pool.map(abs, [-1]) == [1]
        if end == "join":
            pool.close()
    getattr(pool, end)()
    assert not raynb.is_initialized()
