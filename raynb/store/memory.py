"""The operating system's memory calls, through ctypes.

Python's own `mmap` would do for plain access, but it duplicates the descriptor, holds the GIL
while it copies or advises, and can't pin a range that is mapped read-only. ctypes releases the
GIL for the length of each call, so a copy of 1 GB doesn't stop the notebook's other threads.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import pickle
from collections.abc import Callable
from typing import Any

from raynb.base.buffers import ALIGN
from raynb.base.interrupts import destructor

PAGE = os.sysconf("SC_PAGE_SIZE")

_PROT_READ, _PROT_WRITE, _MAP_SHARED = 1, 2, 1
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
move: Callable[[int, int, int], Any] = ctypes.memmove  # (to, from, bytes); releases the GIL


def round_up(n: int, unit: int = ALIGN) -> int:
    """Returns the smallest multiple of ``unit`` (a power of two) that is at least ``n``."""
    return (n + unit - 1) & -unit


class Mapping:
    """A shared mapping of a descriptor; unmapped when the last reference to this object dies.

    Pins hold a reference, so views stay valid however early everybody else lets go. The
    descriptor isn't needed once the mapping is made.

    Thread contract: immutable.
    """

    __slots__ = ("__del__", "address", "size")

    def __init__(self, fd: int, size: int, writable: bool, offset: int = 0) -> None:
        """Maps ``size`` bytes from ``offset`` on, a multiple of the page size.

        Raises:
            OSError: the system has no room for it.
        """
        protection = _PROT_READ | _PROT_WRITE if writable else _PROT_READ
        address = _mmap(None, size, protection, _MAP_SHARED, fd, offset)
        if address in (None, _MAP_FAILED):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot map {size} bytes of shared memory: {os.strerror(code)} (see `ulimit -v`)")
        # A slot of that name: what is in it is called, which is C, so no exception can come between.
        self.__del__ = functools.partial(_munmap, address, size)
        self.address: int = address
        self.size = size

    def populate(self, offset: int, n: int) -> bool:
        """Makes the pages of a range exist, twice as fast as touching them one by one.

        Returns False where the kernel has no such call. Raises `OSError` when it has no memory.
        """
        start = offset & -PAGE
        end = min(round_up(offset + n, PAGE), self.size)
        if _madvise(self.address + start, end - start, _MADV_POPULATE_WRITE) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS):
            return False
        raise OSError(code, f"no memory for {n} bytes: {os.strerror(code)}")

    def writable_view(self) -> memoryview:
        """Returns the whole mapping as a writable view (which keeps it alive)."""
        block: Any = (ctypes.c_char * self.size).from_address(self.address)
        block.mapping = self
        return pickle.PickleBuffer(block).raw()


class _PyBuffer(ctypes.Structure):
    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


class Borrowed:
    """The address of a buffer's bytes, read-only ones too, for as long as the ``with`` lasts."""

    __slots__ = ("_buffer", "_release")

    def __init__(self, view: memoryview) -> None:
        self._release = _release_buffer  # at interpreter exit the module's globals may be gone first
        self._buffer = _PyBuffer()
        _get_buffer(view, ctypes.byref(self._buffer), 0)

    def __enter__(self) -> int:
        address = self._buffer.buf
        assert isinstance(address, int), "only buffers with bytes in them are borrowed"
        return address

    def __exit__(self, *exc: object) -> None:
        self._release(ctypes.byref(self._buffer))  # the second time, nothing happens

    @destructor
    def __del__(self) -> None:  # a Ctrl-C came before the ``with`` began
        self._release(ctypes.byref(self._buffer))
