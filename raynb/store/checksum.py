"""The checksum of spilled objects: HMAC-SHA256, with a key that only this runtime's processes know, of the SHA-256
digests of their blocks.

Nobody else can make a file that passes, and the file's name and size go in, so that two files of ours cannot
change places. The blocks of large objects are summed by several threads: hashing releases the GIL, and one thread
takes longer for it than the system takes for writing.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence

from raynb.base.buffers import ALIGN, Gathered
from raynb.base.process import strikes

CHUNK_BYTES = 4 << 20  # bytes of a block, summed or written at once: fits the processor's cache; Ctrl-C waits for it
_TWO_THREADS_BYTES = 8 << 20  # from here on a second thread is worth its start
_MORE_THREADS_BYTES = 64 << 20  # and from here on more
_MAX_THREADS = 4
_ZEROS = bytes(ALIGN)


def pieces(views: Sequence[memoryview | Gathered]) -> list[bytes | memoryview]:
    """Returns an object's bytes as they lie in a file: chunks of each segment, and zeros up to the
    next multiple of 64. An object of nothing still has 64 bytes."""
    found: list[bytes | memoryview] = []
    for view in views:
        for piece in view.pieces() if type(view) is Gathered else (view,):
            found += [piece[at : at + CHUNK_BYTES] for at in range(0, len(piece), CHUNK_BYTES)]  # type: ignore[index]
        if len(view) % ALIGN:
            found.append(_ZEROS[len(view) % ALIGN :])
    return found or [_ZEROS]


def start(key: bytes, name: str, size: int) -> hmac.HMAC:
    """Returns the checksum of an object before its first byte.

    Args:
        key: the runtime's secret.
        name: the file's name, used once a runtime.
        size: bytes of the object.
    """
    return hmac.new(key, f"{name}\0{size}\0".encode(), "sha256")


class RunningChecksum:
    """A checksum that is computed as the bytes come.

    Thread contract: one thread.

    Args:
        total: was started for the object.
    """

    def __init__(self, total: hmac.HMAC) -> None:
        self._total = total
        self._block = hashlib.sha256()
        self._left = CHUNK_BYTES

    def update(self, view: memoryview) -> None:
        """Adds the next bytes."""
        while len(view):
            part = view[: self._left]
            self._block.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if not self._left:
                self._end()

    def digest(self) -> bytes:
        """Returns the checksum of what has come."""
        if self._left < CHUNK_BYTES:
            self._end()
        return self._total.digest()

    def _end(self) -> None:
        self._total.update(self._block.digest())
        self._block, self._left = hashlib.sha256(), CHUNK_BYTES


def of(block: memoryview, total: hmac.HMAC) -> bytes:
    """Returns the checksum of an object that lies in one block of memory; ``total`` was started for it."""
    with Beside([block], total) as beside:
        return beside.result()


class Beside:
    """Computes a checksum while the ``with`` body writes the same bytes.

    Thread contract: for one thread; its helper threads have ended when the ``with`` ends.
    """

    def __init__(self, parts: Sequence[bytes | memoryview], total: hmac.HMAC) -> None:
        self._blocks = list(_blocks(parts))
        self._digests = [b""] * len(self._blocks)
        self._total = total
        self._stop = False
        self._places = itertools.count()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Beside:
        size = len(self._blocks) * CHUNK_BYTES
        count = 0 if size < _TWO_THREADS_BYTES else 1 if size < _MORE_THREADS_BYTES else min(_MAX_THREADS, _cores())
        for _ in range(count):
            thread = strikes.OwnThread(self._sum, "raynb-checksum")
            try:
                thread.start()
            except RuntimeError:  # no more threads: then with those that there are
                break
            self._threads.append(thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        for thread in self._threads:
            thread.join()

    def result(self) -> bytes:
        """Sums what is left, waits for the others, and returns the checksum."""
        self._sum()
        for thread in self._threads:
            thread.join()
        if b"" in self._digests:
            raise MemoryError("a thread that sums blocks of a file found no memory")
        for digest in self._digests:
            self._total.update(digest)
        return self._total.digest()

    def _sum(self) -> None:
        for place in self._places:
            if self._stop or place >= len(self._blocks):
                return
            block = hashlib.sha256()
            for part in self._blocks[place]:
                block.update(part)
            self._digests[place] = block.digest()


def _blocks(parts: Iterable[bytes | memoryview]) -> Iterator[list[memoryview]]:
    """Yields the pieces of each block of `CHUNK_BYTES`; the last one may be shorter."""
    block: list[memoryview] = []
    left = CHUNK_BYTES
    for part in parts:
        view = memoryview(part)
        while len(view):
            piece = view[:left]
            block.append(piece)
            left -= len(piece)
            view = view[len(piece) :]
            if not left:
                yield block
                block, left = [], CHUNK_BYTES
    if block:
        yield block


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
