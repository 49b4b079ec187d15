"""What waits to be sent to a worker, and other threads that add to it meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Any

from raynb.engine.loop.connections import Connection, with_fds


class Channel:
    """Remembers what it is to send."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, messages: list[Any], fds: list[int] | None = None) -> None:
        self.sent += messages
        for fd in fds or ():
            os.close(fd)

    def flush(self) -> bool:
        return True


class Busy(deque[Any]):
    """Gets another message as soon as it has been read, as if by another thread."""

    later: tuple[Any, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        yield from list(super().__iter__())
        self.extend(self.later)
        self.later = ()


def sent_by(first: list[Any], later: tuple[Any, ...]) -> list[Any]:
    channel = Channel()
    connection = Connection(channel, None)  # type: ignore[arg-type]
    connection.outbox = outbox = Busy(first)
    outbox.later = later
    connection.flush()
    connection.flush()
    assert not outbox
    return channel.sent


def test_a_message_that_comes_while_others_are_taken_is_sent_after_them() -> None:
    assert sent_by([1, 2], (3,)) == [1, 2, 3]
    assert sent_by([], (3, 4)) == [3, 4]


def test_so_is_one_with_a_descriptor() -> None:
    reader, writer = os.pipe()
    try:
        assert sent_by([0, 1], (with_fds(2, writer), 3)) == [0, 1, 2, 3]
    finally:
        os.close(reader)


def test_descriptors_keep_their_place_among_the_messages() -> None:
    reader, writer = os.pipe()
    try:
        assert sent_by([1, with_fds(2, writer), 3], (4,)) == [1, 2, 3, 4]
    finally:
        os.close(reader)


def test_one_message_by_itself_is_sent() -> None:
    assert sent_by([1], ()) == [1]
    reader, writer = os.pipe()
    try:
        assert sent_by([with_fds(1, writer)], ()) == [1]
    finally:
        os.close(reader)
