"""Fakes of what the driver's loop meets: sockets, the store, the supervisor, the clock.

With them the loop and its parts run in one thread, without a process, a file or a wait. A test plays the workers::

    driver = FakeDriver()
    worker = driver.start_worker()
    worker.channel.arrive(w.Withdrawn((), 0))
    driver.receive()

What the machine decides without any I/O is tested by `raynb.testing.simulation`.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raynb.base.config import Config
from raynb.core.machine import Machine
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.engine.local.processes.hang_watch import HangWatch
from raynb.engine.loop.connections import Connection, WorkerConnection
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.inbox import Inbox, Listeners
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.seams import Location
from raynb.engine.loop.worker_pages import WorkerPages
from raynb.exceptions import OutOfDiskError, RaySystemError
from raynb.serde import pickling
from raynb.store import NoRoom, UnknownArena
from raynb.wire import messages as w
from raynb.wire.channel import Channel
from raynb.wire.codec import Decoder, encode


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Lets time pass; returns what time it is then."""
        self.now += seconds
        return self.now


class _Socket:
    """A socket without a peer. Its descriptor is a pipe's, readable while something has arrived."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.arrived: deque[bytes] = deque()
        self.taken = bytearray()  # what was sent
        self.takes: int | None = None
        self.broken = False
        self._lit = False

    def setblocking(self, blocking: bool) -> None:
        """Accepts only a non-blocking socket: a test that blocked would wait for itself."""
        assert not blocking, "a test that blocks would wait for itself"

    def fileno(self) -> int:
        """Returns a descriptor that a poller can watch."""
        return self._read

    def light(self, on: bool) -> None:
        """Makes the descriptor readable, or not."""
        if on and not self._lit:
            os.write(self._write, b"x")
        elif self._lit and not on:
            os.read(self._read, 1)
        self._lit = on

    def send(self, data: Any, flags: int) -> int:
        """Takes as many bytes as `FakeChannel.takes` allows."""
        if self.broken:
            raise BrokenPipeError("the peer is gone")
        size = len(data) if self.takes is None else min(self.takes, len(data))
        if not size:
            raise BlockingIOError
        self.taken += bytes(data[:size])
        return size

    def recvmsg(self, size: int, ancillary: int, flags: int) -> tuple[bytes, list[Any], int, None]:
        """Returns the next bytes that have arrived."""
        if not self.arrived:
            raise BlockingIOError
        data = self.arrived[0]
        if data:  # the end of the file comes again and again
            self.arrived.popleft()
            if len(data) > size:
                self.arrived.appendleft(data[size:])
            data = data[:size]
        self.light(bool(self.arrived))
        return data, [], 0, None

    def close(self) -> None:
        """Closes the descriptors."""
        os.close(self._read)
        os.close(self._write)


class FakeChannel(Channel):
    """A channel whose other end is the test.

    Args:
        name: for who reads a failure.

    `arrive`, `arrive_bytes` and `end` are what the peer does; ``takes`` limits how many bytes each send takes (0: the
    socket is full; None: all); `hold` delays what arrives until `release`.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        sock: Any = _Socket()
        self._fake: _Socket = sock
        self._held: list[bytes] | None = None
        self._number = 0
        self._sent = Decoder()
        super().__init__(sock, blocking=False)

    @property
    def takes(self) -> int | None:
        """Returns how many bytes the socket accepts before it blocks; None: all."""
        return self._fake.takes

    @takes.setter
    def takes(self, size: int | None) -> None:
        self._fake.takes = size

    def arrive(self, *messages: object) -> None:
        """One frame of messages comes from the peer."""
        self.arrive_bytes(encode(list(messages), self._number))
        self._number += 1

    def arrive_bytes(self, data: bytes) -> None:
        """Bytes come from the peer: a piece of a frame, or garbage."""
        if self._held is not None:
            self._held.append(data)
            return
        self._fake.arrived.append(data)
        self._fake.light(True)

    def lose(self, *messages: object) -> None:
        """The peer has sent a frame that never comes."""
        encode(list(messages), self._number)
        self._number += 1

    def end(self) -> None:
        """The peer closes its end: what has arrived is still to be read."""
        self._fake.broken = True
        self.arrive_bytes(b"")

    def hold(self) -> None:
        """Holds back what arrives from now on, until `release`."""
        self._held = []

    def release(self) -> None:
        """Lets the held bytes arrive."""
        held, self._held = self._held or [], None
        for data in held:
            self.arrive_bytes(data)

    def sent(self) -> list[Any]:
        """Returns the messages that were sent, to their last byte, since the last call."""
        data, self._fake.taken = bytes(self._fake.taken), bytearray()
        return self._sent.feed(data) if data else []


