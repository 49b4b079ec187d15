"""The loop: owns the machine, receives, sends, and wakes who waits. Only this file calls the machine.

Who receives: a thread that waits in `get` reads the sockets itself (one thread switch less for each
answer); while nobody waits, the I/O thread does. Who sends: whoever made a decision, after it has
left the lock; tasks that only wait behind others at a worker travel in batches.
"""

from __future__ import annotations

import select
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base.interrupts import Critical
from raynb.base.process import trace
from raynb.base.spec import TaskSpec
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.core.vocabulary import events as e
from raynb.engine.loop.callbacks import Callbacks
from raynb.engine.loop.connections import Connection
from raynb.engine.loop.health import Health
from raynb.engine.loop.io_thread import IoThread
from raynb.engine.loop.pace import SETTLE_MOST, Pace
from raynb.engine.loop.polling import IN
from raynb.engine.loop.waiters import Waiter, Waiters
from raynb.wire.channel import Closed
from raynb.wire.codec import BadFrame


class Loop:
    """Thread contract: `lock` guards the machine and everything the effects touch; it is never held
    while user code runs or a thread waits."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._validate = machine.config.validate
        #: Submitted, or put and small, but the machine has not been told.
        self.intake: deque[TaskSpec | e.ObjectStored] = deque()
        self.lock = Critical(self.intake, self.take_in)  # whoever is inside finds that it has been told
        self.effects: Callable[[list[Any]], None] = lambda commands: None
        self.take: Callable[[Connection, list[Any], float], None] = lambda connection, messages, now: None
        self.prepare: Callable[[list[Any]], None] = lambda messages: None
        self.lost: Callable[[Connection], None] = lambda connection: None
        self.on_tick: Callable[[float], None] = lambda now: None
        self.ref_log: deque[int] = deque()
        self.view_log: deque[int] = deque()
        self.drop_log: deque[tuple[list[int], float]] = deque()  # generators that ended: where, and when
        #: (task, index) → taken from its stream, and not yet in the hands of who asked (None: there is no more).
        self.items: dict[tuple[int, int], Any] = {}
        self.callbacks: deque[Callable[[], None]] = deque()  # our own, which whoever leaves the lock runs
        self.users = Callbacks()  # the users'
        self.connections: dict[int, Connection] = {}
        self.dirty: deque[Connection] = deque()
        self.health = Health(machine, lambda: self.waiters.tell_all())
        self.asked = 0.0  # when a worker last asked for something and waits
        self.hungry = False  # a worker has nothing to do until the next flush
        self.last_flush = 0.0
        self.pace = Pace(self)
        self._receive = Critical()
        self._send = Critical()
        self.waiters = Waiters(self)
        self.io = IoThread(self)
        self.pollers = (self.waiters.poll, self.io.poll)

    # -- the machine ---------------------------------------------------------------------------
    def apply(self, event: Any) -> None:
        """Tells the machine and carries out what it orders. Call under `lock`.

        Raises:
            RaySystemError: an exception left the machine or the effects, now or before. The runtime is at
                its end then; a half-made change is never used.
        """
        if self.health.changing is not None or self.health.broken:
            self.health.refuse(self.health.changing)
        self.health.changing = event
        try:
            commands = self.machine.handle(event)
            if commands:
                self.effects(commands)
            if self._validate:
                invariants.check(self.machine)
        except BaseException as error:
            self.health.end(error, event)
        self.health.changing = None

    def take_in(self) -> None:
        """Tells the machine of the submissions that were only noted. Call under `lock`."""
        intake = self.intake
        if self.health.broken:  # they were noted as it broke: whoever waits for them learns why
            intake.clear()
            return
        self.apply(e.Submitted(time.monotonic(), [intake.popleft() for _ in range(len(intake))]))

    def settle(self, now: float, most: int = sys.maxsize) -> None:
        """Tells the machine of refs (``most`` of them), views and generators that came and went. Call under `lock`."""
        log = self.ref_log
        count = min(len(log), most)
        if count:
            if self.intake:  # a ref that is gone again may be of a task that was noted meanwhile
                self.take_in()
            self.apply(e.RefsChanged(now, [log.popleft() for _ in range(count)]))
        views = self.view_log
        if views:
            self.apply(e.ViewsDied(now, [views.popleft() for _ in range(len(views))]))
        while self.drop_log:
            (task, index), when = self.drop_log.popleft()
            self.items.pop((task, index), None)
            self.apply(e.StreamDropped(now, task, index, when))

    def tell(self, event: Any, settle_most: int = sys.maxsize) -> None:
        """Tells the machine from outside the lock, and sends what follows."""
        with self.lock:
            self.settle(event.now, settle_most)
            self.apply(event)
        self.flush()
        self.run_callbacks()

    # -- sending -------------------------------------------------------------------------------
    def mark(self, connection: Connection) -> None:
        """Something waits in the connection's outbox. Call under `lock`."""
        if not connection.dirty:
            connection.dirty = True
            self.dirty.append(connection)

    def flush(self) -> None:
        """Sends everything that waits, as far as the sockets take it."""
        if self.intake:
            self.admit()
        if not self.dirty:
            return
        broken: list[Connection] = []
        with self._send:
            if self.health.sending or self.health.broken:
                self.health.refuse("sending")
            self.health.sending = True
            self.hungry = False
            try:
                while self.dirty:
                    connection = self.dirty.popleft()
                    connection.dirty = False
                    self._flush_connection(connection, broken)
            except BaseException as error:
                self.health.end(error, "sending")
            self.health.sending = False
        self.last_flush = time.monotonic()
        if broken:
            with self._receive, self.lock:  # what the peer has sent is still to be read
                for connection in broken:
                    self._drop(connection)

    def _flush_connection(self, connection: Connection, broken: list[Connection]) -> None:
        if connection.channel.closed:
            connection.close()  # closes the descriptors of what was queued too late
            return
        try:
            done = connection.flush()
        except Closed:
            broken.append(connection)
            return
        if done == connection.writing:
            connection.writing = not done
            flags = IN if done else IN | select.POLLOUT
            for poller in self.pollers:
                poller.modify(connection.channel.fd, flags)

    def admit(self) -> None:
        """Tells the machine of everything that was only noted, and of refs that went."""
        with self.lock:
            self.settle(time.monotonic(), SETTLE_MOST)

    def is_inside(self, thread: int) -> bool:
        """Returns whether a thread (its ident) is in the middle of a change, of reading or of sending."""
        return thread in (self.lock.owner, self._send.owner, self._receive.owner)

    # -- receiving -----------------------------------------------------------------------------
    def add(self, connection: Connection) -> None:
        """Begins to receive from a connection. Call under `lock`."""
        self.connections[connection.channel.fd] = connection
        for poller in self.pollers:
            poller.register(connection.channel.fd, IN)

    def remove(self, connection: Connection) -> None:
        """Stops receiving and closes the connection. Call under `lock`."""
        # Its number may be another connection's already, if this one was closed before.
        if self.connections.get(connection.channel.fd) is connection:
            del self.connections[connection.channel.fd]
            for poller in self.pollers:
                try:
                    poller.unregister(connection.channel.fd)
                except (KeyError, OSError, ValueError):
                    pass
        with self._send:  # nobody may be writing to it
            connection.close()

    def _drop(self, connection: Connection) -> None:
        if self.connections.get(connection.channel.fd) is connection:
            self.lost(connection)

    def receive(self, events: list[tuple[int, int]]) -> None:
        """Reads what has come, tells the machine, sends what follows."""
        with self._receive:
            if self.health.reading or self.health.broken:
                self.health.refuse("reading")
            self.health.reading = True
            try:
                self._take_up(events)
            except BaseException as error:
                self.health.end(error, "reading")
            self.health.reading = False
        self.flush()
        self.run_callbacks()

    def is_reading(self) -> bool:
        """Returns whether the calling thread is in `receive`."""
        return self._receive.is_mine()

    def _take_up(self, events: list[tuple[int, int]]) -> None:
        batches: list[tuple[Connection, list[Any] | None]] = []
        for fd, mask in events:
            connection = self.connections.get(fd)
            if connection is None:
                if fd == self.waiters.wake.read:
                    self.waiters.wake.drain()
                elif fd == self.io.wake.read:
                    self.io.wake.drain()
                continue
            if mask & select.POLLOUT:
                self.mark(connection)
            if mask & ~select.POLLOUT:
                batches.append((connection, _read(connection, self.prepare)))
        if len(batches) > 1:
            # The supervisor tells of deaths: what the dead had said before, and has been read, goes first.
            batches.sort(key=lambda batch: batch[0].peer is None)
        if batches:
            now = time.monotonic()
            with self.lock:
                for connection, messages in batches:
                    if messages is None:
                        self._drop(connection)
                    elif messages:
                        self._take(connection, messages, now)
                self.settle(now, SETTLE_MOST)

    def _take(self, connection: Connection, messages: list[Any], now: float) -> None:
        """Applies a peer's messages. A peer that sends nonsense is dropped; nobody else suffers for it."""
        try:
            self.take(connection, messages, now)
        except Exception as error:
            if self.health.broken or connection.peer is None:
                raise
            trace.swallowed(f"worker {connection.peer.worker} sent what makes no sense and was dropped", error)
            self._drop(connection)

    def drain(self, connection: Connection, now: float) -> None:
        """Takes in everything a dead peer had sent. Call under `lock`."""
        while not connection.channel.closed and connection.channel.readable():
            messages = _read(connection, self.prepare)  # none of them: a piece of a long frame
            if messages is None:
                return
            self._take(connection, messages, now)

    def call_back(self, waiter: Waiter) -> None:
        """Has a waiter's callback run: ours by whoever leaves the lock, a user's on a thread for those."""
        if waiter.callback is not None:
            put = self.callbacks.append if waiter.ours and not self.health.broken else self.users.put
            put(waiter.callback)

    def run_callbacks(self) -> None:
        while self.callbacks:
            try:
                callback = self.callbacks.popleft()
            except IndexError:
                return
            callback()

    # -- the end -------------------------------------------------------------------------------
    def fail(self, error: Exception) -> None:
        """The runtime is at its end: everybody who waits learns why."""
        with self.lock:
            if self.health.failure is None:
                self.health.failure = error
            self.waiters.tell_all()
        self.run_callbacks()

    def stop(self) -> None:
        """Ends the I/O thread and closes every connection. Call after `fail`: who waits leaves first."""
        self.io.stop()
        left = self.waiters.await_leaving()
        try:
            self.remove_all()
            self.close()
        finally:
            if left:
                self.waiters.left()

    def remove_all(self) -> None:
        """Closes every connection."""
        with self.lock:
            for connection in list(self.connections.values()):
                self.remove(connection)

    def close(self) -> None:
        """Closes the pollers and pipes (the connections are closed by their owners)."""
        self.waiters.close()
        self.io.close()


def _read(connection: Connection, prepare: Callable[[list[Any]], None]) -> list[Any] | None:
    """Returns the connection's messages, prepared; None when its peer is gone or sends nonsense."""
    if connection.channel.closed:
        return []
    try:
        messages = connection.channel.receive()
        prepare(messages)
        return messages
    except (Closed, BadFrame):
        return None
