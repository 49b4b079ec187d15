"""The ends of a task's code that are Ray's to deal with, and no failures of the code."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import ray
from ray import exceptions as theirs

from raynb.engine.cluster import rays
from raynb.engine.cluster.bridge import Failure
from raynb.run import failures

#: Ray's own ways to end a task or a process: they must reach it as they are.
PASS = (SystemExit, theirs.AsyncioActorExit)
#: The same of a cancel.
CANCELS = (KeyboardInterrupt, theirs.TaskCancelledError, asyncio.CancelledError)


def is_cancelled(raised: BaseException, left: bool) -> bool:
    """Returns whether a cancel has ended the code.

    Args:
        raised: what came out of it. An `asyncio.CancelledError` that is not Ray's is an error of the code: passed on as
            it is, nobody would retrieve it.
        left: the person at a breakpoint's prompt wants it to end as cancelled.
    """
    if not isinstance(raised, asyncio.CancelledError):
        return isinstance(raised, theirs.TaskCancelledError) or failures.is_interrupt(raised)
    if left:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return False
    return task is not None and (sys.version_info < (3, 11) or task.cancelling() > 0)


def askable(raised: BaseException) -> BaseException:
    """Returns what came out of the code, or, if not even its class can be asked for, what is told in its place."""
    try:
        isinstance(raised, Failure)
    except BaseException as broken:
        return broken if is_asked() and failures.is_interrupt(broken) else failures.untold(raised, broken)
    return raised


def is_asked() -> bool | None:
    """Returns whether somebody has cancelled the task that runs here; None where Ray does not say: an older one, or an
    async actor."""
    try:
        return bool(rays.context().is_canceled())
    except (AttributeError, RuntimeError):
        return None


def has_met(before: bool | None, raised: BaseException | None = None) -> bool:
    """Returns whether a cancel has come since `is_asked` returned ``before``.

    Args:
        before: what it returned.
        raised: came out of what has run since.
    """
    now = is_asked()
    return now is not before if now is not None else raised is not None and failures.is_interrupt(raised)


def is_terminated(raised: SystemExit) -> bool:
    """Returns whether Ray ends this worker (SIGTERM: its node goes, or its placement group): the code did not exit."""
    return getattr(raised, "ray_terminate_msg", None) is not None


def _is_rays_to_log(record: logging.LogRecord) -> bool:
    """Returns whether a line of Ray's log is to be written.

    Of an actor of ours whose constructor failed the driver tells, in the user's frames; Ray tells of it in raynb's.
    """
    text = record.getMessage()
    failure = f"{Failure.__module__}.{Failure.__name__}"
    return not (text.startswith("Exception raised in creation task") and failure in text)


logging.getLogger("ray._raylet").addFilter(_is_rays_to_log)


def flush_before_exit(flush: Callable[[], object]) -> None:
    """Has ``flush`` called before ``os._exit`` ends this process, so that what it printed and reported is not lost.

    On one machine it is in a pipe by then. A forked child ends as ever: the reports are its parent's.
    """
    worker, leave = os.getpid(), os._exit

    def flushed(status: int) -> NoReturn:
        try:
            if os.getpid() == worker:
                flush()
        finally:
            leave(status)

    os._exit = functools.wraps(leave)(flushed)


def leave_loop(code: object) -> None:
    """Ends the process of an async actor as ``sys.exit(code)`` asks.

    On Ray's event loop a SystemExit ends the loop and nothing else: calls would wait for ever.
    """
    if code is None or code == 0:
        ray.actor.exit_actor()  # a wish to end, and no crash
    if not isinstance(code, int):
        print(code, file=sys.__stderr__, flush=True)
        code = 1
    os._exit(code)
