"""The loop: owns the machine, receives, sends, and wakes waiting threads. Only this module calls the machine.

Receiving: a thread that waits in `get` reads the sockets itself (one thread switch less for each
answer); while no thread waits, the I/O thread does. Sending: the thread whose event made the machine
decide flushes after it has released the lock; tasks that queue behind others at a worker go in batches.
"""

from __future__ import annotations

import select
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base.interrupts import Critical
from raynb.base.process import trace
from raynb.base.process.waits import time
from raynb.base.ref import changes_in
from raynb.base.spec import TaskSpec
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.core.vocabulary import events as e
from raynb.engine.loop.callbacks import Callbacks, run_all
from raynb.engine.loop.connections import Connection
from raynb.engine.loop.health import Health
from raynb.engine.loop.io_thread import IoThread
from raynb.engine.loop.pace import MAX_REFS_PER_DRAIN, Pace
from raynb.engine.loop.polling import IN
from raynb.engine.loop.waiters import Waiters
from raynb.wire.channel import Closed
from raynb.wire.codec import BadFrame

if TYPE_CHECKING:
    from raynb.engine.loop.shared import CallsBack

MOST_STARVED = 250  # reads in a row that may find no memory: 2.5 s
NO_MEMORY = (
    "raynb finds no memory to read what its workers have sent. Free some (del, gc.collect()) and ask again, or restart "
    "the kernel."
)


