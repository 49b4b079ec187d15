"""The checksum of spilled objects: HMAC-SHA256 with a key that only this runtime's processes know.

Nobody else can make a file that passes, and the file's name goes in, so that two files of ours cannot
change places. It releases the GIL.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Sequence

from raynb.base.buffers import ALIGN, Gathered

CHUNK_BYTES = 4 << 20  # bytes summed or written at once: fits the processor's cache, and Ctrl-C waits for it
_BESIDE = 8 << 20  # from here on a second thread is worth its start
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


def of(block: memoryview, total: hmac.HMAC) -> bytes:
    """Returns the checksum of an object that lies in one block; ``total`` was started for it."""
    for at in range(0, len(block), CHUNK_BYTES):
        total.update(block[at : at + CHUNK_BYTES])
    return total.digest()


class Beside:
    """Computes a checksum while the ``with`` body writes the same bytes.

    Thread contract: for one thread; its helper thread has ended when the ``with`` ends.
    """

    def __init__(self, parts: Sequence[bytes | memoryview], total: hmac.HMAC) -> None:
        self._parts = parts
        self._total = total
        self._stop = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Beside:
        if sum(map(len, self._parts)) >= _BESIDE:
            thread = threading.Thread(target=self._sum, name="raynb-checksum", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: then one after the other
                return self
            self._thread = thread
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop = True
        if self._thread is not None:
            self._thread.join()

    def result(self) -> bytes:
        """Waits for the checksum and returns it."""
        if self._thread is None:
            self._sum()
        else:
            self._thread.join()
        return self._total.digest()

    def _sum(self) -> None:
        for part in self._parts:
            if self._stop:
                return
            self._total.update(part)
