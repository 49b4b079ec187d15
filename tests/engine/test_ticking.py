"""Awaiting in a notebook: an interrupt ends it, and what was awaited says nothing afterwards."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from raynb.engine.ticking import ticking


async def _interrupted(told: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, about: told.append(about))
    waiting: asyncio.Future[None] = loop.create_future()
    reader = asyncio.ensure_future(ticking(waiting))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    waiting.set_exception(LookupError("its task was cancelled, too"))
    await asyncio.sleep(0)
    del waiting, reader
    gc.collect()


def test_the_error_of_what_was_awaited_when_it_was_interrupted_is_not_told() -> None:
    told: list[Any] = []
    asyncio.run(_interrupted(told))
    assert told == []
