"""Daft's quickstart under `raynb.as_ray`, and frames in tasks."""

import datetime

import raynb

ray = raynb.as_ray()
import daft  # noqa: E402
from daft import col  # noqa: E402

frame = daft.from_pydict({
    "integers": [1, 2, 3, 4], "floats": [1.5, 2.5, 3.5, 4.5], "bools": [True, True, False, False],
    "dates": [datetime.date(1994, 1, day) for day in (1, 2, 3, 4)], "lists": [[1], [2, 2], [3, 3, 3], [4]],
})  # fmt: skip
chosen = frame.where(col("integers") > 2).select("integers", (col("floats") * 2).alias("twice"))
assert chosen.to_pydict() == {"integers": [3, 4], "twice": [7.0, 9.0]}
sums = frame.groupby("bools").agg(col("integers").sum()).sort("bools")
assert sums.to_pydict() == {"bools": [False, True], "integers": [7, 3]}


@ray.remote
def part(low, high):
    """Returns the sum of a range, which Daft computes."""
    import daft

    return daft.from_pydict({"n": list(range(low, high))}).agg(daft.col("n").sum()).to_pydict()["n"][0]


assert sum(ray.get([part.remote(n, n + 10) for n in range(0, 40, 10)])) == sum(range(40))
print("3 passed")
