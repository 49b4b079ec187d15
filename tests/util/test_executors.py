"""`Executor` and the joblib backend on the running engine."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.util import Executor

pytestmark = pytest.mark.raynb(num_cpus=2)


def hold(gate: Path, started: Path | None = None) -> str:
    if started is not None:
        started.touch()
    while not gate.exists():
        threading.Event().wait(0.01)
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
        raynb.wait([futures[0].ref], timeout=0.2)
        assert futures[1].ref is None
        gate.touch()
        assert [future.result(timeout=60) for future in futures] == ["through", "through"]


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


def test_joblib_inside_a_task_finds_the_backend_by_its_name(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()

    def below(n: int) -> int:
        return sum(joblib.Parallel(n_jobs=2, backend="ray")(joblib.delayed(abs)(-i) for i in range(n)))

    with joblib.parallel_config("ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(below)(n) for n in range(4)) == [0, 0, 1, 3]


def test_joblib_raises_what_the_function_raised(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()

    def fail(i: int) -> int:
        return 1 // i

    with joblib.parallel_config("raynb", n_jobs=-1), pytest.raises(ZeroDivisionError):
        joblib.Parallel()(joblib.delayed(fail)(i) for i in range(4))


def test_a_grid_search_finds_the_same_as_alone(raynb_runtime: Any) -> None:
    pytest.importorskip("sklearn")
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GridSearchCV

    from raynb.util.joblib import register_ray

    register_ray()
    x, y = load_iris(return_X_y=True)
    search = GridSearchCV(RidgeClassifier(), {"alpha": [0.01, 1.0, 100.0]}, cv=3)
    alone = search.fit(x, y).cv_results_["mean_test_score"].tolist()
    with joblib.parallel_config("ray"):
        together = search.fit(x, y).cv_results_["mean_test_score"].tolist()
    assert together == alone
