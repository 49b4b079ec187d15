"""Makes an `await` in a notebook interruptible."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.1


async def ticking(waiting: asyncio.Future[T]) -> T:
    """Returns what the future brings. An idle await is not interruptible in ipykernel; one that ticks is."""
    try:
        while not (await asyncio.wait({waiting}, timeout=TICK_SECONDS))[0]:
            pass
    except BaseException:
        waiting.add_done_callback(_look_at)  # nobody reads it now, and asyncio would tell of its error in a later cell
        raise
    return waiting.result()


def _look_at(done: asyncio.Future[T]) -> None:
    """Has asyncio take the future's error, if there is one, for read."""
    if not done.cancelled():
        done.exception()
