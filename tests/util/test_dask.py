"""Dask's graphs on raynb: a scheduler for Dask, in Ray's words."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import raynb
from raynb.testing import leaks

dask = pytest.importorskip("dask", reason="Dask is in the environment of the libraries")
import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import partd  # noqa: E402

from raynb.util import dask as on_ray  # noqa: E402
from raynb.util.dask import disable_dask_on_ray, enable_dask_on_ray, ray_dask_get  # noqa: E402

pytestmark = pytest.mark.raynb(num_cpus=2)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame({"k": np.arange(1000) % 7, "v": np.arange(1000.0)})


def test_collections_compute_what_dask_computes(raynb_runtime: Any, frame: pd.DataFrame) -> None:
    parts = dd.from_pandas(frame, npartitions=5)
    plain = np.arange(400).reshape(20, 20)
    square = da.from_array(plain, chunks=10)
    with enable_dask_on_ray():
        assert (square @ square.T).sum().compute() == (plain @ plain.T).sum()
        pd.testing.assert_series_equal(parts.groupby("k").v.mean().compute().sort_index(), frame.groupby("k").v.mean())
        assert len(parts.merge(parts.groupby("k").v.max().reset_index(), on="k").compute()) == 1000
        assert db.from_sequence(range(30), npartitions=4).map(lambda n: n * 2).sum().compute() == 870
        assert dask.compute([dask.delayed(sum)([1, 2]), {"a": dask.delayed(max)(3, 4)}]) == ([3, {"a": 4}],)


def test_results_may_be_written_to_as_with_dasks_own_schedulers(raynb_runtime: Any, frame: pd.DataFrame) -> None:
    given = np.arange(30_000.0)
    array, same = dask.compute(da.arange(6, chunks=6), dask.delayed(given), scheduler=ray_dask_get)
    array[0] = same[0] = 7
    assert (array[0], given[0]) == (7, 7)
    computed = dd.from_pandas(frame, npartitions=1).map_partitions(pd.DataFrame.copy).compute(scheduler=ray_dask_get)
    computed.iloc[0, 1] = 7.0
    assert computed.v[0] == 7.0


def test_shuffles_lose_no_group(raynb_runtime: Any, tmp_path: Path) -> None:
    bag = db.from_sequence(list(range(5)) * 3, npartitions=3)
    expected = [("even", [0, 2, 4] * 3), ("odd", [1, 3] * 3)]
    with dask.config.set(temporary_directory=str(tmp_path)):
        groups = bag.groupby(lambda n: "odd" if n % 2 else "even", shuffle="disk")
    assert sorted(groups.compute(scheduler=ray_dask_get)) == expected
    assert not list(tmp_path.iterdir())  # the caller has removed the shuffle's folder
    assert dask.config.get("dataframe.shuffle.method", None) is None
    with enable_dask_on_ray():
        assert dask.config.get("dataframe.shuffle.method") == "tasks"
        assert sorted(bag.groupby(lambda n: "odd" if n % 2 else "even").compute()) == expected


def test_the_store_of_a_shuffle_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    store, made = on_ray._run_store._function(lambda _: partd.File(dir=tmp_path), ())
    assert made == store.path
    assert not partd.file.cleanup_files  # the end of the process that made it removes nothing that others read
    written = pickle.loads(pickle.dumps(store))  # the end of the first store empties the folder; this one's does not
    written.append({"a": b"1"})
    del store
    assert written.get("a") == b"1"


def test_a_folder_of_the_users_is_not_removed(raynb_runtime: Any, tmp_path: Path) -> None:
    data = partd.File(str(tmp_path / "data"))
    data.append({"a": b"1"})
    store = dask.delayed(lambda: partd.File(data.path))(dask_key_name="partd")
    read = dask.delayed(lambda there: there.get("a"))(store)
    assert read.compute(scheduler=ray_dask_get) == b"1"
    assert data.get("a") == b"1"


def test_the_folder_goes_when_persisted_results_are_there(raynb_runtime: Any, tmp_path: Path) -> None:
    begun, goes_on = tmp_path / "begun", tmp_path / "goes on"
    folders = tmp_path / "folders"
    folders.mkdir()

    def read(there: Any, given: bytes) -> bytes:
        there.append({"a": given})
        begun.touch()
        while not goes_on.exists():
            time.sleep(0.01)
        return there.get("a")

    store = dask.delayed(lambda: partd.File(dir=str(folders)))(dask_key_name="partd-0123456789")
    both = [dask.delayed(read)(store, b"1"), dask.delayed(bytes)(2)]
    graph = {**both[0].__dask_graph__(), **both[1].__dask_graph__()}
    kept = ray_dask_get(graph, [one.key for one in both], ray_persist=True)
    assert raynb.get(kept[1]) == bytes(2)
    while not begun.exists():
        time.sleep(0.01)
    assert len(list(folders.iterdir())) == 1
    goes_on.touch()
    assert raynb.get(kept[0]) == b"1"
    for thread in threading.enumerate():
        if thread.name == "raynb-dask":
            thread.join(60)
    assert not list(folders.iterdir())


def test_cleaning_up_does_not_replace_the_error(raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the runtime has gone")

    monkeypatch.setattr(on_ray.ray, "wait", gone)
    store = dask.delayed(lambda: 1 / 0)(dask_key_name="partd")
    with pytest.raises(ZeroDivisionError):
        dask.delayed(str)(store).compute(scheduler=ray_dask_get)


def test_errors_are_the_tasks_own(raynb_runtime: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        dask.delayed(lambda: 1 / 0)().compute(scheduler=ray_dask_get)


def test_persisted_results_stay_refs_in_the_store(raynb_runtime: Any, frame: pd.DataFrame) -> None:
    with enable_dask_on_ray():
        kept = dd.from_pandas(frame, npartitions=4).persist()
        nodes = [getattr(node, "value", node) for node in dict(kept.__dask_graph__()).values()]
        assert sum(isinstance(node, raynb.ObjectRef) for node in nodes) == 4
        assert kept.v.sum().compute() == frame.v.sum()
        ones = da.ones(10, chunks=5).persist()  # the nodes that read an array's blocks are fused with them
        assert ((ones + 1).sum() + ones.sum()).compute() == 30
    disable_dask_on_ray()
    assert dask.config.get("scheduler", None) is not ray_dask_get


def test_intermediate_results_are_freed_and_options_reach_the_tasks(raynb_runtime: Any) -> None:
    with enable_dask_on_ray():
        total = da.ones((1000, 1000), chunks=(250, 250)).sum().compute()
    assert total == 1_000_000
    # A worker gives back what it held of an argument with its next message, which may come after the result.
    assert leaks.until(lambda: raynb.util.state.summarize_objects()["cluster"]["total_objects"] == 0)

    @dask.delayed
    def cpus() -> Any:
        return raynb.get_runtime_context().get_assigned_resources()

    assert cpus().compute(scheduler=ray_dask_get, ray_remote_args={"num_cpus": 2})["CPU"] == 2.0


def test_a_ref_given_to_a_delayed_function_arrives_as_its_value(raynb_runtime: Any) -> None:
    total = dask.delayed(sum)(raynb.put([1, 2, 3]))
    added = dask.delayed(lambda a, b, c: a + b + c)(total, raynb.put(4), c=raynb.put(5))
    assert added.compute(scheduler=ray_dask_get) == 15


def test_an_executor_is_a_pool_for_dask(raynb_runtime: Any) -> None:
    with raynb.util.Executor() as pool:
        assert dask.compute(dask.delayed(sum)([1, 2]), scheduler="threads", pool=pool) == (3,)
