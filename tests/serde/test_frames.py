"""Columns of Arrow's memory in pandas: the copy that pandas makes is left out where it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.serde import frames, pickling


class Chunk:
    def __init__(self, nbytes: int, total: int) -> None:
        self.nbytes, self.total = nbytes, total

    def get_total_buffer_size(self) -> int:
        return self.total

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Chunk) and (self.nbytes, self.total) == (other.nbytes, other.total)

    __hash__ = None  # type: ignore[assignment]


class Chunks:
    def __init__(self, *chunks: Chunk) -> None:
        self.chunks = chunks
        self.num_chunks = len(chunks)

    def chunk(self, number: int) -> Chunk:
        return self.chunks[number]

    def combine_chunks(self) -> Any:
        return "copied"


class Column:
    """As pandas' own: its state is pandas' business, and begins with a copy."""

    def __init__(self, *chunks: Chunk) -> None:
        self._pa_array = Chunks(*chunks)
        self._cache = {"a": 1}

    def __getstate__(self) -> Any:
        return {"_pa_array": self._pa_array.combine_chunks(), "_cache": {}}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([Chunk(1_000_000, 1_000_064)], True),
        ([Chunk(10, 74)], True),
        ([Chunk(45, 1_000_000)], False),  # a slice
        ([Chunk(10, 10), Chunk(10, 10)], False),
        ([], False),
    ],
    ids=["whole", "small", "slice", "two", "none"],
)
def test_one_whole_chunk_is_not_copied(chunks: list[Chunk], kept: bool) -> None:
    column = Column(*chunks)
    reduced = frames.reduce(column)
    assert (reduced is not None) == kept
    if reduced is not None:
        make, arguments, state = reduced[:3]
        got = make(*arguments)
        assert type(got) is Column
        got.__setstate__(state)
        assert got._cache == {}
        assert got._pa_array == chunks[0]
    assert type(column._pa_array) is Chunks  # untouched
    assert column._cache == {"a": 1}


def test_other_things_of_pandas_go_their_own_way() -> None:
    assert frames.reduce(object()) is None
    assert frames.reduce(Exception()) is None


def test_with_the_real_ones() -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    words = pd.Series([f"w{i}" for i in range(10_000)] + [None], dtype=pd.ArrowDtype(pa.large_string()))
    pieces = pd.concat([words, words[5:9], words[::3]])
    for column in (words, words[100:200], words[:0], pieces, pd.DataFrame({"a": words, "b": range(10_001)})):
        packed = pickling.pack(column)
        got = pickling.unpack(packed.data, [bytes(buffer) for buffer in packed.buffers])
        assert got.equals(column)
        assert list(got.index) == list(column.index)
    assert pickling.nbytes(pickling.pack(words[100:110])) < 4_000
    chunk = words.array._pa_array.chunk(0)
    addresses = {buffer.address for buffer in chunk.buffers() if buffer is not None}
    found = {pa.py_buffer(buffer).address for buffer in pickling.pack(words).buffers}
    assert addresses <= found  # its own memory, not a copy


def test_an_index_comes_back_as_it_was() -> None:
    pd = pytest.importorskip("pandas")
    plain = [
        pd.Index(list("abc"), name="letters"), pd.Index([1, 2, 3]), pd.Index([1.5, None]), pd.Index([True, False]),
        pd.Index([]), pd.Index(["a", 1, None], dtype=object), pd.Index([1, None], dtype="Int64"),
        pd.Index([("a", 1), "b"], dtype=object, name=("a", "b")), pd.Index([b"x"]),
        pd.Index(list("ab"), dtype="string"),
    ]  # fmt: skip
    others = [
        pd.RangeIndex(5), pd.DatetimeIndex(["2020-01-01"]), pd.CategoricalIndex(list("aab")),
        pd.MultiIndex.from_product([[1, 2], list("ab")]), pd.PeriodIndex(["2020-01"], freq="M"),
        pd.IntervalIndex.from_breaks([0, 1, 2]), pd.TimedeltaIndex(["1s"]),
    ]  # fmt: skip
    for index in plain + others:
        packed = pickling.pack(index)
        got = pickling.unpack(packed.data, [bytes(buffer) for buffer in packed.buffers])
        assert type(got) is type(index)
        assert got.identical(index), (got, index)
        assert got.name == index.name
        assert got.get_indexer_for(index[:1]).tolist() == index.get_indexer_for(index[:1]).tolist()
    assert all(b"made_index" in pickling.pack(index).data for index in plain)
    assert b"made_index" not in pickling.pack(others[0]).data + pickling.pack(others[1]).data


class Worse:
    """An index of a pandas that makes something else of what it is given."""

    name = None
    dtype = "int64"

    def __init__(self, data: Any = None) -> None:
        self._data = data

    @classmethod
    def _simple_new(cls, data: Any, name: Any) -> Any:
        return cls(list(data))


def test_an_index_that_would_not_be_the_same_goes_pandas_way() -> None:
    index = type("Index", (Worse,), {})((1, 2))
    assert frames.reduce(index) is None
    bare: Any = type("Index", (), {"name": None})()
    assert frames.reduce(bare) is None
