"""Keeps the threads that wait for objects, one of which reads the sockets.

A thread that waits in `get` reads the sockets itself: one thread switch less for each answer. Of
several, one leads (reads); the others sleep until their objects are ready or the lead is free.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raynb.base import engine as slot
from raynb.base.interrupts import RESUME_SECONDS
from raynb.base.process import shelter, strikes
from raynb.base.process.waits import Bell, time
from raynb.engine.loop.polling import Poller, Wake

if TYPE_CHECKING:
    from raynb.engine.loop.shared import SharedLoop

_get_ident = threading.get_ident

SPIN_SECONDS = 0.0001 if (os.cpu_count() or 1) > 1 else 0.0
COALESCE_FROM_ANSWERS = 32  # answers still missing
QUIET_SECONDS = 0.01
COALESCE_SECONDS = 0.0001
WORKER_CHANGED_KEY = -1  # watched by who waits for a worker to come or go
LEAVE_SECONDS = 1.0  # at the end, threads that wait get so long to learn of it


class Waiter:
    """A thread or callback that waits for objects: done when ``left`` is zero, or, if ``eager``, when one failed.

    Thread contract: under the engine's lock, but for `done` and `event`.
    """

    __slots__ = ("callback", "done", "eager", "event", "failed", "keys", "leads", "left", "may_move",
                 "ours")  # fmt: skip

    def __init__(self, left: int, callback: Callable[[], None] | None = None, eager: bool = False) -> None:
        self.left = left
        self.eager = eager
        self.failed = False
        self.done = left <= 0
        self.event: Bell | None = None
        self.leads = False
        self.callback = callback
        self.keys: list[int] = []
        self.may_move = False  # the wait may begin anew in another thread
        self.ours = False  # the callback is ours and only wakes somebody: it needs no thread of its own


class Waiters:
    """Thread contract: `watch` and `ready` under the engine's lock; `wait` from any thread, without it."""

    def __init__(self, loop: SharedLoop) -> None:
        self._loop = loop
        self.watchers: dict[int, tuple[Waiter, ...]] = {}
        self.poll = Poller()
        self.wake = Wake()
        self.poll.register(self.wake.read, select.POLLIN)
        self.leading = False
        self.last_led = 0.0
        self.starved = False  # what is waited for does not come for want of memory
        self._lead = threading.Lock()
        self._leader = 0  # the ident of the thread that reads
        self._followers: list[Waiter] = []
        self._asides: dict[Waiter, Callable[[], object]] = {}  # what a thread that waits is to do first
        strikes.waiters.add(self)

    def watch(self, keys: Sequence[int], waiter: Waiter) -> None:
        """Counts ``waiter`` down as each key becomes ready. Call under `lock`."""
        waiter.keys.extend(keys)
        watchers = self.watchers
        alone = (waiter,)
        if len(keys) > 1:
            found = dict.fromkeys(keys, alone)
            if len(found) == len(keys) and watchers.keys().isdisjoint(found):
                watchers.update(found)
                return
        for key in keys:
            others = watchers.get(key)
            watchers[key] = alone if others is None else others + alone

    def ready(self, key: int, failed: bool = False) -> None:
        """Counts down the waiters of a key that became ready, and wakes those that are done. Call under `lock`."""
        for waiter in self.watchers.pop(key, ()):
            waiter.left -= 1
            if failed and waiter.eager:
                waiter.failed = True
                waiter.left = 0
            if waiter.left <= 0 and not waiter.done:
                waiter.done = True
                if waiter.callback is not None:
                    self._loop.call_back(waiter)
                elif waiter.leads:
                    # The leader has most often read the answer itself, and checks `done` next. If it woke itself,
                    # it would read that as one more answer: "one task at a time" takes 5 % longer then.
                    if self._leader != _get_ident() or not self._loop.is_reading():
                        self.wake()
                elif waiter.event is not None:
                    waiter.event.set()

    def unwatch(self, waiter: Waiter) -> None:
        """Removes a waiter that has given up, or has enough. Acquires the lock."""
        with self._loop.lock:
            for key in waiter.keys:
                others = tuple(other for other in self.watchers.get(key, ()) if other is not waiter)
                if others:
                    self.watchers[key] = others
                else:
                    self.watchers.pop(key, None)

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Waits until the waiter is done; False when the time (monotonic) is up. Interruptible."""
        on_wait = slot.on_wait
        if on_wait is None or waiter.done:
            return self._wait(waiter, deadline)
        over = on_wait(waiter)
        try:
            while True:
                there = self._wait(waiter, deadline)
                aside = self._asides.pop(waiter, None)
                if aside is None:
                    return there
                began = time.monotonic()
                over()
                aside()
                with self._loop.lock:  # else an object that becomes ready now may be missed
                    waiter.done = waiter.left <= 0
                over = on_wait(waiter)  # after it, so that it may interrupt again
                if deadline is not None:
                    deadline += time.monotonic() - began
        finally:
            over()

    def wait_or_unwatch(self, waiter: Waiter, deadline: float | None) -> bool:
        """Waits as `wait` does, and may move to another thread; removes the waiter unless it is done at the end."""
        waiter.may_move = True
        try:
            done = self.wait(waiter, deadline)
        except BaseException:
            self.unwatch(waiter)
            raise
        if not done:
            self.unwatch(waiter)
        return done

    def interrupt(self, waiter: Waiter, aside: Callable[[], object]) -> None:
        """Has the thread that waits call ``aside``, and then go on to wait; that time does not count.

        Only for a waiter that `raynb.base.engine.on_wait` was called with. Does nothing once it is done.
        """
        with self._loop.lock:
            if waiter.done:
                return
            self._asides[waiter] = aside
            waiter.done = True
            if waiter.leads:
                self.wake()
            elif waiter.event is not None:
                waiter.event.set()

    def _wait(self, waiter: Waiter, deadline: float | None) -> bool:
        gone = shelter.abandoned()
        while not waiter.done:
            if gone is not None and gone():
                raise shelter.Abandoned
            if gone is None and waiter.may_move and shelter.must_move():
                raise shelter.Moved
            if self._loop.health.failure is not None:
                raise self._loop.health.error()
            if deadline is not None and time.monotonic() >= deadline:
                return False
            if self._lead.acquire(blocking=False):
                try:
                    self._be_leader(waiter, deadline, gone)
                finally:
                    waiter.leads = False
                    self.leading = False
                    self._leader = 0
                    self.last_led = time.monotonic()
                    self._lead.release()
                    self._promote()
            elif self._leader == _get_ident():
                self._lead_inside(waiter, deadline, gone)
            else:
                self._follow(waiter, deadline, RESUME_SECONDS if gone is None else shelter.LOOK_SECONDS)
        return True

    def _be_leader(self, waiter: Waiter, deadline: float | None, gone: Callable[[], bool] | None) -> None:
        loop = self._loop
        poll = self.poll
        self._leader = _get_ident()
        self.leading = waiter.leads = True
        loop.io.step_aside()
        while not waiter.done and loop.health.failure is None:
            loop.flush()
            quiet = time.monotonic() - loop.asked > QUIET_SECONDS
            if quiet and waiter.left > COALESCE_FROM_ANSWERS:
                # Many answers are to come and no worker waits for one of ours: read them by the
                # dozen instead of waking for each.
                time.sleep(COALESCE_SECONDS)
            if (waiter.left == 1 or not quiet) and self._spin(poll):
                continue
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if gone is None and waiter.may_move and shelter.must_move():
                return
            if gone is not None and gone():
                return
            most = RESUME_SECONDS if gone is None else shelter.LOOK_SECONDS
            events = poll.wait(most if left is None else min(left, most))
            if events:
                loop.receive(events)

    def _lead_inside(self, waiter: Waiter, deadline: float | None, gone: Callable[[], bool] | None) -> None:
        """Reads in the thread that leads already, further out: a destructor of the user's interrupts it, and waits."""
        try:
            self._be_leader(waiter, deadline, gone)
        finally:
            waiter.leads = False
            self.wake()  # further out, what was waited for may have come meanwhile

    def _spin(self, poll: Poller) -> bool:
        """Looks for an answer for a moment before going to sleep; returns whether something came.

        An answer to one quick task is there sooner than the system can put a core to sleep and wake
        it again.
        """
        end = time.monotonic() + SPIN_SECONDS
        while True:
            events = poll.wait(0)
            if events:
                self._loop.receive(events)
                return True
            if time.monotonic() > end:
                return False

    def _follow(self, waiter: Waiter, deadline: float | None, most: float) -> None:
        if waiter.event is None:
            waiter.event = Bell()
        self._followers.append(waiter)
        try:
            if not waiter.done and self._lead.locked():
                left = most if deadline is None else min(most, max(0.0, deadline - time.monotonic()))
                told = waiter.event.wait(left)
                if not told and hasattr(select, "epoll"):  # which, unlike poll, several threads may call at once
                    self._read_instead()
        finally:
            self._followers.remove(waiter)

    def _read_instead(self) -> None:
        """Reads what the thread that leads has left unread for so long: a destructor of the user's, which the garbage
        collector calls in that thread, may wait for a lock that the calling thread has. What wakes the one that leads
        is left to it: drained here just before it is up, it would go on to sleep."""
        events = [event for event in self.poll.wait(0) if event[0] in self._loop.connections]
        if events:
            self._loop.receive(events)

    def _promote(self) -> None:
        """Wakes one follower, which takes the lead that is free now."""
        for waiter in list(self._followers):
            if not waiter.done and waiter.event is not None:
                waiter.event.set()
                return

    def starve(self) -> None:
        """Has the thread that reads the sockets raise MemoryError: another one has too little to answer a worker."""
        self.starved = True
        self.wake()

    # -- the end -------------------------------------------------------------------------------
    def wake_all(self) -> None:
        """Wakes every waiter and the I/O thread; each checks whether the runtime has failed. Call under `lock`."""
        for waiters in list(self.watchers.values()):
            for waiter in waiters:
                if waiter.callback is not None and not waiter.done:
                    waiter.done = True
                    self._loop.call_back(waiter)
        self.wake_threads()
        self._loop.io.wake()

    def wake_threads(self) -> None:
        """Wakes every thread that waits; each looks whether it is to go on elsewhere. From any thread."""
        for waiters in list(self.watchers.values()):
            for waiter in waiters:
                if waiter.event is not None:
                    waiter.event.set()
        for waiter in list(self._followers):
            if waiter.event is not None:
                waiter.event.set()
        self.wake()

    def await_leaving(self) -> bool:
        """Waits until nobody sleeps in the poller; returns whether `left` must follow.

        A poller must not be closed under the thread that sleeps in it. (One that leads and stops the
        runtime from a callback would wait for itself: hence the limit.)
        """
        self.wake()
        return self._lead.acquire(timeout=LEAVE_SECONDS)

    def left(self) -> None:
        """Releases the lead: another waiting thread may read the sockets."""
        self._lead.release()

    def close(self) -> None:
        """Closes the poller and the pipe."""
        self.poll.close()
        self.wake.close()
