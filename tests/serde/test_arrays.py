"""Many arrays in one value come back as numpy's own pickling gives them, whatever they are in."""

from __future__ import annotations

import pickle
from collections import OrderedDict, namedtuple
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raynb.base.buffers import Gathered
from raynb.serde import arrays, pickling

Point = namedtuple("Point", "x y")


class Sub(np.ndarray):
    """A subclass: none of our business."""


class Holder:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __eq__(self, other: Any) -> bool:
        return type(other) is Holder and same(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]


def same(a: Any, b: Any) -> bool:
    """Returns whether two values are equal in types, order, and everything numpy knows of an array."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return bool(
            a.dtype == b.dtype and a.dtype.char == b.dtype.char
            # numpy before 2.3 gives a date that was pickled empty metadata in place of none
            and dict(a.dtype.metadata or {}) == dict(b.dtype.metadata or {})
            and a.shape == b.shape and a.strides == b.strides
            and a.flags.c_contiguous == b.flags.c_contiguous and a.flags.f_contiguous == b.flags.f_contiguous
            # dates are read-only as all that travels out of band; numpy copies them into the stream
            and (a.flags.writeable == b.flags.writeable or a.dtype.kind in "mM") and a.flags.aligned == b.flags.aligned
            and (list(a.ravel()) == list(b.ravel()) if a.dtype.hasobject else a.tobytes() == b.tobytes())
        )  # fmt: skip
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def theirs(value: Any) -> Any:
    """The round trip through cloudpickle alone; buffers are read-only, as a store's are."""
    buffers: list[pickle.PickleBuffer] = []

    def out_of_band(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes == 0:
            return True
        buffers.append(buffer)
        return False

    data = cloudpickle.dumps(value, 5, buffer_callback=out_of_band)
    return pickle.loads(data, buffers=[aligned(buffer) for buffer in buffers])


def aligned(buffer: Any) -> memoryview:
    """A read-only copy that begins where a store's would."""
    block: Any = np.empty(len(bytes(buffer)) + 64, "u1")
    begin = -block.ctypes.data % 64
    block[begin : begin + len(bytes(buffer))] = np.frombuffer(bytes(buffer), "u1")
    return memoryview(block[begin : begin + len(bytes(buffer))]).toreadonly()


def ours(value: Any) -> Any:
    packed = pickling.pack(value)
    return pickle.loads(packed.data, buffers=[aligned(buffer) for buffer in packed.buffers])


PLAIN = "?bBhHiIlLqQefdgFDG"
DTYPES = st.one_of(
    st.sampled_from([np.dtype(letter) for letter in PLAIN]),
    st.sampled_from([
        np.dtype(">f8"), np.dtype(">i4"), np.dtype("M8[ns]"), np.dtype("m8[s]"),
        np.dtype("S5"), np.dtype("U3"), np.dtype("V7"), np.dtype([("a", "i4"), ("b", "f8")]),
        np.dtype([("when", "M8[s]"), ("n", ">i2")]), np.dtype("f8", metadata={"unit": "m"}), np.dtype(object),
    ]),
)  # fmt: skip


@st.composite
def one_array(draw: Any) -> Any:
    """An array of any type, size, order and stride, its bytes made from a seed."""
    dtype = draw(DTYPES)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    chance = np.random.default_rng(draw(st.integers(0, 1000)))
    count = int(np.prod(shape, dtype=int))
    if dtype.hasobject:
        array = np.array([None, "x", 3] * count, dtype)[:count].reshape(shape)
    elif dtype.kind == "U":
        array = np.full(shape, "añb", dtype)
    else:
        raw = chance.integers(0, 2 if dtype.kind == "b" else 256, count * dtype.itemsize, "u1")
        array = np.frombuffer(raw.tobytes(), dtype, count).reshape(shape).copy() if count else np.zeros(shape, dtype)
    how = draw(st.sampled_from(["as it is", "fortran", "transposed", "every other", "backwards", "readonly", "sub"]))
    if how == "fortran":
        array = np.asfortranarray(array)
    elif how == "transposed":
        array = array.T
    elif how == "every other" and array.ndim:
        array = array[::2]
    elif how == "backwards" and array.ndim:
        array = array[::-1]
    elif how == "readonly":
        array.flags.writeable = False
    elif how == "sub":
        array = array.view(Sub)
    return array


def nested(leaves: Any) -> Any:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=12),
            st.lists(inner, max_size=6).map(tuple),
            st.dictionaries(st.sampled_from(list("abcdefghij")), inner, max_size=10),
            st.dictionaries(st.integers(0, 9), inner, max_size=5).map(OrderedDict),
            st.builds(Point, inner, inner),
            st.builds(Holder, inner),
        ),
        max_leaves=60,
    )


@settings(max_examples=150, deadline=None)
@given(nested(st.one_of(one_array(), st.integers(), st.text(max_size=3), st.none())))
def test_any_nesting_is_what_cloudpickle_gives(value: Any) -> None:
    assert same(ours(value), theirs(value))


@settings(max_examples=60, deadline=None)
@given(st.lists(one_array(), min_size=20, max_size=60))
def test_many_of_all_kinds_are_what_cloudpickle_gives(value: Any) -> None:
    assert same(ours(value), theirs(value))


def test_the_same_array_twice_is_one_array_again() -> None:
    many = [np.full(5, i) for i in range(30)]
    value = {"many": many, "again": many, "turned": many[::-1], "last": many[-1]}
    got = ours(value)
    assert got["many"] is got["again"]
    assert got["last"] is got["many"][29]
    assert all(a is b for a, b in zip(got["many"], reversed(got["turned"]), strict=True))


