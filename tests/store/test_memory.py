"""The operating system's calls, and the shapes of buffers."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from raynb.base.buffers import flat
from raynb.store.memory import Borrowed, Mapping, move, round_up


@pytest.mark.parametrize(
    ("n", "unit", "expected"), [(0, 64, 0), (1, 64, 64), (64, 64, 64), (65, 64, 128), (4097, 4096, 8192)]
)
def test_round_up(n: int, unit: int, expected: int) -> None:
    assert round_up(n, unit) == expected


@pytest.mark.parametrize(
    "buffer",
    [
        b"abcdef",
        bytearray(b"abcdef"),
        memoryview(b"abcdef"),
        memoryview(b"abcdef").cast("H"),
        np.frombuffer(b"abcdef", dtype="u1"),
        np.frombuffer(b"abcdef", dtype="u2").reshape(3, 1),
        np.asfortranarray(np.frombuffer(b"adbecf", dtype="u1").reshape(2, 3)).T.reshape(-1, order="A"),
        np.frombuffer(b"abcdef", dtype="u1").reshape(2, 3).copy(order="C"),
    ],
)
def test_flat(buffer: object) -> None:
    view = flat(buffer)
    assert (view.format, view.ndim, len(view)) == ("B", 1, 6)


def test_flat_keeps_fortran_order_as_it_lies() -> None:
    a = np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3))
    assert bytes(flat(a)) == bytes([0, 3, 1, 4, 2, 5])


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3)),
        np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(4, dtype=">i4"),
        np.float64(2.5).reshape(()),
    ],
    ids=["fortran", "record", "big-endian", "scalar"],
)
def test_flat_of_a_view_has_its_bytes_as_they_lie(array: np.ndarray) -> None:
    assert bytes(flat(memoryview(array))) == array.tobytes(order="A")


@pytest.mark.parametrize("whole", [bytearray(range(12)), np.arange(6, dtype="f8")], ids=["bytes", "floats"])
def test_flat_exports_no_view(whole: object) -> None:
    """What is exported can't be released; the garbage collector of CPython before 3.13 clears it all the same."""
    for wrap in (lambda view: view, pickle.PickleBuffer):
        view = memoryview(whole)[1:5]  # type: ignore[arg-type]
        kept = flat(wrap(view))
        assert bytes(kept) == view.tobytes()
        view.release()  # raises BufferError if it is exported


def test_flat_of_nothing() -> None:
    assert len(flat(memoryview(np.zeros((0, 3))))) == 0
    assert len(flat(b"")) == 0
    assert len(flat(np.zeros((0, 3)))) == 0


def test_flat_refuses_what_has_holes() -> None:
    with pytest.raises(BufferError, match=r"a ndarray isn't contiguous .*numpy\.ascontiguousarray"):
        flat(np.arange(10)[::2])


def test_flat_refuses_a_view_that_has_holes() -> None:
    with pytest.raises(BufferError, match="a memoryview isn't contiguous"):
        flat(memoryview(np.arange(10))[::2])


def test_flat_refuses_what_is_no_buffer() -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        flat("text")


def test_borrowed_addresses_of_read_only_bytes(tmp_path: object) -> None:
    fd = os.open(os.path.join(str(tmp_path), "x"), os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)
    source = memoryview(b"read-only bytes")
    with Borrowed(source) as address:
        move(mapping.address + 10, address, len(source))
    assert bytes(mapping.writable_view()[10:25]) == b"read-only bytes"


def test_borrowed_pins_the_buffer() -> None:
    array = bytearray(b"12345")
    borrowed = Borrowed(memoryview(array))
    with borrowed, pytest.raises(BufferError):
        array.append(1)


def test_a_mapping_that_cannot_be_made() -> None:
    with pytest.raises(OSError, match="cannot map 4096 bytes of shared memory"):
        Mapping(-1, 4096, writable=True)
