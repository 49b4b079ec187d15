"""How a task leaves a worker of Ray's without a result: as cancelled, or with its process."""

from __future__ import annotations

import asyncio
import os
import sys

import ray


def is_cancelled(raised: BaseException, left: bool) -> bool:
    """Returns whether this is a cancel of Ray's, or of a prompt (``left``); anything else, nobody would retrieve."""
    if left or not isinstance(raised, asyncio.CancelledError):
        return isinstance(raised, asyncio.CancelledError)
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return False
    return task is not None and (sys.version_info < (3, 11) or task.cancelling() > 0)


def leave_loop(code: object) -> None:
    """Ends the process of an async actor as ``sys.exit(code)`` asks. On Ray's event loop a SystemExit ends the loop
    and nothing else: calls would wait for ever."""
    if code is None or code == 0:
        ray.actor.exit_actor()  # a wish to end, and no crash
    if not isinstance(code, int):
        print(code, file=sys.__stderr__, flush=True)
        code = 1
    os._exit(code)
