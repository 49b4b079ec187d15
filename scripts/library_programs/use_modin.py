"""Modin on Ray's engine under `raynb.as_ray`: frames of 200,000 rows, each result equal to that of pandas."""

import os
import tempfile

import numpy as np
import pandas

import raynb

os.environ.setdefault("MODIN_ENGINE", "ray")
raynb.as_ray()
raynb.init(num_cpus=2, log_to_driver=False)
import modin.pandas as pd  # noqa: E402
from modin.config import Engine  # noqa: E402

assert Engine.get() == "Ray"
ROWS = 200_000
random = np.random.default_rng(0)
plain = pandas.DataFrame({
    "key": random.integers(0, 50, ROWS), "word": random.choice(["a", "b", "c", None], ROWS), "n": np.arange(ROWS),
    "x": random.normal(size=ROWS), "y": np.where(random.random(ROWS) < 0.1, np.nan, random.normal(size=ROWS)),
    "when": pandas.Timestamp(2024, 1, 1) + pandas.to_timedelta(random.integers(0, 10**6, ROWS), unit="s"),
})  # fmt: skip
right = pandas.DataFrame({"key": np.arange(0, 60, 2), "name": [f"k{i}" for i in range(0, 60, 2)]})
USES = {
    "a mean of each column": lambda pd, f, r: f[["n", "x", "y"]].mean(),
    "describe": lambda pd, f, r: f.describe(),
    "a filter": lambda pd, f, r: f[(f.x > 0) & f.word.isin(["a", "b"])],
    "a new column": lambda pd, f, r: f.assign(z=f.x * 2 + f.y.fillna(0)),
    "groupby, sum": lambda pd, f, r: f.groupby("key")[["n", "x"]].sum(),
    "groupby, several": lambda pd, f, r: f.groupby(["key", "word"]).agg({"x": ["mean", "max"], "n": "count"}),
    "groupby, apply": lambda pd, f, r: f.groupby("key")[["x", "n"]].apply(lambda g: g.x.max() - g.n.min()),
    "groupby, transform": lambda pd, f, r: f.groupby("key").x.transform("mean"),
    "merge, inner": lambda pd, f, r: f.merge(r, on="key").sort_values("n").reset_index(drop=True),
    "merge, left": lambda pd, f, r: f.merge(r, on="key", how="left"),
    "apply to rows": lambda pd, f, r: f[["n", "x"]].head(20_000).apply(lambda row: row.n * row.x, axis=1),
    "apply to columns": lambda pd, f, r: f[["n", "x"]].apply(lambda column: column.max() - column.min()),
    "map": lambda pd, f, r: f.x.map(lambda value: round(value, 2)),
    "sort": lambda pd, f, r: f.sort_values(["key", "n"], ascending=[True, False]),
    "value_counts": lambda pd, f, r: f.word.value_counts(),
    "drop_duplicates": lambda pd, f, r: f.drop_duplicates(["key", "word"]),
    "a pivot table": lambda pd, f, r: f.pivot_table("x", "key", "word", "mean"),
    "strings": lambda pd, f, r: f.word.str.upper(),
    "dates": lambda pd, f, r: f.when.dt.floor("D").value_counts().sort_index(),
    "a rolling mean": lambda pd, f, r: f.x.rolling(7).mean(),
    "cumsum": lambda pd, f, r: f[["n", "x"]].cumsum(),
    "concat": lambda pd, f, r: pd.concat([f, f.head(10)], ignore_index=True),
    "rows by position": lambda pd, f, r: f.iloc[1000:199_000:777, [0, 3]],
    "quantile": lambda pd, f, r: f[["x", "y"]].quantile([0.1, 0.5]),
    "astype": lambda pd, f, r: f.astype({"key": "float32", "n": "int32"}),
    "melt": lambda pd, f, r: f[["n", "x", "y"]].head(5000).melt("n"),
    "corr": lambda pd, f, r: f[["n", "x", "y"]].corr(),
}  # fmt: skip


def same(one, other):
    """Asserts that a result of Modin's equals pandas', to what another order of adding floats changes."""
    one = one._to_pandas()
    assert type(one) is type(other)
    kind = "frame" if isinstance(other, pandas.DataFrame) else "series"
    getattr(pandas.testing, f"assert_{kind}_equal")(one, other, rtol=1e-9, atol=1e-9)


with tempfile.TemporaryDirectory() as folder:
    plain.to_csv(f"{folder}/rows.csv", index=False)
    plain.to_parquet(f"{folder}/rows.parquet")
    frame = pd.read_parquet(f"{folder}/rows.parquet")
    same(frame, plain)
    dates = {"parse_dates": ["when"]}
    same(pd.read_csv(f"{folder}/rows.csv", **dates), pandas.read_csv(f"{folder}/rows.csv", **dates))
    frame.to_csv(f"{folder}/again.csv", index=False)
    with open(f"{folder}/rows.csv", "rb") as one, open(f"{folder}/again.csv", "rb") as other:
        assert one.read() == other.read()
    passed = 3
for name, use in USES.items():
    try:
        same(use(pd, frame, pd.DataFrame(right)), use(pandas, plain, right))
    except Exception as error:
        error.add_note(f"in the use {name!r}")
        raise
    passed += 1
print(f"{passed} passed")