class FakeStore:
    """A store whose objects are sizes, and a disk that is full when a test says so."""

    def __init__(self, limit: int = 1000) -> None:
        self.slot = 0
        self.limit = limit
        self.disk_full = ""  # why the disk takes nothing; empty: it does
        self.objects: dict[Location, int] = {}  # in memory
        self.files: dict[Location, int] = {}
        self.arenas: dict[int, int] = {}
        self.adopted: list[int] = []
        self._numbers = 0

    def _place(self, data: Any, buffers: Sequence[Any]) -> int:
        self._numbers += 1
        size: int = len(data) + sum(buffer.nbytes for buffer in buffers)
        return size

    def write(self, data: object, buffers: Sequence[object] = ()) -> Location:
        """Records an object in memory. Raises `NoRoom` over the limit."""
        size = self._place(data, buffers)
        if self.total() + size > self.limit:
            raise NoRoom(size)
        location = ("shm", self.slot, self._numbers << 20, size, (size,))
        self.objects[location] = size
        return location

    def write_file(self, data: object, buffers: Sequence[object] = ()) -> Location:
        """Records an object in a file."""
        return self._file(self._place(data, buffers))

    def _file(self, size: int) -> Location:
        if self.disk_full:
            raise OutOfDiskError(self.disk_full)
        self._numbers += 1
        location = ("file", f"file-{self._numbers}", size, (size,))
        self.files[location] = size
        return location

    def spill(self, location: Location) -> Location:
        """Records a copy of an object in a file."""
        return self._file(self.objects[location])

    def free(self, location: Location) -> None:
        """Forgets an object; raises if it is not there."""
        (self.objects if location[0] == "shm" else self.files).pop(location)

    def total(self) -> int:
        """Returns the bytes of the objects in memory."""
        return sum(self.objects.values())

    def live_views(self) -> int:
        """Returns 0: no test reads in place."""
        return 0

    def fd_of(self, arena: int) -> int:
        """Returns the descriptor of an attached arena. Raises `UnknownArena`."""
        try:
            return self.arenas[arena]
        except KeyError:
            raise UnknownArena(arena) from None

    def attach(self, arena: int, fd: int) -> None:
        """Records an arena."""
        self.arenas[arena] = fd

    def adopt(
        self, arena: int, locations: Sequence[Location], row: int | None = None,
        emptied: Callable[[], None] | None = None,
    ) -> Callable[[], None]:  # fmt: skip
        """Records that a dead worker's arena was taken over."""
        self.adopted.append(arena)
        if emptied is not None:
            emptied()
        return lambda: None


class FakeSupervisor:
    """Starts workers whose channels the test holds."""

    def __init__(self) -> None:
        self.channel = FakeChannel("supervisor")
        self.connection = Connection(self.channel, None)
        self.refuses = ""  # why no process can be started; empty: they can

    def spawn(self, worker: int, settings: dict[str, Any], fds: tuple[int, ...]) -> tuple[Channel, Channel, Any]:
        """Returns fake channels of a new worker, or raises what `refuses` says."""
        if self.refuses:
            raise RaySystemError(self.refuses)
        return FakeChannel(f"worker {worker}"), FakeChannel(f"worker {worker}, control"), w.Spawn(worker, b"")


class Said:
    """Records what the engine shows to the user."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, scope: int = 0) -> None:
        """Records a warning."""
        self.warnings.append(text)

    def report_failure(self, command: c.ReportFailure) -> None:
        """Records a report."""
        self.warnings.append(command.text)


class _NoSetups:
    pending = False

    def done(self, message: w.Done) -> bool:
        """Returns False: there are no setups."""
        return False

    def handed_back(self, peer: WorkerConnection, tasks: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the tasks: there are no setups among them."""
        return tasks

    def worker_died(self, worker: int, reason: str) -> None:
        """Does nothing."""


