"""Buffers that lie behind each other in one range of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        parts: the buffers, as flat views of bytes.
        starts: where each begins; ascending, without overlaps.
    """

    __slots__ = ("nbytes", "parts", "starts")

    def __init__(self, parts: Sequence[memoryview], starts: Sequence[int]) -> None:
        self.parts = parts
        self.starts = starts
        self.nbytes = starts[-1] + len(parts[-1])

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
