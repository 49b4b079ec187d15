"""A worker as the driver's loop sees it: its two channels, and what it was sent already."""

from __future__ import annotations

import os
from collections import deque
from itertools import repeat
from typing import Any

from raynb.base.spec import TaskOptions
from raynb.wire.channel import Channel

_popleft = deque.popleft


class Connection:
    """One channel and what waits to be sent on it. ``(message, fd)`` sends a descriptor along."""

    __slots__ = ("channel", "dirty", "outbox", "peer", "writing")

    def __init__(self, channel: Channel, peer: WorkerConnection | None) -> None:
        self.channel = channel
        self.peer = peer
        self.outbox: deque[Any] = deque()
        self.dirty = False
        self.writing = False  # waits for the socket to take more

    def flush(self) -> bool:
        """Sends the queued messages, in order; returns whether all were sent. Raises `Closed`."""
        outbox = self.outbox
        channel = self.channel
        if len(outbox) == 1 and type(outbox[0]) is not _WithFd:  # a call by itself
            channel.send([outbox.popleft()])
            return channel.flush()
        batch: list[Any] = list(outbox)
        if _WithFd not in set(map(type, batch)):  # the usual case; one by one, "1,000 tasks" takes 0.5 % longer
            # Those and no more: another thread may have appended meanwhile, under the engine's lock.
            deque(map(_popleft, repeat(outbox, len(batch))), 0)
        else:
            batch = []
        while outbox:
            item = outbox[0]
            if type(item) is not _WithFd:
                batch.append(outbox.popleft())
                continue
            if batch:
                channel.send(batch)  # may raise: the descriptors are still in the outbox then, for `close`
                batch = []
            outbox.popleft()
            channel.send([item.message], item.fds)
        if batch:
            channel.send(batch)
        return channel.flush()

    def close(self) -> None:
        """Closes the channel, and the descriptors of messages that will not be sent."""
        self.channel.close()
        while self.outbox:
            item = self.outbox.popleft()
            if type(item) is _WithFd:
                for fd in item.fds:
                    os.close(fd)


class _WithFd:
    __slots__ = ("fds", "message")

    def __init__(self, message: object, fds: list[int]) -> None:
        self.message = message
        self.fds = fds


def with_fds(message: object, *fds: int) -> Any:
    """Returns something for an outbox: a message and the descriptors that ride with it (and are closed)."""
    return _WithFd(message, list(fds))


class WorkerConnection:
    """One worker process.

    Thread contract: under the engine's lock.
    """

    __slots__ = ("arenas", "control", "data", "ended", "functions", "leaving", "options", "pid",
                 "row", "sent_options", "worker")  # fmt: skip

    def __init__(self, worker: int, data: Channel, control: Channel, row: int) -> None:
        self.worker = worker
        self.row = row  # its slot in the ledger and on the board
        self.pid = 0
        self.data = Connection(data, self)
        self.control = Connection(control, self)
        self.functions: set[str] = set()
        self.sent_options: set[int] = set()
        self.options: dict[int, TaskOptions] = {}  # what it defined, by its own key
        self.arenas: set[tuple[bool, int]] = set()  # (on control, arena) whose descriptor it has
        self.leaving = ""
        self.ended = False

    def close(self) -> None:
        """Closes both channels."""
        self.data.close()
        self.control.close()
