"""Decides when a submitting thread drains its submissions into the machine and sends them.

A submission, or the put of a small value, is first appended to the loop's submission queue: one step in C. A single
one is drained and sent at once. In a loop of them the submitting thread drains a dozen at a time and sends them in
shared frames. Where it may not acquire the lock, the I/O thread does it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from raynb.base.process import headroom, shelter

if TYPE_CHECKING:
    from raynb.engine.loop.shared import SharedLoop

_get_ident = threading.get_ident

TAKE_SECONDS = 0.0002  # in a loop of submissions, the queue is drained this often
FLUSH_SECONDS = 0.0002  # and tasks for idle workers are sent this often
FILL_SECONDS = 0.001  # and tasks that wait behind others at a worker this often
#: Changes of refs applied under one hold of the lock, where no more are needed: a million of them take 1.7 s, and a
#: thread that wants the lock meanwhile would wait for all of it.
MAX_REFS_PER_DRAIN = 20_000


class Pace:
    """Batches submissions and puts.

    Thread contract: from any thread, without a lock; two threads may drain a little too often.
    """

    def __init__(self, loop: SharedLoop) -> None:
        self._loop = loop
        self.submissions = 0
        self._drained_at = 0.0  # when a loop of submissions or puts last drained the queue (monotonic seconds)
        self._submitted_at = 0.0  # the last submission (monotonic seconds)

    def submitted(self, now: float) -> None:
        """Call after a submission: sends it at once if the last frame is a while ago, else with others."""
        self.submissions += 1
        loop = self._loop
        # The one before was waited for, so this one will be, too, most likely.
        one_by_one = loop.waiters.last_led > self._submitted_at
        self._submitted_at = now
        if (one_by_one or now - self._drained_at > TAKE_SECONDS) and self._may_enter():
            self._drained_at = now
            if one_by_one:
                # Its worker begins while the caller goes on to `get`. Refs that went are left for there.
                with loop.lock:
                    pass  # drains the queue
                loop.flush()
                loop.run_callbacks()
                return
            waited = now - loop.last_flush
            loop.drain_all()
            if waited > FILL_SECONDS or (loop.hungry and waited > FLUSH_SECONDS):
                loop.flush()
                # Answers to a loop of submissions are read as it goes on: few at a time, and the tasks they end
                # were made a moment ago, so they are still in the processor's cache. A task by itself has no
                # answer yet: looking for one makes "one task at a time" 2 % slower.
                alone = len(loop.machine.tasks.table) <= 1
                if not alone and not loop.io.stopping and (events := loop.waiters.poll.wait(0)):
                    loop.receive(events)
                loop.run_callbacks()
                return
        if loop.io.asleep:
            self._wake_io()

    def put(self, now: float) -> None:
        """Call after a put: no thread waits for the machine to see it, so several are drained at once."""
        if now - self._drained_at > TAKE_SECONDS:
            if self._may_enter():
                self._drained_at = now
                self._loop.drain_all()
                self._loop.flush()  # objects dropped meanwhile may have freed memory: workers learn of it
                self._loop.run_callbacks()
            else:
                self._wake_io()

    def _wake_io(self) -> None:
        io = self._loop.io
        if asleep := io.asleep:
            io.wake()
            if io.asleep == asleep:  # it has not slept again meanwhile; no thread gets between this and the next step
                io.asleep = 0

    def _may_enter(self) -> bool:
        """Returns whether the calling thread may change the machine here: nothing can interrupt it, there is
        room on its stack, and it is not in the middle of a change."""
        if self._loop.is_inside(_get_ident()):
            # In a destructor that the garbage collector called inside a change: the next thread drains the queue.
            return False
        if shelter.exposed():
            return False
        try:
            headroom.check()
        except RecursionError:
            return False
        return True
