"""Pins are exact: a view's end is seen when the last user goes, in whatever way, and only then."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raynb.store import Store
from raynb.store.backing import MemfdBacking
from raynb.store.memory import Mapping
from raynb.store.pins import Pins


@pytest.fixture
def array() -> np.ndarray[Any, Any]:
    return np.arange(100_000, dtype="f8")


@pytest.fixture
def released() -> list[str]:
    return []


@pytest.fixture
def view(
    store: Store, array: np.ndarray[Any, Any], released: list[str]
) -> Iterator[Callable[[], memoryview]]:
    location = store.write(b"stream", [array])

    def read() -> memoryview:
        _, (buffer,) = store.read(location, lambda: released.append(threading.current_thread().name))
        return buffer

    yield read
    gc.collect()
    assert store.live_views() == 0


def test_del(view: Callable[[], memoryview], store: Store, released: list[str]) -> None:
    v = view()
    assert (store.live_views(), released) == (1, [])
    assert store.stats().pinned == 800_064
    del v
    assert (store.live_views(), len(released), store.stats().pinned) == (0, 1, 0)


def test_each_read_has_its_own_pin(view: Callable[[], memoryview], released: list[str]) -> None:
    a, b = view(), view()
    del a
    assert len(released) == 1
    del b
    assert len(released) == 2


def test_arrays_slices_and_views_of_views(
    view: Callable[[], memoryview], array: np.ndarray[Any, Any], released: list[str]
) -> None:
    a = np.frombuffer(view(), dtype="f8")
    piece = a[10:20].reshape(2, 5).T[1:]
    del a
    assert (piece == array[10:20].reshape(2, 5).T[1:]).all()
    gc.collect()
    assert not released
    tail = memoryview(piece)[1:]
    del piece
    assert not released
    assert tail[0, 0] == array[12]
    del tail
    assert len(released) == 1


def test_a_bare_slice_of_the_memoryview(view: Callable[[], memoryview], released: list[str]) -> None:
    piece = view()[8:16].cast("d")
    gc.collect()
    assert (piece[0], released) == (1.0, [])
    piece.release()
    assert len(released) == 1


def test_unpickled_arrays_pin(store: Store, array: np.ndarray[Any, Any], released: list[str]) -> None:
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps({"a": array, "b": array * 2}, protocol=5, buffer_callback=buffers.append)
    location = store.write(stream, buffers)
    data, views = store.read(location, lambda: released.append(""))
    value = pickle.loads(data, buffers=views)
    del data, views
    assert not value["a"].flags.writeable
    assert value["a"].ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
        value["a"].setflags(write=True)
    b = value["b"]
    del value
    assert not released
    assert (b == array * 2).all()
    del b
    assert len(released) == 1


def test_an_exception_and_its_traceback(view: Callable[[], memoryview], released: list[str]) -> None:
    def fail(held: memoryview) -> None:
        raise RuntimeError("while a view is in this frame")

    caught: list[BaseException] = []
    try:
        fail(view())
    except RuntimeError as error:
        caught.append(error)
    gc.collect()
    assert not released
    caught.clear()
    gc.collect()
    assert len(released) == 1


def test_a_cycle(view: Callable[[], memoryview], released: list[str]) -> None:
    class Node:
        pass

    node = Node()
    node.itself, node.view = node, view()  # type: ignore[attr-defined]
    gone = weakref.ref(node)
    del node
    assert not released
    gc.collect()
    assert gone() is None
    assert len(released) == 1


def test_the_last_view_dies_in_another_thread(view: Callable[[], memoryview], released: list[str]) -> None:
    box = [view()]
    thread = threading.Thread(target=box.clear, name="the other")
    thread.start()
    thread.join()
    assert released == ["the other"]


def test_many_threads(view: Callable[[], memoryview], store: Store, released: list[str]) -> None:
    start = threading.Barrier(8)

    def churn() -> None:
        start.wait()
        for _ in range(200):
            pieces = [view()[i : i + 10] for i in range(3)]
            del pieces

    threads = [threading.Thread(target=churn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(released) == 8 * 200 * 3
    assert store.live_views() == 0


def test_one_pin_for_an_object_of_many_buffers(store: Store, released: list[str]) -> None:
    location = store.write(b"stream", [bytes([i % 256]) * i for i in range(500)])
    _, buffers = store.read(location, lambda: released.append(""))
    assert store.live_views() == 1
    assert [bytes(b) for b in buffers] == [bytes([i % 256]) * i for i in range(500)]
    last = buffers.pop()
    buffers.clear()
    assert not released
    del last
    assert len(released) == 1


def test_views_are_read_only_in_the_hardware_too_for_readers(
    store: Store, make_store: Callable[..., Store]
) -> None:
    reader = make_store()
    location = store.write(b"stream", [b"x" * 1000])
    assert store.fd is not None
    reader.attach(store.slot, os.dup(store.fd))
    _, (buffer,) = reader.read(location)
    assert buffer.readonly
    with pytest.raises(TypeError, match="cannot modify read-only memory"):
        buffer[0] = 1
    code = (
        "import ctypes, os, sys; from raynb.store.memory import Mapping;"
        "m = Mapping(int(sys.argv[1]), 4096, writable=False); ctypes.memset(m.address, 1, 1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.fd)], pass_fds=[store.fd], check=False)
    assert done.returncode == -11  # SIGSEGV
    assert bytes(buffer[:2]) == b"xx"


def test_views_behave_like_plain_bytes(view: Callable[[], memoryview]) -> None:
    v = view()
    assert (v.format, v.ndim, v.itemsize, v.contiguous, v.nbytes) == ("B", 1, 1, True, 800_000)
    assert v[8:16] == np.float64(1).tobytes()
    assert v.cast("d")[3] == 3.0
    assert ctypes.c_double.from_buffer_copy(v, 16).value == 2.0


def test_views_outlive_the_store(view: Callable[[], memoryview], store: Store, released: list[str]) -> None:
    v = view()
    store.close()
    assert v.cast("d")[99_999] == 99_999.0
    del v
    gc.collect()
    assert not released, "after close nobody is listening"


def test_an_exception_in_on_release_is_reported_not_raised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hint: seen.append(hint.exc_value))
    location = store.write(b"stream", [b"x" * 100])
    _, views = store.read(location, lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    views.clear()
    assert [type(error) for error in seen] == [ZeroDivisionError]
    assert store.live_views() == 0


def test_a_read_that_is_interrupted_never_calls_on_release(
    store: Store, released: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    location = store.write(b"stream", [b"x" * 100])

    def interrupted(block: memoryview, segments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("raynb.store.store.split", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.read(location, lambda: released.append(""))
    gc.collect()
    assert (released, store.live_views()) == ([], 0)
    views = store.read(location, lambda: released.append(""))[1]
    assert store.live_views() == 1
    views.clear()
    assert released == [""]


def test_a_small_stream_without_buffers_is_released_at_once(store: Store, released: list[str]) -> None:
    location = store.write(b"only a stream")
    data, buffers = store.read(location, lambda: released.append(""))
    assert (data, buffers, len(released), store.live_views()) == (b"only a stream", [], 1, 0)
    assert type(data) is bytes


def test_a_large_stream_is_pinned(store: Store, released: list[str]) -> None:
    location = store.write(b"x" * 100_000)
    data, buffers = store.read(location, lambda: released.append(""))
    assert isinstance(data, memoryview)
    assert (data == b"x" * 100_000, buffers, released) == (True, [], [])
    del data
    assert len(released) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_mapping_goes_with_the_last_view() -> None:
    def mapped() -> bool:
        return f"{address:x}-" in Path("/proc/self/maps").read_text()

    fd = MemfdBacking().create(8192)
    mapping = Mapping(fd, 8192, writable=True)
    os.close(fd)
    address, pins = mapping.address, Pins()
    view = pins.view(mapping, 4096, 10, None, pins.serial())
    del mapping
    assert mapped()
    assert bytes(view) == bytes(10)
    del view
    assert len(pins) == 0
    assert not mapped()