class Loop:
    """Applies events to the machine, carries out its commands, and moves messages between it and the sockets.

    Other threads append to queues without a lock (`submission_queue`, `ref_log`, `view_log`, `drop_log`); the next
    thread that acquires `lock` drains them, so the machine sees a submission before anything that could refer to it.

    Thread contract: `lock` guards the machine and everything the effects touch; it is never held
    while user code runs or a thread waits.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._validate = machine.config.validate
        #: Tasks submitted and small values put that the machine has not seen yet.
        self.submission_queue: deque[TaskSpec | e.ObjectStored] = deque()
        #: Acquiring it drains the submissions first: under the lock the machine knows all of them.
        self.lock = Critical(self.submission_queue, self.drain_submissions)
        self.effects: Callable[[list[Any]], None] = lambda commands: None
        self.take: Callable[[Connection, list[Any], float], None] = lambda connection, messages, now: None
        self.prepare: Callable[[list[Any]], None] = lambda messages: None
        self.lost: Callable[[Connection], None] = lambda connection: None
        self.on_tick: Callable[[float], None] = lambda now: None
        self.ref_log: deque[Any] = deque()  # read by `changes_in`
        self.view_log: deque[int] = deque()
        self.drop_log: deque[tuple[list[int], float]] = deque()  # (task, index), when: generators dropped
        #: (task, index) → item taken from its stream but not returned to the caller yet (None: the stream has ended).
        self.items: dict[tuple[int, int], Any] = {}
        self.callbacks: deque[Callable[[], None]] = deque()  # our own; run after the lock is released
        self.users = Callbacks()  # run the users' callbacks
        self.connections: dict[int, Connection] = {}
        self.dirty: deque[Connection] = deque()
        self.health = Health(machine, lambda: self.waiters.wake_all())
        self.asked = 0.0  # when a worker last asked for something and waits
        self.hungry = False  # a worker has nothing to do until the next flush
        self.last_flush = 0.0
        self.pace = Pace(self)
        self._receive = Critical()
        self._send = Critical()
        self.waiters: Waiters = Waiters(self)
        try:
            self.io = IoThread(self)
        except BaseException:
            self.waiters.close()
            raise
        self.pollers = (self.waiters.poll, self.io.poll)

    # -- the machine ---------------------------------------------------------------------------
    def apply(self, event: Any) -> None:
        """Applies an event to the machine and carries out its commands. Call under `lock`.

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

    def drain_submissions(self) -> None:
        """Applies all queued submissions to the machine. Call under `lock`."""
        queue = self.submission_queue
        if self.health.broken:  # queued as it broke: `get` of their refs raises the reason
            queue.clear()
            return
        self.apply(e.Submitted(time.monotonic(), [queue.popleft() for _ in range(len(queue))]))

    def drain_logs(self, now: float, max_refs: int = sys.maxsize) -> None:
        """Applies logged changes of refs (at most ``max_refs``), views and dropped generators. Call under `lock`."""
        if self.ref_log:
            came, changes = changes_in(self.ref_log, max_refs)
            if self.submission_queue:  # a ref that is gone again may be of a task queued meanwhile
                self.drain_submissions()
            self.apply(e.RefsChanged(now, changes, came))
        views = self.view_log
        if views:
            self.apply(e.ViewsDied(now, [views.popleft() for _ in range(len(views))]))
        while self.drop_log:
            (task, index), when = self.drop_log.popleft()
            self.items.pop((task, index), None)
            self.apply(e.StreamDropped(now, task, index, when))

    def dispatch(self, event: Any, max_refs: int = sys.maxsize) -> None:
        """Acquires the lock, drains the logs, applies the event, and sends what the machine ordered."""
        with self.lock:
            self.drain_logs(event.now, max_refs)
            self.apply(event)
        self.flush()
        self.run_callbacks()

    # -- sending -------------------------------------------------------------------------------
    def mark(self, connection: Connection) -> None:
        """Marks a connection whose outbox has messages, for the next `flush`. Call under `lock`."""
        if not connection.dirty:
            connection.dirty = True
            self.dirty.append(connection)

    def flush(self) -> None:
        """Sends all outboxes, as far as the sockets take them."""
        if self.submission_queue:
            self.drain_all()
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
            with self._receive, self.lock:  # its last messages are still to be read
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

    def drain_all(self) -> None:
        """Drains the submission queue and the logs (a bounded number of refs)."""
        with self.lock:
            self.drain_logs(time.monotonic(), MAX_REFS_PER_DRAIN)

    def is_inside(self, thread: int) -> bool:
        """Returns whether a thread (its ident) is in the middle of a change, of reading or of sending."""
        return thread in (self.lock.owner, self._send.owner, self._receive.owner)

    # -- receiving -----------------------------------------------------------------------------
    def add(self, connection: Connection) -> None:
        """Starts receiving from a connection. Call under `lock`."""
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
        with self._send:  # no other thread may be writing to it
            connection.close()

    def _drop(self, connection: Connection) -> None:
        if self.connections.get(connection.channel.fd) is connection:
            self.lost(connection)

    def receive(self, events: list[tuple[int, int]]) -> None:
        """Reads the sockets that are ready, applies the messages, and sends what the machine ordered.

        Raises:
            MemoryError: for a while, nothing could be read for want of memory. Nothing is lost.
        """
        with self._receive:
            if self.health.reading or self.health.broken:
                self.health.refuse("reading")
            self.health.reading = True
            try:
                self._take_up(events)
            except BaseException as error:
                self.health.end(error, "reading")
            self.health.reading = False
            # Here: another thread that reads has no reason to raise it.
            starved, self.waiters.starved = self.waiters.starved, False
        if starved:
            raise MemoryError(NO_MEMORY)
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
            # The supervisor reports deaths: what the dead worker had sent, and was read, is applied first.
            batches.sort(key=lambda batch: batch[0].peer is None)
        if batches:
            now = time.monotonic()
            with self.lock:
                for connection, messages in batches:
                    if messages is None:
                        self._drop(connection)
                    elif messages:
                        self._take(connection, messages, now)
                    elif connection.channel.starved >= MOST_STARVED:
                        connection.channel.starved = 0
                        self.waiters.starved = True
                self.drain_logs(now, MAX_REFS_PER_DRAIN)

    def _take(self, connection: Connection, messages: list[Any], now: float) -> None:
        """Applies a peer's messages. A peer whose messages make no sense is dropped; the others go on."""
        try:
            self.take(connection, messages, now)
        except Exception as error:
            if self.health.broken or connection.peer is None:
                raise
            trace.swallowed(f"worker {connection.peer.worker} sent what makes no sense and was dropped", error)
            self._drop(connection)

    def drain_connection(self, connection: Connection, now: float) -> None:
        """Reads and applies everything that a dead peer had sent. Call under `lock`."""
        while not connection.channel.closed and connection.channel.readable():
            messages = _read(connection, self.prepare)  # none of them: a piece of a long frame, or no memory
            if messages is None:
                return
            if connection.channel.starved >= MOST_STARVED:
                raise MemoryError("nothing could be read any more of what a dead worker had sent")
            self._take(connection, messages, now)

    def call_back(self, waiter: CallsBack) -> None:
        """Schedules a waiter's callback: our own run in `run_callbacks`, a user's on a thread for user callbacks."""
        if waiter.callback is not None:
            put = self.callbacks.append if waiter.ours and not self.health.broken else self.users.put
            put(waiter.callback)

    def run_callbacks(self) -> None:
        """Runs our own queued callbacks. Call without `lock`."""
        if self.callbacks:
            run_all(self.callbacks)

    # -- the end -------------------------------------------------------------------------------
    def fail(self, error: Exception) -> None:
        """Records that the runtime has failed; every waiting thread wakes and raises the reason."""
        with self.lock:
            if self.health.failure is None:
                self.health.failure = error
            self.waiters.wake_all()
        self.run_callbacks()

    def stop(self) -> None:
        """Ends the I/O thread and closes every connection. Call after `fail`: waiting threads leave first."""
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
    """Returns the connection's messages, prepared; None when its peer is gone or its bytes are no messages."""
    if connection.channel.closed:
        return []
    try:
        messages = connection.channel.receive()
        prepare(messages)
        return messages
    except (Closed, BadFrame):
        return None
