"""Signals in a worker: cancels, and the user's own handlers, reach the user's code and nothing else.

A cancel is sent to the main thread as SIGURG, which nobody else sends and which does nothing by default;
the user's SIGINT handler is called for it, as it is for a Ctrl-C. `signal.signal` and `signal.getsignal`
are replaced, so that a handler of the user's is called by ours and can be held back.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.base.process.waits import time
from raynb.worker import state, user_code

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

CANCEL = signal.SIGURG
HELD_MS = 1  # while a signal is held, it is sent again this often
#: Seconds that a cancel waits for the end of an import. After that the worker, in which a module may be
#: half initialised for good, is replaced.
IMPORT_SECONDS = 0.3
#: asyncio's handler: it does nothing, because the loop learns of the signal through its wake-up descriptor.
_ASYNCIO_NOTHING = "_sighandler_noop"


class Signals:
    """Thread contract: `cancel` and `again` in the control thread, the rest in the main thread."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._main = threading.get_ident()
        self._hook = self._arrived
        self._handlers: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}  # the user's, by signal
        self.held: dict[int, bool] = {}
        self._set, self._get = signal.signal, signal.getsignal
        self.target = 0  # the task that a cancel is meant for; 0: none
        self.raised = 0  # cancels whose handler has raised something
        self._since = 0.0
        self.spoilt = False  # an import was interrupted: this process is not to run another task
        self.kept_off = False  # cancels wait: a step of ours runs the user's code, and must not be left half done
        self._sent: tuple[int, int] = (0, 0)  # the last exception of a cancel (its id), and the task
        self.forked = False  # a child that a task forked has none of our threads, and nothing to protect
        self._sigint_changed = False
        self._unraisable = sys.unraisablehook

    def install(self) -> None:
        """Replaces the handlers of SIGINT and SIGURG, and those that will be set from now on."""
        self._set(CANCEL, self._hook)
        self._set(signal.SIGINT, self._hook)
        signal.signal = self.set  # type: ignore[assignment]
        signal.getsignal = self.get  # type: ignore[assignment]
        sys.unraisablehook = self._dropped

    # -- what the user sees --------------------------------------------------------------------
    def set(self, signalnum: Any, handler: Any, /) -> Any:
        """Replaces `signal.signal`."""
        number = int(signalnum)
        if not callable(handler) or handler in (signal.SIG_DFL, signal.SIG_IGN) or number == CANCEL:
            old = self._set(signalnum, handler)
            self.held.pop(number, None)  # whose handler is gone
            return self._seen(number, old)
        before = self._handlers.get(number)
        self._handlers[number] = handler
        try:
            old = self._set(signalnum, self._hook)
        except BaseException:
            if before is None:
                del self._handlers[number]
            else:
                self._handlers[number] = before
            raise
        if number == signal.SIGINT:
            self._sigint_changed = True
        return before if old == self._hook else old

    def get(self, signalnum: Any, /) -> Any:
        """Replaces `signal.getsignal`."""
        return self._seen(int(signalnum), self._get(signalnum))

    def _seen(self, number: int, handler: object) -> Any:
        return self._handlers.get(number, signal.SIG_DFL) if handler == self._hook else handler

    # -- cancelling ----------------------------------------------------------------------------
    def cancel(self, task: int) -> None:
        """Interrupts the main thread's task as soon as its own code runs."""
        self._since = time.monotonic()
        self.target = task
        signal.pthread_kill(self._main, CANCEL)

    @property
    def pending(self) -> bool:
        """Whether a signal is held, or a cancel under way."""
        return bool(self.target or self.held)

    def again(self) -> None:
        """Has the main thread look at what is held once more. A held signal itself is not sent again: it may be handled
        in this moment, and would be handled twice; or be left to the system by now, which would end the process."""
        current = state.main_running
        if self.target and (current is None or current.task != self.target):
            self.target = 0  # it was over before
        if self.pending:
            signal.pthread_kill(self._main, CANCEL)

    def task_over(self, plain: bool) -> None:
        """After a task: the next one's cancel is not for the handler that this one has left (``plain``: a
        task, not an actor's call)."""
        self.target = 0
        if self._sigint_changed and plain:
            self._sigint_changed = False
            self.set(signal.SIGINT, signal.default_int_handler)
            self._sigint_changed = False

    # -- arriving ------------------------------------------------------------------------------
    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.forked:
            if number != CANCEL:
                self._handlers[number](number, frame)
            return
        if number != CANCEL:
            self._handle(number, frame)
            return
        self._cancel_arrived(frame)
        for held in tuple(self.held):
            if held in self.held:  # else it was handled in the middle of another one
                self._handle(held, frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Calls the user's handler of a signal where that may be, or holds the signal."""
        place = user_code.where(frame)
        if place == user_code.USER:
            self.held.pop(number, None)
            self._handlers[number](number, frame)
        elif place == user_code.IDLE and state.main_running is None:
            self.held.pop(number, None)
            self._call_idle(number, frame)
        elif getattr(self._handlers[number], "__name__", "") == _ASYNCIO_NOTHING:
            return
        else:
            self.held[number] = True
            self._wake()

    def _cancel_arrived(self, frame: FrameType | None) -> None:
        current = state.main_running
        if not self.target or current is None or current.task != self.target:
            return
        if self.kept_off or user_code.where(frame) not in (user_code.USER, user_code.PICKLING):
            self._wake()
            return
        if user_code.importing(frame):
            if time.monotonic() - self._since < IMPORT_SECONDS:
                self._wake()
                return
            self.spoilt = True
        self._deliver(frame)

    def _deliver(self, frame: FrameType | None) -> None:
        self.target = 0
        handler = self._get(signal.SIGINT)
        if handler == self._hook:
            handler = self._handlers[signal.SIGINT]
        if callable(handler):
            try:
                handler(signal.SIGINT, frame)
            except BaseException as error:
                self.raised += 1
                self._sent = id(error), getattr(state.main_running, "task", 0)
                raise

    def _dropped(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Replaces `sys.unraisablehook`: what a cancel raised in a destructor, or in the end of a generator that nobody
        has any more, Python drops. So it comes again."""
        current = state.main_running
        if current is None or self._sent != (id(unraisable.exc_value), current.task) or self.forked \
                or threading.get_ident() != self._main:  # fmt: skip
            self._unraisable(unraisable)
            return
        self._sent = 0, 0
        self.target = current.task
        self._wake()

    def checkpoint(self) -> None:
        """Delivers held signals. Waits of raynb's call it for the user, where no state is half changed."""
        if self.target and not self.kept_off:
            current = state.main_running
            if current is not None and current.task == self.target and threading.get_ident() == self._main:
                self._deliver(sys._getframe())
        if self.held and threading.get_ident() == self._main:
            for number in tuple(self.held):
                self.held.pop(number, None)
                self._handlers[number](number, sys._getframe())

    def _wake(self) -> None:
        link = self._worker.link
        link.wake_main()  # a wait of ours is to look at `checkpoint`
        link.nudge()

    def _call_idle(self, number: int, frame: FrameType | None) -> None:
        """Calls a handler while no task runs: what it raises is printed."""
        handler = self._handlers[number]
        if handler is signal.default_int_handler:
            return  # meant for a task that is over
        try:
            handler(number, frame)
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)  # what the user has put in its place may raise anything
