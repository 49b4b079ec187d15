"""The operating system's calls, and the shapes of buffers."""

from __future__ import annotations

import os

import numpy as np
import pytest

from raynb.store.memory import Borrowed, Mapping, flat, move, round_up


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


def test_flat_of_nothing() -> None:
    assert len(flat(b"")) == 0
    assert len(flat(np.zeros((0, 3)))) == 0


def test_flat_refuses_what_has_holes() -> None:
    with pytest.raises(BufferError, match=r"a ndarray isn't contiguous .*numpy\.ascontiguousarray"):
        flat(np.arange(10)[::2])


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
