"""The descriptors 0 to 2 of a process that starts a runtime."""

from __future__ import annotations

import os
import sys


def fill() -> None:
    """Opens the null device where a standard stream is closed, as in a daemon. A socket or a file of the runtime would
    get its number, and what somebody prints would go there. It stays open: others may use it by then."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            made = os.open(os.devnull, os.O_RDWR)
            if made != number:  # another thread has taken the number meanwhile
                os.close(made)


def open_missing() -> None:
    """Gives `sys.stdout` and `sys.stderr` a stream where Python found none at its start: Ray cannot do without. Call
    after `fill`."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
