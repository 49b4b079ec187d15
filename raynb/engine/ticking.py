"""Makes an `await` in a notebook interruptible."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.1


async def ticking(waiting: asyncio.Future[T]) -> T:
    """Returns what the future brings. An idle await is not interruptible in ipykernel; one that ticks is."""
    while not (await asyncio.wait({waiting}, timeout=TICK_SECONDS))[0]:
        pass
    return waiting.result()
