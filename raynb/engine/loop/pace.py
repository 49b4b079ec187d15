"""When the machine is told of what a thread submits or puts.

A submission, or the put of a small value, is only noted in the loop's intake: one step in C. One by itself is told
and sent at once. In a loop of them the submitting thread tells the machine of a dozen now and then, and sends
frames of them. Where it may not enter, the I/O thread does it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from raynb.base.process import headroom, shelter

if TYPE_CHECKING:
    from raynb.engine.loop.loop import Loop

_get_ident = threading.get_ident

TAKE_SECONDS = 0.0002  # while more are submitted, the machine is told of them this often
FLUSH_SECONDS = 0.0002  # and tasks for idle workers are sent this often
FILL_SECONDS = 0.001  # and tasks that wait behind others at a worker this often
#: Refs that went which the machine is told of at a time, where no more is needed: a million of them take 1.7 s, and
#: who wants to enter meanwhile would wait for all of it.
SETTLE_MOST = 20_000


class Pace:
    """Thread contract: from any thread, without a lock; two threads may tell the machine a little too often."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.submissions = 0
        self._told_at = 0.0  # when a loop of submissions or puts last told the machine
        self._told = 0  # submissions by then

    def submitted(self, now: float) -> None:
        """After a submission: sends at once if the last frame is a while ago, else with others."""
        self.submissions = count = self.submissions + 1
        loop = self._loop
        if now - self._told_at > TAKE_SECONDS and self._may_enter():
            self._told_at = now
            alone = count - self._told <= 1
            self._told = count
            waited = now - loop.last_flush
            loop.admit()
            if waited > FILL_SECONDS or (loop.hungry and waited > FLUSH_SECONDS):
                loop.flush()
                # Answers to a loop of submissions are read as it goes on: few at a time, and what they
                # end was made a moment ago, so it is still in the processor's cache. To a task by itself there is
                # none yet: looking for it makes "one task at a time" 2 % slower.
                if not alone and not loop.io.stopping and (events := loop.waiters.poll.wait(0)):
                    loop.receive(events)
                loop.run_callbacks()
                return
        self._wake_io()

    def put(self, now: float) -> None:
        """After a put: nobody waits for the machine to know of it, so it is told of several at once."""
        if now - self._told_at > TAKE_SECONDS:
            if self._may_enter():
                self._told_at = now
                self._loop.admit()
                self._loop.flush()  # of what was dropped meanwhile, room may be given back
                self._loop.run_callbacks()
            else:
                self._wake_io()

    def _wake_io(self) -> None:
        io = self._loop.io
        if io.asleep:
            io.wake()
            io.asleep = False

    def _may_enter(self) -> bool:
        """Returns whether the calling thread may change the machine here: nothing can interrupt it, there is
        room on its stack, and it is not in the middle of a change."""
        if self._loop.is_inside(_get_ident()):
            # In a destructor, which the collector called in the middle of something: whoever is next tells of it.
            return False
        if shelter.exposed():
            return False
        try:
            headroom.check()
        except RecursionError:
            return False
        return True
