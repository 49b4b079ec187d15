"""Reports how long values took to serialise and store, for the timing of cells.

Pickling sets `Packed.began` of what is worth the look; a caller that sees it reports here after the value was stored.
Small values are not looked at: reading the clock costs as much as pickling them.
"""

from __future__ import annotations

from typing import Any

from raynb.base import engine as engines
from raynb.base.process.waits import time

_now = time.monotonic


def stored(values: tuple[Any, ...], began: float) -> None:
    """Reports that these values are serialised and stored, if it took long enough to matter.

    Args:
        began: when pickling began (`Packed.began`).
    """
    on_serialised = engines.on_serialised
    if on_serialised is not None:
        took = _now() - began
        if took >= engines.SERIALISED_MIN_SECONDS:
            on_serialised(values, began, took)
