"""The layout of an object's segments behind each other: the pickle stream, then its buffers.

The same in an arena and in a file: each segment starts at a multiple of 64, and the size of the
whole is one too.
"""

from __future__ import annotations

from collections.abc import Sequence

from raynb.base.buffers import ALIGN, Gathered, flat

#: A stream up to this size is copied out when read: it is cheaper than a pin.
COPY_MAX_BYTES = 64 * 1024

#: Where a part goes, and what it is.
Part = tuple[int, "memoryview | Gathered"]

Loaded = tuple["bytes | memoryview", list[memoryview]]


def views_of(data: object, buffers: Sequence[object]) -> list[memoryview | Gathered]:
    """Returns the stream and the buffers as views of bytes, what is gathered as it is.

    Raises:
        BufferError: one isn't contiguous.
    """
    return [flat(data), *(b if type(b) is Gathered else flat(b) for b in buffers)]


def parts(views: Sequence[memoryview | Gathered], starts: Sequence[int], offset: int) -> list[Part]:
    """Returns where each part goes in an object that begins at ``offset``; ``starts`` is what `place` said."""
    found: list[Part] = []
    for start, view in zip(starts, views, strict=True):
        if type(view) is Gathered and view.copy is None:
            begin = offset + start
            found += [(begin + at, part) for at, part in zip(view.starts, view.parts, strict=True)]
        else:
            found.append((offset + start, view))
    return found


def place(lengths: Sequence[int]) -> tuple[list[int], int]:
    """Returns where each segment starts, and the size of the whole (at least 64)."""
    starts = []
    at = 0
    for n in lengths:
        starts.append(at)
        at += (n + ALIGN - 1) & -ALIGN
    return starts, at or ALIGN


def split(block: memoryview, segments: Sequence[int]) -> Loaded:
    """Returns the stream and the buffers as slices of the object's bytes, without copying,
    except that a small stream becomes ``bytes``, so that holding it doesn't pin the object."""
    n = segments[0]
    data: bytes | memoryview = bytes(block[:n]) if n <= COPY_MAX_BYTES else block[:n]
    starts, _ = place(segments)
    return data, [block[at : at + length] for at, length in zip(starts[1:], segments[1:], strict=True)]
