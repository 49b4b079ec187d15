"""Waiters for objects of the machine, and futures of event loops that other threads complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raynb.base.process import trace
from raynb.base.process.waits import time
from raynb.core.vocabulary.transitions import O_READY
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter

if TYPE_CHECKING:
    import asyncio


def watch(
    loop: Loop,
    wanted: Sequence[int],
    needed: int,
    eager: bool = False,
    callback: Callable[[], None] | None = None,
) -> Waiter:
    """Returns a waiter for ``needed`` of the objects; an eager one is done when one of them failed."""
    with loop.lock:
        if loop.ref_log:
            loop.drain_logs(time.monotonic())
        table = loop.machine.objects.table
        pending = []
        failed = False
        for identity in wanted:
            obj = table.get(identity)
            if obj is None:
                continue
            if obj.state != O_READY:
                pending.append(obj)
            elif obj.error:
                failed = True
        waiter = Waiter(needed - (len(wanted) - len(pending)), callback, eager)
        waiter.ours = True
        if failed and eager and pending:
            waiter.failed = waiter.done = True
        elif waiter.left > 0:
            for obj in pending:
                obj.watched = True
            loop.waiters.watch([obj.id for obj in pending], waiter)
    return waiter


def wake_loop(own: asyncio.AbstractEventLoop, there: asyncio.Future[None]) -> None:
    """Sets the result of another thread's event loop's future; a loop that was closed meanwhile needs no answer."""
    try:
        own.call_soon_threadsafe(_end, there)
    except RuntimeError as error:
        trace.swallowed("an awaited object came when its event loop was closed", error, logging.DEBUG)


def _end(there: asyncio.Future[None]) -> None:
    if not there.done():
        there.set_result(None)
