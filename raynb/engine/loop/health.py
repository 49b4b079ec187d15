"""Fail-stop: a runtime into whose change an exception fell is never used again.

A thread that changes the machine, reads or writes sets a mark before and resets it after, each by a single store. An
exception that leaves a change ends the runtime where it is caught. One that could not be caught (it fell between two
lines, or the handler of the error failed too) is found by the next thread that enters: the mark is still set. The I/O
thread enters at least every `TICK_SECONDS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NoReturn

from raynb.base import interrupts
from raynb.base.process import trace
from raynb.core.machine import Machine
from raynb.exceptions import RaySystemError

STORY_EVENTS = 20  # last events quoted in the error of a broken runtime


class Health:
    """Finds changes that were left half made, and ends the runtime then.

    Thread contract: the marks under the lock of what they are about; the rest from any thread.

    Args:
        machine: its last events are quoted in the error.
        wake_all: wakes everybody who waits, and the I/O thread.
    """

    def __init__(self, machine: Machine, wake_all: Callable[[], object]) -> None:
        self._machine = machine
        self._wake_all = wake_all
        self.on_broken: Callable[[], None] = lambda: None  # called once, on the I/O thread
        self.failure: Exception | None = None
        self.broken = False
        #: Made beforehand: at the failure there may be no memory for more.
        self._bare = RaySystemError(
            "The raynb runtime has failed and was stopped. Tasks and objects are lost. Go on with `%raynb restart`, "
            "or with raynb.shutdown() and raynb.init()."
        )
        self.changing: object = None  # the event that is applied
        self.reading = False
        self.sending = False

    def error(self) -> Exception:
        """Returns an instance of the failure of its own for each who waits: they add tracebacks to it."""
        failure = self.failure or RaySystemError("The raynb runtime failed.")
        own = type(failure)(*failure.args)
        own.__cause__ = failure.__cause__
        return own

    def end(self, error: BaseException, during: object) -> NoReturn:
        """Calls `break_down`, then raises the failure (or the error itself if it is no `Exception`)."""
        self.break_down(error, during)
        if isinstance(error, Exception):
            raise self.error() from error
        raise error

    def break_down(self, error: BaseException, during: object) -> None:
        """Ends the runtime because an exception interrupted a change; every waiting thread raises why. Any thread."""
        if self.broken:
            return
        self.broken = True  # before all else: nothing goes on from here
        self.failure = self._bare
        try:
            self.failure = failure = self._described(error, during)
            trace.swallowed("the runtime failed", failure)
        except (MemoryError, RecursionError):
            pass  # the bare one says what matters
        finally:
            interrupts.resume_collector()
            self._wake_all()

    def _described(self, error: BaseException, during: object) -> RaySystemError:
        what = during if isinstance(during, str) else f"applying {type(during).__name__}"
        failure = RaySystemError(
            f"The raynb runtime has failed and was stopped: {type(error).__name__}: {error} (while {what}). Tasks and "
            "objects are lost; what a broken runtime said could not be trusted. Go on with `%raynb restart`, or with "
            f"raynb.shutdown() and raynb.init(). The last events:\n{self._story()}"
        )
        failure.__cause__ = error
        return failure

    def _story(self) -> str:
        try:
            last = list(itertools.islice(reversed(self._machine.history.ring), 3 * STORY_EVENTS))[::-1]
        except RuntimeError as error:  # another thread is in the middle of it
            return f"  (not readable: {error})"
        lines: list[str] = []
        now, what = 0.0, ""
        for item in last:
            if type(item) is float:
                now = item
            elif type(item) is tuple:
                what = f"{item[0]} {item[1]}"
            elif what:
                lines.append(f"  {now:.6f} {what} {item:#x}")
        return "\n".join(lines[-STORY_EVENTS:]) or "  (none)"

    def refuse(self, during: object) -> None:
        """Ends the runtime if a change was left half made; raises its failure."""
        if not self.broken:
            self.break_down(RuntimeError("an exception fell into it and left it half done"), during)
        raise self.error()
