"""Buffers: as flat views of bytes, and behind each other in one range of memory.

No `PickleBuffer` is made over a memoryview, anywhere: it exports the view, and CPython before 3.13 clears an
exported view when both are garbage of one cycle (an exception that is kept, its frames, their variables),
which ends the process with SIGSEGV when the export is given back. A slice or a cast shares the view's
buffer and exports nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Where a large buffer may start (bytes): a cache line, and what numpy and Arrow like best.
ALIGN = 64
#: Small ones lie closer, or many of them would be mostly gaps. No plain number needs more.
ALIGN_SMALL = 16

_GAP = bytes(ALIGN)


def unit(n: int) -> int:
    """Returns what the place of a buffer of ``n`` bytes is a multiple of."""
    return ALIGN if n >= ALIGN else ALIGN_SMALL


def flat(buffer: Any) -> memoryview:
    """Returns any contiguous buffer as a one-dimensional view of bytes, without a copy if there is a way.

    A memoryview that can't be cast (Fortran order, or a format that only numpy reads) is copied, as a
    `PickleBuffer` over it is no way: see above.

    Raises:
        BufferError: it isn't contiguous, so it has no single range of bytes.
    """
    if type(buffer) is memoryview:
        if buffer.format == "B" and buffer.ndim == 1 and buffer.c_contiguous:
            return buffer
        if buffer.contiguous:
            if not buffer.nbytes:
                return memoryview(b"")
            try:
                return buffer.cast("B")
            except (TypeError, ValueError):
                return memoryview(buffer.tobytes(order="A"))
    else:
        try:
            raw = (buffer if type(buffer) is pickle.PickleBuffer else pickle.PickleBuffer(buffer)).raw()
        except BufferError:
            pass
        else:
            # A PickleBuffer that somebody else made over a memoryview: what is kept is the view itself.
            return flat(raw.obj) if type(raw.obj) is memoryview else raw
    raise BufferError(
        f"a {type(buffer).__name__} isn't contiguous in memory and can't be stored as it is; "
        "copy it first (numpy.ascontiguousarray)"
    )


class Gathered:
    """Several buffers that are written, kept and read as one.

    Thread contract: immutable.

    Args:
        parts: the buffers, as flat views of bytes; or a function that makes them when they are needed.
        starts: where each begins; ascending, without overlaps.
        copy: writes all of them into a view of as many bytes; for small ones, where it is faster than one by one.
        nbytes: of the whole; only needed if ``parts`` is a function.
    """

    __slots__ = ("_parts", "copy", "nbytes", "starts")

    def __init__(
        self,
        parts: Sequence[memoryview] | Callable[[], Sequence[memoryview]],
        starts: Sequence[int],
        copy: Callable[[memoryview], None] | None = None,
        nbytes: int = 0,
    ) -> None:
        self._parts = parts
        self.starts = starts
        self.copy = copy
        self.nbytes = nbytes or starts[-1] + len(self.parts[-1])

    @property
    def parts(self) -> Sequence[memoryview]:
        """The buffers as flat views of bytes; made now if that was put off."""
        return self._parts() if callable(self._parts) else self._parts

    def __len__(self) -> int:
        return self.nbytes

    def pieces(self) -> Iterator[memoryview | bytes]:
        """Gives the bytes in order, with zeros in the gaps."""
        at = 0
        for start, part in zip(self.starts, self.parts, strict=True):
            if start > at:
                yield _GAP[: start - at]
            yield part
            at = start + len(part)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())
