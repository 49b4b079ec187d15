"""`Executor` and the joblib backend on the running engine."""

from __future__ import annotations

import concurrent.futures
import gc
import inspect
import multiprocessing
import os
import pickle
import threading
import time
import warnings
import weakref
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.testing.leaks import until
from raynb.util import Executor
from raynb.util.multiprocessing import Pool

pytestmark = pytest.mark.raynb(num_cpus=2)


def hold(gate: Path, started: Path | None = None) -> str:
    if started is not None:
        started.touch()
    while not gate.exists():
        time.sleep(0.01)  # not `Event.wait`: a cancel in there may come out as a RuntimeError of its lock
    return "through"


def test_results_and_errors(raynb_runtime: Any) -> None:
    with Executor() as pool:
        assert pool.submit(pow, 2, 5).result(timeout=60) == 32
        failed = pool.submit(int, "x")
        assert isinstance(failed.exception(timeout=60), ValueError)
        assert pool.submit(os.getpid).result() != os.getpid()


def test_refs_arrive_as_values(raynb_runtime: Any) -> None:
    with Executor() as pool:
        first = pool.submit(pow, 3, 2)
        assert pool.submit(pow, first.ref, 2).result(timeout=60) == 81


def test_map_keeps_order_with_and_without_chunks(raynb_runtime: Any) -> None:
    with Executor(max_workers=2) as pool:
        assert list(pool.map(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]
        assert list(pool.map(str, range(7), chunksize=3)) == list("0123456")
        with pytest.raises(ValueError, match="chunksize"):
            pool.map(str, [], chunksize=0)


def test_as_completed_of_the_standard_library(raynb_runtime: Any) -> None:
    with Executor(num_cpus=0.5) as pool:
        futures = [pool.submit(abs, -i) for i in range(10)]
        assert {f.result() for f in concurrent.futures.as_completed(futures, timeout=60)} == set(range(10))


def test_no_more_than_max_workers_at_once(raynb_runtime: Any, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", [tmp_path / "a", tmp_path / "b"]
    with Executor(max_workers=1) as pool:
        futures = [pool.submit(hold, gate, one) for one in started]
        assert until(started[0].exists)
        assert [future.running() for future in futures] == [True, False]
        assert futures[1].ref is None
        gate.touch()
        assert [future.result(timeout=60) for future in futures] == ["through", "through"]
    assert not any(future.running() for future in futures)


def test_the_error_of_a_dead_worker_is_caught_by_either_name(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    with Executor(max_retries=0) as pool:
        died = pool.submit(os._exit, 3).exception(timeout=60)
        assert pool.submit(abs, -1).result(timeout=60) == 1  # the executor goes on
        inside = pool.submit(inner_crash).exception(timeout=60)
    with joblib.parallel_config("ray", n_jobs=2, ray_remote_args={"max_retries": 0}):
        with pytest.raises(BrokenProcessPool) as caught:
            joblib.Parallel(batch_size=1)(joblib.delayed(os._exit)(3) for _ in range(2))
    for error in (died, inside, caught.value, pickle.loads(pickle.dumps(died))):
        assert isinstance(error, raynb.exceptions.WorkerCrashedError)
        assert isinstance(error, BrokenProcessPool)
        assert "died" in str(error)


def inner_crash() -> None:
    with Executor(max_retries=0) as pool:
        pool.submit(os._exit, 3).result(timeout=60)


def test_a_running_task_can_be_cancelled(raynb_runtime: Any, tmp_path: Path) -> None:
    with Executor() as pool:
        future = pool.submit(hold, tmp_path / "never")
        assert future.cancel()
        assert future.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        with pytest.raises(raynb.exceptions.TaskCancelledError):
            raynb.get(future.ref, timeout=60)
        done = pool.submit(abs, -1)
        assert done.result(timeout=60) == 1
        assert not done.cancel()


def test_a_waiting_future_is_passed_over_when_cancelled(raynb_runtime: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Executor(max_workers=1) as pool:
        first, second, third = (pool.submit(hold, gate) for _ in range(3))
        assert second.cancel()
        gate.touch()
        assert first.result(timeout=60) == third.result(timeout=60) == "through"


def test_after_shutdown_nothing_is_taken(raynb_runtime: Any, tmp_path: Path) -> None:
    pool = Executor()
    left = pool.submit(hold, tmp_path / "never")
    pool.shutdown(cancel_futures=True)
    assert left.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    with pytest.raises(ValueError, match="max_workers"):
        Executor(max_workers=0)


def test_an_argument_that_cannot_travel_fails_its_future(raynb_runtime: Any) -> None:
    with Executor(max_workers=1) as pool:
        assert isinstance(pool.submit(str, threading.Lock()).exception(timeout=60), TypeError)
        assert pool.submit(abs, -2).result(timeout=60) == 2


def test_an_initializer_runs_once_in_each_worker_before_its_tasks(raynb_runtime: Any, tmp_path: Path) -> None:
    def prepare(folder: Path, name: str) -> None:
        folder.joinpath(str(os.getpid())).open("a").write(name)

    def seen(folder: Path) -> str:
        return folder.joinpath(str(os.getpid())).read_text()

    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    with Executor(initializer=prepare, initargs=(folders[0], "one.")) as pool:
        assert set(pool.map(seen, [folders[0]] * 6)) == {"one."}
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    with joblib.parallel_config("ray", initializer=prepare, initargs=(folders[1], "two.")):
        assert set(joblib.Parallel(batch_size=1)(joblib.delayed(seen)(folders[1]) for _ in range(6))) == {"two."}
    if "backend_kwargs" in inspect.signature(joblib.Parallel.__init__).parameters:  # from 1.5 on
        setup = {"initializer": prepare, "initargs": (folders[2], "three.")}
        with joblib.Parallel(2, backend="ray", batch_size=1, **setup) as parallel:
            assert set(parallel(joblib.delayed(seen)(folders[2]) for _ in range(6))) == {"three."}
    with pytest.raises(TypeError, match="num_cpus.*ray_remote_args="):
        joblib.parallel_config("ray", num_cpus=1)
    with pytest.raises(TypeError, match="num_cpus"):
        joblib.Parallel(2, backend="ray", num_cpus=1)([joblib.delayed(abs)(-1)])
    with pytest.raises(TypeError, match="callable"):
        Executor(initializer=3)  # type: ignore[arg-type]
    with Executor(initializer=int, initargs=("x",)) as pool:
        failed = pool.submit(abs, -1).exception(timeout=60)
    assert isinstance(failed, concurrent.futures.BrokenExecutor)
    assert "ValueError: invalid literal" in str(failed)


def test_proxies_of_a_manager_reach_it_from_the_workers(raynb_runtime: Any) -> None:
    def count(seen: Any, number: int) -> None:
        seen.append(number)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from 3.12 on
        manager = multiprocessing.get_context("fork").Manager()
    with manager:
        seen = manager.list()
        with Executor() as executor, Pool(2) as pool:
            list(executor.map(count, [seen] * 3, range(3)))
            pool.starmap(count, [(seen, number) for number in range(3, 6)])
            raynb.get(raynb.remote(count).remote(seen, 6))
        assert sorted(seen) == list(range(7))
    del manager, seen
    gc.collect()  # Python 3.12 leaves a circle that holds its pipes


def test_joblib_runs_on_workers_and_shares_large_arguments(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    data = b"x" * 300_000

    def work(blob: bytes, i: int) -> tuple[int, int, int]:
        return len(blob), i, os.getpid()

    with joblib.parallel_config("ray", n_jobs=2):
        rows = joblib.Parallel()(joblib.delayed(work)(data, i) for i in range(20))
    assert [row[:2] for row in rows] == [(300_000, i) for i in range(20)]
    assert os.getpid() not in {row[2] for row in rows}


def test_joblib_shares_what_is_large_inside_an_argument_and_reads_refs(
    raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    joblib = pytest.importorskip("joblib")
    np = pytest.importorskip("numpy")
    from raynb.util.joblib import backend, register_ray

    register_ray()
    weights, shift = np.ones(20_000), raynb.put(np.full(1, 5.0))
    model, put, real = {"layers": [[weights]]}, [], backend.ray.put
    monkeypatch.setattr(backend.ray, "put", lambda value: put.append(value) or real(value))

    def work(model: Any, shift: Any, i: int) -> float:
        model["layers"][0][0][0] += 1  # it is the task's own
        return float(model["layers"][0][0][0] + shift[0] + i)

    found = joblib.Parallel(2, backend="ray", batch_size=1)(joblib.delayed(work)(model, shift, i=i) for i in range(6))
    assert found == [7.0 + i for i in range(6)]
    assert put
    assert all(one.value is model for one in put)
    assert weights.sum() == 20_000


def test_joblib_keeps_no_large_argument_longer_than_the_batches_that_use_it(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    np = pytest.importorskip("numpy")
    from raynb.util.joblib import register_ray

    register_ray()
    alive: list[Any] = []

    def inputs() -> Any:
        for number in range(30):
            large = np.full(100_000, number)
            alive.append(weakref.ref(large))
            yield joblib.delayed(np.max)(large)
            del large
            most.append(sum(one() is not None for one in alive))

    most: list[int] = []
    assert joblib.Parallel(n_jobs=2, backend="ray", batch_size=1)(inputs()) == list(range(30))
    assert max(most) < 15  # those of the batches under way; before, all 30


def test_joblib_inside_a_task_finds_the_backend_by_its_name(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()

    def below(n: int) -> int:
        return sum(joblib.Parallel(n_jobs=2, backend="ray")(joblib.delayed(abs)(-i) for i in range(n)))

    with joblib.parallel_config("ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(below)(n) for n in range(4)) == [0, 0, 1, 3]


def test_a_parallel_called_while_another_takes_its_items_neither_blocks_nor_cancels_it(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    with joblib.parallel_config("ray", n_jobs=2):  # one backend for all runs below

        def items() -> Any:
            for i in range(8):
                with pytest.raises(ZeroDivisionError):
                    joblib.Parallel(batch_size=1)(joblib.delayed(divmod)(1, one) for one in (1, 0))
                yield joblib.delayed(sum)(joblib.Parallel()(joblib.delayed(abs)(-j) for j in range(i)))

        assert joblib.Parallel(batch_size=1)(items()) == [sum(range(i)) for i in range(8)]


def test_a_parallel_inside_a_joblib_task_runs_in_threads_as_with_joblibs_own_backends(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from joblib.parallel import get_active_backend

    from raynb.util.joblib import register_ray

    register_ray()

    def active() -> tuple[str, int]:
        backend = get_active_backend()[0]
        return type(backend).__name__, backend.nesting_level

    def inner() -> tuple[Any, ...]:
        meet = threading.Barrier(2, timeout=60)  # passed only if both run at once
        joblib.Parallel(n_jobs=2)(joblib.delayed(meet.wait)() for _ in range(2))
        return (*active(), *joblib.Parallel(n_jobs=2)(joblib.delayed(active)() for _ in range(2)))

    with joblib.parallel_config("ray"):
        assert joblib.Parallel()._effective_n_jobs() == joblib.effective_n_jobs() == 2  # all CPUs, without n_jobs=
        for found in joblib.Parallel()(joblib.delayed(inner)() for _ in range(2)):
            assert found == ("ThreadingBackend", 1, ("SequentialBackend", 2), ("SequentialBackend", 2))


def test_joblib_in_a_daemonic_fork_runs_one_after_the_other_and_says_so(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()

    def inside(answers: Any) -> None:
        with pytest.warns(UserWarning, match="setting n_jobs=1"):
            answers.send(joblib.Parallel(n_jobs=2, backend="ray")(joblib.delayed(abs)(-i) for i in range(3)))

    context = multiprocessing.get_context("fork")
    answers, theirs = context.Pipe(duplex=False)
    child = context.Process(target=inside, args=(theirs,), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from 3.12 on
        child.start()
    theirs.close()
    assert answers.recv() == [0, 1, 2]
    child.join(60)
    assert child.exitcode == 0
    child.close()
    answers.close()


def test_joblib_raises_what_the_function_raised(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()

    def fail(i: int) -> int:
        return 1 // i

    with joblib.parallel_config("raynb", n_jobs=-1), pytest.raises(ZeroDivisionError):
        joblib.Parallel()(joblib.delayed(fail)(i) for i in range(4))
