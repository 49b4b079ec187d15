"""A view is stored without what it is a view of, and comes back equal."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raynb.serde import pickling, tables

ROWS = 50_000


def there_and_back(value: Any) -> tuple[Any, int, list[Any]]:
    """Returns (what is read, stored bytes, the stored buffers)."""
    packed = pickling.pack(value)
    buffers = [bytes(buffer) for buffer in packed.buffers]
    return pickling.unpack(packed.data, buffers), pickling.nbytes(packed), buffers


def _arrow_arrays(pa: Any) -> dict[str, Any]:
    numbers = pa.array(np.arange(ROWS))
    texts = pa.array([str(i) for i in range(ROWS)])
    alternating = pa.array([0, 1] * (ROWS // 2), pa.int8())
    halves = pa.array([i // 2 for i in range(ROWS)], pa.int32())
    return {
        "numbers": numbers,
        "texts": texts,
        "nulls": pa.array([1, None] * (ROWS // 2)),
        "flags": pa.array([True, False, None, True] * (ROWS // 4)),
        "binary": pa.array([b"ab"] * ROWS, pa.binary(2)),
        "string views": pa.array([f"a long text, number {i}" for i in range(ROWS)], pa.string_view()),
        "dictionary": pa.array(["a", "b"] * (ROWS // 2)).dictionary_encode(),
        "lists": pa.array([[i, i] for i in range(ROWS)]),
        "fixed lists": pa.array([[1, 2]] * ROWS, pa.list_(pa.int64(), 2)),
        "maps": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
        "structs": pa.StructArray.from_arrays([numbers, texts], ["a", "b"]),
        "unions": pa.UnionArray.from_sparse(alternating, [numbers, texts]),
        "dense unions": pa.UnionArray.from_dense(alternating, halves, [numbers[: ROWS // 2], texts[: ROWS // 2]]),
        "runs": pa.RunEndEncodedArray.from_arrays([100, ROWS], ["a", "b"]),
        "extension": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * ROWS, pa.binary(16))),
    }


def _arrow_forms(pa: Any) -> dict[str, Callable[[Any], Any]]:
    return {
        "array": lambda array: array,
        "chunked": lambda array: pa.chunked_array([array, array]),
        "batch": lambda array: pa.record_batch({"a": array}),
        "table": lambda array: pa.table({"a": array}, metadata={"made": "here"}),
        "slice of a table": lambda array: pa.table({"a": array, "b": array}).slice(1),
    }


def test_a_slice_of_arrow_s_is_stored_alone_and_comes_back_equal() -> None:
    pa = pytest.importorskip("pyarrow")
    for name, array in _arrow_arrays(pa).items():
        for form, make in _arrow_forms(pa).items():
            for part in (make(array.slice(7, 10)), make(array.slice(7, 0)), make(array)):
                read, size, _ = there_and_back(part)
                where = f"{form} of {name}"
                assert type(read) is type(part), where
                assert read.equals(part), where
                if hasattr(part, "schema"):
                    assert read.schema.equals(part.schema, check_metadata=True), where
                else:
                    assert read.type == part.type, where
                assert len(part) > 30 or size < 4_000, where


def test_a_whole_table_is_read_in_place() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": np.arange(ROWS), "b": [str(i) for i in range(ROWS)]})
    packed = pickling.pack(table)
    buffers = [bytes(buffer) for buffer in packed.buffers]
    before = pa.total_allocated_bytes()
    read = pickling.unpack(packed.data, buffers)
    assert read.equals(table)
    assert pa.total_allocated_bytes() == before
    assert tables.shrink(table) is table


def _numpy_views() -> dict[str, Any]:
    square = np.arange(1_000_000.0).reshape(1000, 1000)
    records = np.zeros(ROWS, dtype=[("a", "i8"), ("b", "f8")])
    return {
        "rows": square[3:5, :],
        "a column": square[:, 3],
        "a block": square[5:9, 5:9],
        "turned over": square[:4].T,
        "backwards": square[::-300],
        "columns of Fortran's": np.asfortranarray(square)[:, :2],
        "records": records[:10],
        "a field": records["a"][:10],
        "dates": np.arange(ROWS).astype("M8[s]")[5:9],
        "texts": np.array(["some text"] * ROWS)[:10],
        "objects": np.array([1, "a"] * ROWS, dtype=object)[:10],
        "masked": np.ma.masked_greater(square[0], 5)[:10],
    }


def _frame_views(pd: Any) -> dict[str, Any]:
    square = pd.DataFrame(np.arange(1_000_000.0).reshape(1000, 1000))
    mixed = pd.DataFrame({"n": np.arange(ROWS), "f": np.arange(ROWS) / 2, "t": [str(i) for i in range(ROWS)]})
    arrow = {"in Arrow's": mixed.convert_dtypes(dtype_backend="pyarrow")[100:110]} if importlib.util.find_spec(
        "pyarrow") else {}  # fmt: skip
    return {
        "rows": square[3:5],
        "a column of a block": square[7],
        "columns of a block": square.iloc[:, 3:5],
        "mixed rows": mixed[100:110],
        "a column": mixed["t"][100:110],
        "indexed by text": mixed.set_index("t")[100:110],
        "times": pd.Series(pd.date_range("2020", periods=ROWS, freq="s"))[5:9],
        "nullable": mixed["n"].astype("Int64")[5:9],
        **arrow,
    }


def test_views_of_numpy_and_pandas_are_stored_alone() -> None:
    for name, view in _numpy_views().items():
        read, size, _ = there_and_back(view)
        np.testing.assert_array_equal(read, view, err_msg=name)
        assert size < view.nbytes + 1_000, name
    pd = pytest.importorskip("pandas")
    for name, view in _frame_views(pd).items():
        read, size, _ = there_and_back(view)
        assert read.equals(view), name
        assert size < 20_000, name


def test_slices_of_polars_are_stored_alone() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"n": range(ROWS), "t": [str(i) for i in range(ROWS)]})
    for view in (frame[5:15], frame["t"][5:15], frame["n"][5:15], frame.head(10)):
        read, size, _ = there_and_back(view)
        assert read.equals(view)
        assert size < 4_000


@pytest.mark.parametrize("nested", [False, True], ids=["itself", "in a list"])
def test_a_memoryview_stays_one_and_is_stored_alone(nested: bool) -> None:
    numbers = memoryview(np.arange(100_000.0))
    views = [
        numbers, numbers[5:15], numbers[::10_000], memoryview(bytearray(b"abcdef" * 10_000))[::6_000],
        memoryview(np.arange(12).reshape(3, 4)), memoryview(b""), memoryview(np.zeros((0, 3))),
    ]  # fmt: skip
    for view in views:
        read, size, buffers = there_and_back([view] if nested else view)
        read = read[0] if nested else read
        assert type(read) is memoryview
        assert read.readonly
        assert (read.format, read.shape) == (view.format, view.shape) or not view.nbytes
        assert read.tobytes() == view.tobytes()
        assert size < view.nbytes + 400
        assert not view.nbytes or any(np.shares_memory(np.frombuffer(b, "B"), np.asarray(read)) for b in buffers)
    foreign = memoryview(np.zeros(3, dtype=[("a", "i8"), ("b", "f8")]))
    assert there_and_back(foreign)[0].tobytes() == foreign.tobytes()