def test_a_container_of_itself_comes_back() -> None:
    value: list[Any] = [np.full(3, i) for i in range(20)]
    value.append(value)
    value.append((value, value[3]))
    got = ours(value)
    assert got[20] is got
    assert got[21][0] is got
    assert got[21][1] is got[3]
    assert [int(a[0]) for a in got[:20]] == list(range(20))


@pytest.mark.parametrize("beside", [0, arrays.TABLE_FROM_ARRAYS])
def test_a_thousand_arrays_are_two_buffers(beside: int) -> None:
    """A list of nothing else, and one that the pickler goes through: the first few are beside them there."""
    value: list[Any] = [np.full(1_250, float(i)) for i in range(1_000)]
    if beside:
        value.append("something else")
    packed = pickling.pack(value)
    assert len(packed.buffers) == beside + 2
    block = packed.buffers[-1]
    assert type(block) is Gathered
    assert all(start % 64 == 0 for start in block.starts)
    assert np.shares_memory(np.frombuffer(block.parts[-1]), value[999])  # not copied yet
    assert same(ours(value), theirs(value))


@pytest.mark.parametrize(
    "odd",
    [np.asfortranarray(np.ones((3, 4))), np.arange(20)[::2], np.ones((0, 3)), np.array([None, 1]),
     np.arange(3).view(Sub), np.ones(2, ">f8"), np.arange("2020", "2023", dtype="M8[Y]"), np.ones((4, 4))[:, :2]],
    ids=lambda odd: f"{type(odd).__name__}-{odd.dtype}-{odd.shape}",
)  # fmt: skip
def test_a_list_with_one_odd_array(odd: Any) -> None:
    value = [np.full((2, 2), i) for i in range(30)]
    for place in (0, 15, 29):
        given = [*value[:place], odd, *value[place:]]
        assert same(ours(given), theirs(given))


def test_a_list_in_which_one_array_stands_twice() -> None:
    value = [np.full(3, i) for i in range(30)]
    got = ours([*value, value[7]])
    assert got[30] is got[7]


def test_few_arrays_are_left_to_numpy() -> None:
    value: list[Any] = [np.arange(3.0)] + [np.full(2, i) for i in range(arrays.TABLE_FROM_ARRAYS - 1)]
    assert len(pickling.pack(value).buffers) == arrays.TABLE_FROM_ARRAYS


def test_small_arrays_lie_close() -> None:
    packed = pickling.pack([np.full(1, i) for i in range(1_000)])
    assert pickling.nbytes(packed) < 1_000 * (16 + 8)


def test_runs_of_other_types_and_shapes_between() -> None:
    value: list[Any] = []
    for i in range(40):
        value += [np.full((3, 2), i, "i2"), np.full((), i), np.full(100, i, "f4"), np.full(100, -i, "f4")]
    assert same(ours(value), theirs(value))


def test_in_messages_too() -> None:
    value: list[Any] = [np.arange(i + 1, dtype="i2") for i in range(50)]
    packed = pickling.pack(value)
    got = pickling.unpack(*pickling.unpack_in_band(pickling.in_band(packed)))
    assert all((a == b).all() and not b.flags.writeable for a, b in zip(value, got, strict=True))
    assert all((a == b).all() for a, b in zip(value, pickling.unpack(packed.data, packed.buffers), strict=True))


def test_a_registered_serializer_goes_first() -> None:
    pickling.register_serializer(np.ndarray, lambda a: a.tolist(), lambda items: ("mine", items))
    try:
        assert ours([np.arange(2)] * 1 + [np.arange(2) for _ in range(20)]) == [("mine", [0, 1])] * 21
    finally:
        pickling.deregister_serializer(np.ndarray)


def test_dates_of_the_other_byte_order_stay_as_they_are() -> None:
    # numpy's own pickling turns them round
    value: list[Any] = [np.arange(i, i + 3).astype(">M8[D]") for i in range(20)]
    assert same(ours(value), value)


def test_what_is_gathered_reads_as_one() -> None:
    parts = [memoryview(b"a" * 3), memoryview(b"b" * 70), memoryview(b"c")]
    whole = Gathered(parts, [0, 64, 144])
    assert bytes(whole) == b"aaa" + bytes(61) + b"b" * 70 + bytes(10) + b"c"
    assert len(whole) == whole.nbytes == 145


@pytest.mark.parametrize("way", ["write", "write_file"])
def test_through_the_store_and_the_disk(way: str, tmp_path: Any) -> None:
    from raynb.store import DiskTier, Ledger, Store

    ledger = Ledger.create()
    disk = DiskTier(str(tmp_path))
    store = Store(0, 1 << 28, ledger, disk)
    try:
        value = [np.full(1_000 + i, float(i)) for i in range(300)]
        packed = pickling.pack(value)
        location = getattr(store, way)(packed.data, packed.buffers)
        assert len(location[-1]) == 3
        assert store.stats().views == 0
        got = pickling.unpack(*store.read(location))
        assert same(got, theirs(value))
        assert all(a.ctypes.data % 64 == 0 for a in got)
        assert store.stats().views == 1  # one pin for all
        del got
        assert store.stats().views == 0
        if way == "write":
            moved = store.spill(location)
            store.free(location)
            assert same(pickling.unpack(*store.read(moved)), theirs(value))
            back = store.restore(moved)
            assert same(pickling.unpack(*store.read(back)), theirs(value))
    finally:
        store.close()
        disk.close()
        ledger.close()


def test_only_what_is_over_soon_is_copied_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    value = [np.full(50, float(i)) for i in range(20)]
    assert pickling.pack(value).buffers[1].copy is not None
    monkeypatch.setattr(arrays, "_ONE_CALL_BYTES", 1_000)
    assert pickling.pack(value).buffers[1].copy is None
    assert same(ours(value), theirs(value))
