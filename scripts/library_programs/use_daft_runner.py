"""Daft's Ray runner under `raynb.as_ray`; apart from `use_daft`, since a process has one runner for its life."""

import raynb

ray = raynb.as_ray()
import daft  # noqa: E402
from daft import col  # noqa: E402

daft.set_runner_ray()
twice = daft.func(lambda value: 2 * value, return_dtype=daft.DataType.int64())
frame = daft.from_pydict({"n": [1, 2, 3, 4], "even": [False, True, False, True]})
assert frame.groupby("even").agg(col("n").sum()).sort("even").to_pydict() == {"even": [False, True], "n": [4, 6]}
assert frame.with_column("twice", twice(col("n"))).into_partitions(2).to_pydict()["twice"] == [2, 4, 6, 8]
assert frame.join(frame, on="n").count_rows() == 4
assert frame.to_ray_dataset().count() == 4
assert list(frame.to_dask_dataframe().compute().n) == [1, 2, 3, 4]
print("4 passed")
