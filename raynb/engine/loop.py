"""The loop: owns the machine, receives, sends, and wakes who waits. Only this file calls the machine.

Who receives: a thread that waits in `get` reads the sockets itself (one thread switch less for each
answer); while nobody waits, the I/O thread does. Who sends: whoever made a decision, after it has
left the lock; tasks that only wait behind others at a worker travel in batches.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base.interrupts import Critical
from raynb.core import events as e
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.engine.peers import Lane
from raynb.engine.polling import Poller, Wake
from raynb.engine.waiters import Waiters
from raynb.wire.channel import Closed
from raynb.wire.codec import BadFrame

FLUSH_SECONDS = 0.0001  # while more are submitted, tasks for idle workers are sent this often
FILL_SECONDS = 0.001  # and tasks that wait behind others at a worker this often
BUSY_SECONDS = 0.005  # the I/O thread looks this often while a loop of submissions runs
BUSY_SUBMISSIONS = 8  # so many since its last look make it one
PARK_SECONDS = 0.005  # the I/O thread stays out of the way this long after a waiting thread left
TICK_SECONDS = 0.05
IN = select.POLLIN


class Loop:
    """Thread contract: `lock` guards the machine and everything the effects touch; it is never held
    while user code runs or a thread waits."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._validate = machine.config.validate
        self.lock = Critical()
        self.effects: Callable[[list[Any]], None] = lambda commands: None
        self.take: Callable[[Lane, list[Any], float], None] = lambda lane, messages, now: None
        self.lost: Callable[[Lane], None] = lambda lane: None
        self.on_tick: Callable[[float], None] = lambda now: None
        self.ref_log: deque[int] = deque()
        self.view_log: deque[int] = deque()
        self.callbacks: deque[Callable[[], None]] = deque()
        self.lanes: dict[int, Lane] = {}
        self.dirty: deque[Lane] = deque()
        self.failure: BaseException | None = None
        self.asked = 0.0  # when a worker last asked for something and waits
        self.hungry = False  # a worker has nothing to do until the next flush
        self.last_flush = 0.0
        self._submissions = 0
        self._receive = Critical()
        self._send = Critical()
        self.waiters = Waiters(self)
        self._io_poll = Poller()
        self._io_wake = Wake()
        self._io_poll.register(self._io_wake.read, IN)
        self._serving = False
        self._asleep = False
        self._stopping = False
        self._next_look = 0.0
        self._thread = threading.Thread(target=self._serve, name="raynb-io", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # -- the machine ---------------------------------------------------------------------------
    def apply(self, event: Any) -> None:
        """Tells the machine and carries out what it orders. Call under `lock`."""
        commands = self.machine.handle(event)
        if commands:
            self.effects(commands)
        if self._validate:
            invariants.check(self.machine)

    def settle(self, now: float) -> None:
        """Tells the machine of refs and views that came and went. Call under `lock`."""
        log = self.ref_log
        if log:
            self.apply(e.RefsChanged(now, [log.popleft() for _ in range(len(log))]))
        views = self.view_log
        if views:
            self.apply(e.ViewsDied(now, [views.popleft() for _ in range(len(views))]))

    def tell(self, event: Any) -> None:
        """Tells the machine from outside the lock, and sends what follows."""
        with self.lock:
            self.settle(event.now)
            self.apply(event)
        self.flush()
        self.run_callbacks()

    # -- sending -------------------------------------------------------------------------------
    def mark(self, lane: Lane) -> None:
        """Something waits in the lane's outbox. Call under `lock`."""
        if not lane.dirty:
            lane.dirty = True
            self.dirty.append(lane)

    def flush(self) -> None:
        """Sends everything that waits, as far as the sockets take it."""
        if not self.dirty:
            return
        broken: list[Lane] = []
        with self._send:
            self.hungry = False
            while self.dirty:
                lane = self.dirty.popleft()
                lane.dirty = False
                self._flush_lane(lane, broken)
        self.last_flush = time.monotonic()
        if broken:
            with self.lock:
                for lane in broken:
                    self._drop(lane)

    def _flush_lane(self, lane: Lane, broken: list[Lane]) -> None:
        if lane.channel.closed:
            lane.close()  # closes the descriptors of what was queued too late
            return
        try:
            done = lane.flush()
        except Closed:
            broken.append(lane)
            return
        if done == lane.writing:
            lane.writing = not done
            flags = IN if done else IN | select.POLLOUT
            for poller in (self.waiters.poll, self._io_poll):
                poller.modify(lane.channel.fd, flags)

    def soon(self, now: float) -> None:
        """After a submission: send at once if the last frame is a while ago, else with others.

        One task by itself goes at once; a loop of submissions sends a frame of tasks now and then.
        """
        self._submissions += 1
        waited = now - self.last_flush
        if waited > FILL_SECONDS or (self.hungry and waited > FLUSH_SECONDS):
            self.flush()
            if not self._stopping:
                # Answers to a loop of submissions are read as it goes on: few at a time, and what they
                # end was made a moment ago, so it is still in the processor's cache.
                events = self.waiters.poll.wait(0)
                if events:
                    self.receive(events)
        elif self._asleep:
            self._asleep = False
            self._io_wake()

    # -- receiving -----------------------------------------------------------------------------
    def add(self, lane: Lane) -> None:
        """Begins to receive from a lane. Call under `lock`."""
        self.lanes[lane.channel.fd] = lane
        self.waiters.poll.register(lane.channel.fd, IN)
        self._io_poll.register(lane.channel.fd, IN)

    def remove(self, lane: Lane) -> None:
        """Stops receiving and closes the lane. Call under `lock`."""
        # Its number may be another lane's already, if this one was closed before.
        if self.lanes.get(lane.channel.fd) is lane:
            del self.lanes[lane.channel.fd]
            for poller in (self.waiters.poll, self._io_poll):
                try:
                    poller.unregister(lane.channel.fd)
                except (KeyError, OSError, ValueError):
                    pass
        with self._send:  # nobody may be writing to it
            lane.close()

    def _drop(self, lane: Lane) -> None:
        if self.lanes.get(lane.channel.fd) is lane:
            self.lost(lane)

    def receive(self, events: list[tuple[int, int]]) -> None:
        """Reads what has come, tells the machine, sends what follows."""
        with self._receive:
            batches: list[tuple[Lane, list[Any] | None]] = []
            for fd, mask in events:
                lane = self.lanes.get(fd)
                if lane is None:
                    if fd == self.waiters.wake.read:
                        self.waiters.wake.drain()
                    elif fd == self._io_wake.read:
                        self._io_wake.drain()
                    continue
                if mask & select.POLLOUT:
                    self.mark(lane)
                if mask & ~select.POLLOUT:
                    batches.append((lane, self.read(lane)))
            if batches:
                now = time.monotonic()
                with self.lock:
                    for lane, messages in batches:
                        if messages is None:
                            self._drop(lane)
                        elif messages:
                            self.take(lane, messages, now)
                    self.settle(now)
        self.flush()
        self.run_callbacks()

    def read(self, lane: Lane) -> list[Any] | None:
        """Returns the lane's messages; None when its peer is gone or sends nonsense."""
        if lane.channel.closed:
            return []
        try:
            return lane.channel.receive()
        except (Closed, BadFrame):
            return None

    def drain(self, lane: Lane, now: float) -> None:
        """Takes in everything a dead peer had sent. Call under `lock`."""
        while True:
            messages = self.read(lane)
            if not messages:
                return
            self.take(lane, messages, now)

    def run_callbacks(self) -> None:
        while self.callbacks:
            try:
                callback = self.callbacks.popleft()
            except IndexError:
                return
            callback()

    # -- the I/O thread ------------------------------------------------------------------------
    def step_aside(self) -> None:
        """A thread that waits reads from now on."""
        if self._serving:
            self._io_wake()

    def _serve(self) -> None:
        pause = PARK_SECONDS
        seen = 0  # submissions at the last look
        try:
            while not self._stopping:
                now = time.monotonic()
                if self.waiters.leading or now - self.waiters.last_led < PARK_SECONDS:
                    time.sleep(pause)
                    pause = min(pause * 1.5, 4 * PARK_SECONDS) if self.waiters.leading else PARK_SECONDS
                    if not self.waiters.leading:
                        self.flush()
                elif self._submissions - seen > BUSY_SUBMISSIONS:
                    # The submitting thread sends and reads by itself; only what it leaves is ours.
                    seen = self._submissions
                    time.sleep(BUSY_SECONDS)
                    if self._submissions - seen <= BUSY_SUBMISSIONS:
                        self.flush()
                else:
                    seen = self._submissions
                    self._serving = True
                    # `soon` looks at _asleep after it has queued; we look at dirty after setting it
                    self._asleep = True
                    events = [] if self.dirty or self.waiters.leading else self._io_poll.wait(self._timeout(now))
                    self._asleep = False
                    self._serving = False
                    if events:
                        self.receive(events)
                    if self.dirty and not self.waiters.leading:
                        # Somebody submits and will send it with others, or has left it to us.
                        time.sleep(BUSY_SECONDS)
                        if time.monotonic() - self.last_flush > BUSY_SECONDS:
                            self.flush()
                self._tick(time.monotonic())
        except BaseException as error:
            self.fail(error)

    def _timeout(self, now: float) -> float | None:
        with self.lock:
            due = self.machine.next_tick()
        if self.ref_log or self.view_log:
            return 0.005
        wait = TICK_SECONDS * 10 if due is None else max(0.001, due - now)
        return min(wait, TICK_SECONDS * 2 if self.machine.objects.table else wait)

    def _tick(self, now: float) -> None:
        if now < self._next_look:
            return
        self._next_look = now + TICK_SECONDS
        self.tell(e.Ticked(now))
        self.on_tick(now)

    def fail(self, error: BaseException) -> None:
        """The runtime is broken or at its end: everybody who waits learns why."""
        with self.lock:
            if self.failure is None:
                self.failure = error
            self.waiters.tell_all()
        self.run_callbacks()

    def stop(self) -> None:
        """Ends the I/O thread and closes every lane. Call after `fail`: who waits leaves first."""
        self._stopping = True
        self._io_wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        left = self.waiters.await_leaving()
        try:
            with self.lock:
                for lane in list(self.lanes.values()):
                    self.remove(lane)
            self.close()
        finally:
            if left:
                self.waiters.left()

    def close(self) -> None:
        """Closes the pollers and pipes (the lanes are closed by their owners)."""
        for thing in (self.waiters, self._io_poll, self._io_wake):
            thing.close()
