"""The C library's heap in worker processes: pages that one task has freed serve the next one.

By default glibc gives large blocks back to the system at once, and the end of the heap when 128 KiB of it are free. A
task that makes and drops arrays of some megabytes then has the system clear the same pages again and again: up to a
fifth of its processor time. glibc raises both limits by itself as blocks are freed, to `MMAP_BYTES` and twice that at
most; workers begin there. An idle worker gives its free pages back.
"""

from __future__ import annotations

import ctypes
import os
import sys

MMAP_BYTES = 32 << 20  # blocks up to this size come from the heap; glibc's own most
REST_SECONDS = 1.0  # so long after its last task, a worker gives its free pages back
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")

_libc: ctypes.CDLL | None = None


def keep_pages() -> None:
    """Sets the limits for this process and its forks, unless the user's environment has set some; elsewhere than with
    glibc, nothing happens."""
    global _libc
    if not sys.platform.startswith("linux"):
        return
    if any(name in os.environ for name in _VARIABLES) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * MMAP_BYTES)
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):  # another C library
        return
    _libc = libc


def give_back() -> None:
    """Returns free pages of the heap to the system."""
    if _libc is not None:
        _libc.malloc_trim(0)
