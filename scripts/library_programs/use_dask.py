"""Dask on `raynb.util.dask`: delayed, a bag, an array, a frame with a shuffle, persist, the executor as its pool."""

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd

import raynb as ray
from raynb.util import Executor
from raynb.util.dask import enable_dask_on_ray

enable_dask_on_ray()
inc, total = dask.delayed(lambda x: x + 1), dask.delayed(sum)
assert total([inc(i) for i in range(20)]).compute() == sum(range(1, 21))

words = db.from_sequence(["one", "two", "two", "three"] * 50, npartitions=4)
assert dict(words.frequencies()) == {"one": 50, "two": 100, "three": 50}

a = np.arange(90_000, dtype=float).reshape(300, 300)
blocks = da.from_array(a, chunks=100)
assert np.array_equal((blocks + blocks.T).compute(), a + a.T)
assert np.allclose((blocks @ blocks).compute(), a @ a)

frame = pd.DataFrame({"key": np.arange(10_000) % 7, "n": np.arange(10_000), "other": np.arange(10_000) % 11})
parts = dd.from_pandas(frame, npartitions=4)
expected = frame.groupby("key").n.sum()
assert parts.groupby("key").n.sum().compute().sort_index().tolist() == expected.tolist()
shuffled = parts.shuffle("other").map_partitions(len).compute()
assert sum(shuffled) == len(frame)
small = pd.DataFrame({"key": range(7), "name": list("abcdefg")})
merged = parts.merge(small, on="key").compute().sort_values("n").reset_index(drop=True)
pd.testing.assert_frame_equal(
    merged.astype({"name": object}), frame.merge(small, on="key").sort_values("n").reset_index(drop=True)
)

kept = blocks.sum(axis=0).persist()
assert any(isinstance(value, ray.ObjectRef) for value in kept.dask.values())
assert np.array_equal(kept.compute(), a.sum(axis=0))

with Executor() as pool, dask.config.set(scheduler="threads", pool=pool):
    assert total([inc(i) for i in range(20)]).compute() == sum(range(1, 21))
print("8 passed")
