"""The running task that the calling code belongs to, in this worker."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from raynb.base.spec import TaskOptions
from raynb.wire.messages import Run


class RunningTask:
    """One task that runs here."""

    __slots__ = ("actor", "attempt", "consumed", "event", "future", "holds", "interrupted", "late", "leaves", "name",
                 "options", "scope", "task", "unended")  # fmt: skip

    def __init__(self, run: Run, options: TaskOptions) -> None:
        self.task = run.task
        self.scope = run.scope
        self.actor = run.actor
        self.attempt = run.attempt
        self.options = options
        self.name = options.name
        self.interrupted = False
        self.leaves = False  # it called exit_actor; it ends the actor even if it catches the exception
        self.holds: Any = None  # what the result contains must live until the result is sent
        self.late: tuple[int, ...] = ()  # lent to the task by answers while it read what was lost
        self.consumed = 0  # items of its stream that the reader took
        self.event: Any = None  # set when the reader took some
        self.future: Any = None  # its asyncio task, in async actors
        self.unended = ""  # the stream that it wrote to last, if its last line has no end yet

    def is_here(self) -> bool:
        """Returns whether the caller is the task itself, not an asyncio task that it started."""
        if self.future is None:
            return True
        try:
            return asyncio.current_task() is self.future
        except RuntimeError:  # in a thread without a loop
            return False


#: Threads and coroutines that a task starts with their context copied belong to it too.
running: contextvars.ContextVar[RunningTask | None] = contextvars.ContextVar("raynb_running", default=None)
#: What runs in the main thread: the answer for threads without a context of their own.
main_running: RunningTask | None = None


def current() -> RunningTask | None:
    """Returns the task that the calling code belongs to, or None."""
    found = running.get()
    return found if found is not None else main_running
