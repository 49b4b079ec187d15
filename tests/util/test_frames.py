"""Frames in parallel give what the serial calls give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raynb.util import frames

pytestmark = pytest.mark.raynb(num_cpus=2)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    chance = np.random.default_rng(0)
    return pd.DataFrame(
        {"city": chance.choice(["Bern", "Oslo", "Rome", None], 400), "year": chance.integers(2000, 2004, 400),
         "value": chance.normal(size=400)}, index=chance.permutation(400),
    )  # fmt: skip


def describe(rows: pd.DataFrame) -> pd.Series:
    return pd.Series({"n": len(rows), "mean": rows.value.mean()})


def largest(rows: pd.DataFrame, count: int = 2) -> pd.DataFrame:
    return rows.nlargest(count, "value")


def centred(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows.value - rows.value.mean())


def test_apply_is_pandas_apply(raynb_runtime: Any, table: pd.DataFrame) -> None:
    def double(row: Any, plus: float = 0) -> float:
        return row.value * 2 + plus

    pd.testing.assert_series_equal(frames.apply(table, double, plus=1), table.apply(double, axis=1, plus=1))
    pd.testing.assert_frame_equal(
        frames.apply(table, lambda row: pd.Series([row.value, row.year]), blocks=3),
        table.apply(lambda row: pd.Series([row.value, row.year]), axis=1),
    )
    pd.testing.assert_series_equal(frames.apply(table.value, abs), table.value.apply(abs))
    pd.testing.assert_series_equal(frames.apply(table.iloc[:1], double), table.iloc[:1].apply(double, axis=1))
    with pytest.raises(ValueError, match="works on rows"):
        frames.apply(table, len, axis=0)
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        frames.apply(table, double, blocks=0)


@pytest.mark.parametrize(
    "options", [{}, {"sort": False}, {"group_keys": False}, {"dropna": False}, {"sort": False, "group_keys": False}]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_groups_are_pandas_groups(raynb_runtime: Any, table: pd.DataFrame, options: dict[str, Any]) -> None:
    for by in ("city", ["city", "year"]):
        for func in (describe, largest, centred):
            serial = table.groupby(by, **options).apply(func)
            pd.testing.assert_frame_equal(frames.groupby(table, by, blocks=3, **options).apply(func), serial)


def test_groups_take_names_of_columns(raynb_runtime: Any, table: pd.DataFrame) -> None:
    with pytest.raises(TypeError, match="the frame has \\['city', 'year', 'value'\\]"):
        frames.groupby(table, "town")
    with pytest.raises(ValueError, match="reset_index"):
        frames.groupby(table, "city", as_index=False)


@pytest.mark.parametrize("wanted", ["default", "pandas", "numpy", "pyarrow"])
def test_batches_are_put_together_in_order(raynb_runtime: Any, table: pd.DataFrame, wanted: str) -> None:
    def keep(batch: Any, factor: int) -> Any:
        if wanted == "numpy":
            assert isinstance(batch["value"], np.ndarray)
            return {"value": batch["value"] * factor}
        if wanted == "pyarrow":
            return batch
        return batch.assign(value=batch.value * factor)

    made = frames.map_batches(table, keep, batch_size=70, batch_format=wanted, fn_args=(3,))
    factor = 1 if wanted == "pyarrow" else 3
    assert np.array_equal(made.value.to_numpy(), table.value.to_numpy() * factor)


def test_batches_have_the_size_that_was_asked_for(raynb_runtime: Any, table: pd.DataFrame) -> None:
    sizes = frames.map_batches(table, lambda batch: pd.DataFrame({"n": [len(batch)]}), batch_size=150)
    assert sizes.n.tolist() == [150, 150, 100]
    for wrong, text in (({"batch_format": "excel"}, "batch_format is one of"), ({"batch_size": 0}, "at least 1")):
        with pytest.raises(ValueError, match=text):
            frames.map_batches(table, len, **wrong)
    with pytest.raises(TypeError, match="pandas and polars frames, got list"):
        frames.map_batches([1], len)


def test_what_takes_pandas_only_says_what_polars_has(raynb_runtime: Any) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"k": [1, 1, 2], "v": [1, 2, 3]})
    doubled = frames.map_batches(frame, lambda batch: batch.with_columns(w=polars.col("v") * 2))
    assert doubled["w"].to_list() == [2, 4, 6]
    with pytest.raises(TypeError, match=r"map_batches\(frame, lambda batch: batch.map_rows"):
        frames.apply(frame, sum)
    with pytest.raises(TypeError, match="group_by"):
        frames.groupby(frame, "k")
