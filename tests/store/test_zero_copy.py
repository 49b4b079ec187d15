"""Values are written once, by who made them, and read in place; memory returns with the last view."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raynb
from raynb.store import arena, memory
from raynb.testing import faults, leaks

MB = 1 << 20

pytestmark = pytest.mark.raynb(num_cpus=2, object_store_memory=400 * MB)


@pytest.fixture
def engine(raynb_runtime: Any) -> Any:
    return raynb_runtime.engine


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def private() -> int:
    """Bytes of this process's own memory, without what it shares."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon in /proc/self/status")


def address(array: Any) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


def in_store(engine: Any, array: Any, maker: int = 0) -> bool:
    """Returns whether an array's bytes are those of an arena."""
    store = engine.store
    mapping = store._own.written().mapping if maker == 0 else store._foreign.mapping(maker, 1)
    return bool(mapping.address <= address(array) < mapping.address + mapping.size)


def empty(engine: Any) -> bool:
    return leaks.until(lambda: engine.store.total() == 0 and not engine.store.live_views())


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory is private")


@linux
def test_a_result_is_written_once_and_never_copied(traced: None) -> None:
    size = 100 * MB

    @raynb.remote
    def watch() -> None:
        moved = raynb.__dict__["moved_for_test"] = []
        real = arena.move

        def move(to: int, source: int, n: int) -> Any:
            moved.append(n)
            return real(to, source, n)

        arena.move = move  # type: ignore[assignment]
        tracemalloc.start()

    @raynb.remote
    def make() -> Any:
        return np.ones(size // 8)

    @raynb.remote
    def seen() -> tuple[int, int]:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return sum(raynb.__dict__.pop("moved_for_test")), peak

    with raynb.Runtime(num_cpus=1, object_store_memory=400 * MB) as single:  # one worker runs all three
        raynb.get(watch.remote())
        before = private()
        ref = make.remote()
        value = raynb.get(ref)
        assert value[-1] == 1
        moved, peak = raynb.get(seen.remote())
        assert size <= moved < size + MB, "written once"
        assert peak < 1.2 * size, "and the array was the only other place where its bytes were"
        assert tracemalloc.get_traced_memory()[1] < 5 * MB
        assert private() - before < 5 * MB
        assert single.engine.store.total() < size + MB
        del value, ref


@linux
def test_readers_share_the_pages(engine: Any) -> None:
    @raynb.remote
    def read(a: Any) -> tuple[int, float]:
        before = private()
        total = float(a.sum())
        return private() - before, total

    ref = raynb.put(np.ones(40 * MB // 8))
    for grown, total in raynb.get([read.remote(ref) for _ in range(6)]):
        assert total == 40 * MB / 8
        assert grown < 5 * MB


def test_get_moves_nothing_however_large(engine: Any, traced: None) -> None:
    for size in (MB, 64 * MB):
        ref = raynb.put(np.ones(size // 8))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        value = raynb.get(ref)
        assert tracemalloc.get_traced_memory()[1] - before < 100_000
        assert in_store(engine, value)
        assert address(value) % memory.ALIGN == 0
        del value


def test_a_frames_blocks_are_read_in_place(engine: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({name: np.arange(200_000, dtype=float) + n for n, name in enumerate("abcd")})
    frame["count"] = np.arange(200_000)
    back = raynb.get(raynb.put(frame))
    pandas.testing.assert_frame_equal(back, frame)
    assert engine.store.live_views() == 1
    for name in frame:
        column = back[name].to_numpy(copy=False)
        assert in_store(engine, column), name
        assert not column.flags.writeable
    del back, column
    gc.collect()
    assert empty(engine)


def test_a_table_of_arrow_is_read_in_place(engine: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": np.arange(200_000), "b": [f"row {i}" for i in range(200_000)]})
    back = raynb.get(raynb.put(table))
    assert back.equals(table)
    held = [b for column in back.columns for chunk in column.chunks for b in chunk.buffers() if b is not None]
    mapping = engine.store._own.written().mapping
    assert len(held) >= 3
    assert all(mapping.address <= b.address < mapping.address + mapping.size for b in held)
    del back, held
    gc.collect()
    assert empty(engine)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_values_are_out_of_band(engine: Any, kind: Any) -> None:
    data = bytes(range(256)) * 8192
    back = raynb.get(raynb.put(kind(data)))
    assert bytes(back) == data
    assert type(back) is kind


def test_many_small_arrays_are_one_object_with_one_pin(engine: Any) -> None:
    arrays = [np.full(100 + n, n) for n in range(1_000)]
    ref = raynb.put(arrays)
    stream = 40_000  # the pickle of a thousand arrays without their bytes, and 64 to align each
    assert engine.store.total() < sum(a.nbytes for a in arrays) + 64 * len(arrays) + stream
    back = raynb.get(ref)
    assert engine.store.live_views() == 1
    assert all(np.array_equal(a, b) and not a.flags.writeable for a, b in zip(back, arrays, strict=True))
    last = back[-1]
    del back, ref
    assert engine.store.live_views() == 1, "one array keeps the object"
    del last
    assert empty(engine)


@pytest.mark.parametrize("size", [8, 800, 8_000, 80_000, 8_000_000])
def test_arrays_are_read_only_and_aligned(engine: Any, size: int) -> None:
    @raynb.remote
    def look(a: Any) -> tuple[bool, int]:
        return a.flags.writeable, address(a) % 64

    array = np.ones(size // 8)
    large = size > engine.config.inline_limit
    for value in (raynb.get(raynb.put(array)), raynb.get(raynb.put({"deep": [array]}))["deep"][0]):
        assert not value.flags.writeable
        assert address(value) % (64 if large else 8) == 0
    writable, offset = raynb.get(look.remote(raynb.put(array)))
    assert not writable
    assert offset % (64 if large else 8) == 0


def test_memory_returns_with_the_last_view(engine: Any) -> None:
    """However it ends: `del`, the traceback of an exception, the death of the process that held it."""
    ref = raynb.put(np.ones(MB))

    def fail(value: Any) -> None:
        raise ValueError(value[0])

    with pytest.raises(ValueError, match=r"1\.0") as caught:
        fail(raynb.get(ref))
    kept: Any = caught.value
    del ref
    assert engine.store.total() > 0, "the traceback holds it"
    kept = kept.with_traceback(None)
    del caught
    gc.collect()
    assert empty(engine)

    class Holder:
        def hold(self, value: Any) -> int:
            import os

            self.value = value[10:20]
            return os.getpid()

    holder = raynb.remote(num_cpus=0)(Holder).remote()
    pid = raynb.get(holder.hold.remote(raynb.put(np.ones(MB))))
    assert engine.store.total() > 0
    faults.kill(pid)
    assert empty(engine)


@pytest.mark.parametrize("kind", ["M8[us]", "m8[ns]", ">M8[s]"])
@pytest.mark.parametrize("shape", [(100_000,), (300, 200), ()])
def test_dates_are_read_in_place(engine: Any, kind: str, shape: tuple[int, ...]) -> None:
    dates = np.arange(int(np.prod(shape)), dtype="i8").astype(kind).reshape(shape)
    for value in (dates, dates.T, dates[..., ::2] if shape else dates):
        for back in (raynb.get(raynb.put(value)), raynb.get(raynb.put({"deep": [value]}))["deep"][0]):
            assert back.dtype == value.dtype
            assert back.shape == value.shape
            assert (np.asarray(back) == value).all()
    large = raynb.get(raynb.put([dates]))[0]
    assert not large.flags.writeable
    assert dates.nbytes < engine.config.inline_limit or in_store(engine, large)


def test_a_frame_with_dates_is_one_segment_a_block(engine: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"when": pandas.date_range("2020-01-01", periods=100_000, freq="s")})
    frame["zone"] = frame["when"].dt.tz_localize("UTC")
    frame["gap"] = frame["when"].diff()
    ref = raynb.put(frame)
    stream = engine.machine.objects.table[ref._id].value[-1][0]
    assert stream < 10_000, "what lies in the stream is copied once more"
    pandas.testing.assert_frame_equal(raynb.get(ref), frame)
