"""Sends a worker's requests to the driver, and waits for the answers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base.interrupts import RESUME_SECONDS
from raynb.base.process import headroom
from raynb.base.process.waits import Bell, time
from raynb.serde import pickling
from raynb.wire import messages as w

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

#: (number, answer on the control channel?, tasks handed back) → the message that asks.
Make = Callable[[int, bool, tuple[int, ...]], Any]

LOOK_SECONDS = 0.1


class _Waiting:
    """A request that is not answered yet."""

    __slots__ = ("answer", "bell", "callback", "since")

    def __init__(self, callback: Callable[[Any], None] | None = None) -> None:
        self.answer: Any = None
        self.since = time.monotonic()  # for who asks what a task waits for
        self.callback = callback
        self.bell = Bell() if callback is None else None


class OpenRequests:
    """Thread contract: every method from any thread of the worker."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self._open: dict[int, _Waiting] = {}  # whoever takes one out of it has it
        self._numbers = itertools.count(1)

    def after_fork_in_child(self) -> None:
        """Clears the requests: a forked child gets no answers."""
        self._open.clear()

    def replied(self, message: Any) -> None:
        """Delivers an answer (in the main or the control thread)."""
        if message.lent:
            self.worker.borrowed.lent(message.lent)
        waiting = self._open.get(message.request)
        if waiting is not None:
            waiting.answer = message  # before it is taken out: see `_drop`
        if waiting is None or self._open.pop(message.request, None) is None:  # nobody waits any more
            if message.lent:
                self.worker.borrowed.returned(message.lent)
            return
        if waiting.callback is not None:
            waiting.callback(message)
        elif waiting.bell is not None:
            waiting.bell.set()

    def _new(self, callback: Callable[[Any], None] | None = None) -> tuple[int, _Waiting]:
        waiting = _Waiting(callback)
        number = next(self._numbers)
        self._open[number] = waiting
        return number, waiting

    def _here(self) -> bool:
        """Returns whether the caller is the main thread of a worker that reads its own channel."""
        host = self.worker.executor.host
        return threading.get_ident() == self.worker.main_ident and not (host is not None and host.concurrent)

    def post(self, message: Any) -> None:
        """Queues a message without an answer for the next frame."""
        self.worker.link.post(message)

    def later(self, make: Make, callback: Callable[[Any], None]) -> None:
        """Sends a request; ``callback`` gets the answer, in the thread that receives it."""
        number, _ = self._new(callback)
        link = self.worker.link
        link.post(make(number, True, ()))
        link.flush()

    def wait(self, make: Make, timeout: float | None) -> Any:
        """Sends a request and waits for its answer (seconds); None when the time is up."""
        headroom.check()  # from here on a RecursionError would lose messages
        link = self.worker.link
        if self.worker.capture.pending():
            self.worker.capture.forward()
        here = self._here()
        number, waiting = self._new()
        try:
            self._hand_back(lambda handed: make(number, not here, handed), here)
            link.flush()
            deadline = None if timeout is None else time.monotonic() + timeout
            while waiting.answer is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                if here:
                    link.wait_data(RESUME_SECONDS if left is None else min(left, RESUME_SECONDS))
                    link.read()
                    if waiting.answer is None:
                        self._hand_back(lambda handed: w.Withdrawn(handed) if handed else None, here)
                else:
                    self._wait_beside(waiting, left)
                self.worker.signals.checkpoint()
        except BaseException:
            if not self._drop(number):  # it was answered, and nobody will look at that
                self.worker.borrowed.returned(waiting.answer.lent)
            raise
        if waiting.answer is None and self._drop(number):
            return None  # an answer that comes in this moment is given back by who receives it
        return waiting.answer

    def _hand_back(self, make: Callable[[tuple[int, ...]], Any], here: bool) -> None:
        """Posts a message with the unstarted tasks that a waiting main thread hands back."""
        try:
            message = make(self.worker.hand_back_all() if here else ())
            if message is not None:
                self.worker.link.post(message)
        except BaseException as error:
            self.worker.link.broken(error)  # nobody would have those tasks

    def _wait_beside(self, waiting: _Waiting, left: float | None) -> None:
        """Waits while the control thread reads, or in its place; the main thread checks for signals now and then."""
        assert waiting.bell is not None
        if self.worker.link.attend_here(left):
            return
        most = LOOK_SECONDS if threading.get_ident() == self.worker.main_ident else threading.TIMEOUT_MAX
        waiting.bell.wait(most if left is None else min(left, most))

    def _drop(self, number: int) -> bool:
        """Withdraws a request; returns False if its answer has come."""
        waits = self._open.pop(number, None) is not None
        if waits:
            self.worker.link.post(w.DropRequest(number))
            self.worker.link.flush()
        return waits

    def call(self, method: str, *args: Any) -> Any:
        """Calls a method of the driver's engine; arguments and result are pickled."""
        packed = pickling.pack(args)
        blob = pickling.in_band(packed)

        def make(number: int, control: bool, handed: tuple[int, ...]) -> w.Call:
            if handed:  # a call has no field for them
                self.worker.link.post(w.Withdrawn(handed))
            return w.Call(number | (w.ON_CONTROL if control else 0), method, blob)

        answer = self.wait(make, None)
        result = pickling.unpack(*pickling.unpack_in_band(answer.blob))
        self.worker.borrowed.returned(answer.lent)
        if not answer.ok:
            raise result
        return result