class _NoInspection:
    def answered(self, m: w.Inspected) -> None:
        """Does nothing."""

    def paused(self, peer: WorkerConnection, m: w.Paused, now: float) -> None:
        """Does nothing."""

    def worker_died(self, worker: int, why: str) -> None:
        """Does nothing."""


@dataclass(slots=True)
class FakeWorker:
    """A worker process that the test plays."""

    number: int
    channel: FakeChannel
    control: FakeChannel

    def sent(self, kind: type) -> list[Any]:
        """Returns what the driver has sent on either channel of this kind; the rest is forgotten."""
        return [m for m in (*self.channel.sent(), *self.control.sent()) if type(m) is kind]


class FakeDriver:
    """The driver's loop, its effects, its inbox and its hang watch, with a fake at every seam.

    Args:
        cpus: how many the machine has.
        hang_warning: as `Config.hang_warning`, seconds.
        store_limit: bytes.
    """

    def __init__(self, cpus: int = 2, hang_warning: float = 10.0, store_limit: int = 1000) -> None:
        self.clock = Clock()
        self.machine = Machine(Config(validate=True), {"CPU": cpus * 10_000})
        self.loop = Loop(self.machine)
        self._undo: list[Callable[[], None]] = [self.loop.close]
        self.pages = WorkerPages.create(self._undo)
        self.store = FakeStore(store_limit)
        self.supervisor = FakeSupervisor()
        self.said = Said()
        self.lost_supervisor = 0
        self.definitions: dict[str, tuple[bytes, Any]] = {}
        self.effects = Effects(self.loop, self.store, self.pages, self.definitions, self.said)
        self.effects.processes = self.supervisor
        self.hangs = HangWatch(self.loop, self.effects.peers, self.effects.control, hang_warning)
        self.inbox = Inbox(self.loop, self.effects, self.store, self.pages, self.definitions, Listeners(
            _NoSetups(), _NoInspection(), lambda peer, call: None, lambda output: None, self.hangs.answered,
            lambda worker: "", self._supervisor_lost))  # fmt: skip
        self.loop.effects, self.loop.take, self.loop.prepare = self.effects, self.inbox, self.inbox.prepare
        self.loop.lost = self.inbox.connection_lost
        with self.loop.lock:
            self.loop.add(self.supervisor.connection)

    def _supervisor_lost(self) -> None:
        self.lost_supervisor += 1

    def dispatch(self, event: type, *fields: object) -> None:
        """Applies an event that happens now to the machine, and sends what follows."""
        self.loop.dispatch(event(self.clock(), *fields))

    def receive(self) -> None:
        """Reads all channels until nothing more has arrived."""
        for _ in range(100):
            ready = [
                (fd, select.POLLIN) for fd, connection in list(self.loop.connections.items())
                if connection.channel.readable()
            ]  # fmt: skip
            if not ready:
                return
            self.loop.receive(ready)
        raise AssertionError("something arrives for ever")

    def start_worker(self) -> FakeWorker:
        """Has one more worker started, which is ready at once."""
        before = set(self.effects.peers)
        self.dispatch(e.Started, 1)
        (number,) = set(self.effects.peers) - before
        peer = self.effects.peers[number]
        data, control = peer.data.channel, peer.control.channel
        assert isinstance(data, FakeChannel)
        assert isinstance(control, FakeChannel)
        data.arrive(w.Ready(100_000 + number))
        self.receive()
        return FakeWorker(number, data, control)

    def finish(self, worker: FakeWorker, task: int, value: object = None) -> None:
        """The worker sends the result of a task."""
        data = pickling.in_band(pickling.pack(value))
        worker.channel.arrive(w.Done(task, ((data, len(data), ()),), 0, ("", ""), 0.0, 0.0, 0.0))

    def check(self) -> None:
        """Raises what has ended the loop, if anything has."""
        if self.loop.health.failure is not None:
            raise self.loop.health.failure

    def close(self) -> None:
        """Closes what the fakes hold of the system: the pages and the pipes."""
        self.loop.remove_all()
        for step in reversed(self._undo):
            step()
