"""Drop-ins for other libraries give their functions arrays that they may write to, and so results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import raynb
from raynb.util import Executor
from raynb.util.multiprocessing import Pool

pytestmark = pytest.mark.raynb(num_cpus=2)


def _change(array: Any) -> Any:
    array[0] = 7.0
    return array


def test_values_of_drop_ins_are_writable_and_shared_with_nobody(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    for size in (10, 300_000):
        array = np.zeros(size)
        with Executor() as executor:
            found = [executor.submit(_change, array).result(), *executor.map(_change, [array])]
        with Pool(2) as pool:
            found += [*pool.map(_change, [array]), pool.apply(_change, (array,))]
        with joblib.parallel_backend("ray"):
            found += joblib.Parallel(n_jobs=2)(joblib.delayed(_change)(array) for _ in range(2))
        for result in found:
            assert result[0] == 7.0
            result[1] = 8.0
        assert not array.any()
        assert not raynb.get(raynb.put(array)).flags.writeable


def _add(array: Any) -> float:
    array += 1
    return float(array[0])


def _grow(values: list[int]) -> int:
    values.append(1)
    return len(values)


def test_large_arguments_of_a_joblib_batch_are_shared_with_nobody(raynb_runtime: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    array, many, ref = np.zeros(300_000), list(range(50_000)), raynb.put([0])

    def ran(function: Any, value: Any) -> list[Any]:
        run = joblib.Parallel(n_jobs=2, batch_size=4, backend="ray")
        return list(run(joblib.delayed(function)(value) for _ in range(8)))

    assert ran(_add, array) == [1.0] * 8
    assert ran(_grow, many) == [50_001] * 8
    assert ran(_grow, ref) == [2] * 8
    assert ran(len, "text" * 50_000) == [200_000] * 8
    same = joblib.Parallel(n_jobs=2, batch_size=2, backend="ray")
    assert same(joblib.delayed(_is_same)(array, other=array) for _ in range(4)) == [True] * 4
    assert not array.any()


def _is_same(one: Any, other: Any) -> bool:
    return one is other


def test_scikit_learn_runs_on_the_backend(raynb_runtime: Any) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    from sklearn import linear_model
    from sklearn import model_selection as selection

    joblib = pytest.importorskip("joblib")
    from raynb.util.joblib import register_ray

    register_ray()
    points = np.random.default_rng(1).normal(size=(600, 3))
    alone = cluster.DBSCAN(eps=0.4, n_jobs=1).fit(points)
    search = selection.GridSearchCV(linear_model.RidgeClassifier(), {"alpha": [0.01, 1.0, 100.0]}, cv=3)
    scores = search.fit(points, alone.labels_ > 0).cv_results_["mean_test_score"].tolist()
    with joblib.parallel_config("ray"):
        together = cluster.DBSCAN(eps=0.4, n_jobs=2).fit(points)
        assert search.fit(points, alone.labels_ > 0).cv_results_["mean_test_score"].tolist() == scores
        cluster.KMeans(3, n_init=2, random_state=1).fit(points)
    assert (alone.labels_ == together.labels_).all()
