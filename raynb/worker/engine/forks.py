"""Cuts a child that a task has forked (`os.fork`, `multiprocessing`) off from the worker.

The child is a copy of the worker: with the sockets, on which it must not write; with the arena, in which it
would overwrite the worker's objects; and with the rest of the task before it, whose value is the worker's to
give. So it is cut off before it runs any code of the task's, and ends where the task's function returns.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base import engine as slot
from raynb.base.engine import Engine
from raynb.exceptions import RuntimeGoneError

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

FORKED = (
    "This process was forked inside a raynb task; the runtime stays with the task's worker. "
    "Call raynb.init() here to have one of its own, or submit remote tasks instead of forking."
)


class Severed:
    """Stands in for the worker's link in a forked child: it refuses to send."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeGoneError(FORKED)


def sever(worker: WorkerProcess) -> None:
    """Detaches a forked child from everything that belongs to the worker."""
    worker.link.after_fork_in_child()
    worker.link = Severed()  # type: ignore[assignment]
    worker.store.after_fork_in_child()
    worker.engine.after_fork_in_child()
    slot.set_current(None)
    slot.set_starter(refuse)


def refuse() -> Engine:
    """Raises `RuntimeGoneError`: what a forked child gets in place of a runtime."""
    raise RuntimeGoneError(FORKED)


def leave() -> NoReturn:
    """Ends a forked child when the task's function has returned or raised; a traceback goes to the task's output."""
    status = 0
    error = sys.exc_info()[1]
    if error is not None:
        code = error.code if isinstance(error, SystemExit) else 1
        status = code if isinstance(code, int) else int(code is not None)
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
