"""Room on the stack, looked for before a step begins that must not be left half done.

A user's recursion may call the API at any depth. A ``RecursionError`` raised here leaves everything as it
was; one raised in the middle of such a step would not.
"""

from __future__ import annotations

import sys

FRAMES = 40  # as deep as any step of ours goes, with a signal handler on top
PICKLING_FRAMES = 150  # pickling and unpickling of what is not nested deep go no deeper


_frame = sys._getframe
_limit = sys.getrecursionlimit


def check(frames: int = FRAMES) -> None:
    """Returns if there is room for so many frames more. Takes about a microsecond.

    Raises:
        RecursionError: there is not.
    """
    try:
        _frame(_limit() >> 2)
    except ValueError:  # a shallow stack, by far the most usual: three levels of C a frame have room too
        return
    _down(frames)


def _down(frames: int) -> None:
    if frames:
        _down(frames - 1)
