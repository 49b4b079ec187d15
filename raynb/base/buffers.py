"""Buffers that lie behind each other in one range of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

#: Where a large buffer may start (bytes): a cache line, and what numpy and Arrow like best.
ALIGN = 64
#: Small ones lie closer, or many of them would be mostly gaps. No plain number needs more.
ALIGN_SMALL = 16

_GAP = bytes(ALIGN)


def unit(n: int) -> int:
    """Returns what the place of a buffer of ``n`` bytes is a multiple of."""
    return ALIGN if n >= ALIGN else ALIGN_SMALL


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
