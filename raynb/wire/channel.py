"""The only socket code: a stream of frames over one inherited Unix socket.

No socket has a name: pairs are made by the driver and handed on as descriptors, so nobody else
can connect and nothing can be left behind.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base.process.waits import time
from raynb.wire.codec import Decoder, encode, encode_coded

CHUNK_BYTES = 65536  # below malloc's mmap threshold, so a receive costs no page faults
RESERVE_BYTES = 512  # bytes that are always there for a receive
STARVED_SECONDS = 0.01  # a receive that finds no memory takes so long
_MAX_DESCRIPTORS = 8
_ANCILLARY = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize) if hasattr(socket, "CMSG_SPACE") else 0
_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0) | socket.MSG_DONTWAIT
#: A write to a peer that is gone is an error, and no SIGPIPE: scripts let that end the process, as it does by default.
NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)
_NO_SIGPIPE: int | None = getattr(socket, "SO_NOSIGPIPE", None)  # where the system has it instead (macOS)


class Closed(Exception):
    """Raised when the peer has closed its end."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Returns two connected sockets, both non-inheritable."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (left, right):
        if _NO_SIGPIPE is not None:
            end.setsockopt(socket.SOL_SOCKET, _NO_SIGPIPE, 1)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            try:
                end.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
            except OSError:
                pass
    return left, right


class Channel:
    """Sends and receives messages.

    Thread contract: one sender and one receiver at a time; the two may be different threads.
    """

    def __init__(self, sock: socket.socket, blocking: bool) -> None:
        self.sock = sock
        sock.setblocking(blocking)
        self.fd = sock.fileno()
        self.fds: deque[int] = deque()  # descriptors that came, in order of their messages
        self.unsent: deque[tuple[Any, list[int]]] = deque()
        self.closed = False
        self.starved = 0  # receives in a row that found no memory (while it is small, counting takes none)
        self._decoder = Decoder()
        self._little = bytearray(RESERVE_BYTES)
        self.made = 0  # frames; the next one has this number
        self.out = 0  # frames that the socket has taken, to their last byte
        self.tap: Callable[[bytes], bytes] | None = None  # fault injection: what is sent instead

    # -- sending -------------------------------------------------------------------------------
    def send(self, messages: list[Any], fds: list[int] | None = None) -> None:
        """Sends one frame, as far as the socket takes it; `flush` sends the rest. Descriptors are closed once sent.

        Raises:
            Closed: the peer is gone.
        """
        self._send(encode(messages, self.made), fds or [])

    def send_coded(self, coded: Sequence[bytes]) -> None:
        """Sends one frame of messages that `encode_one` has made, as `send` does."""
        self._send(encode_coded(coded, self.made), [])

    def _send(self, data: bytes, fds: list[int]) -> None:
        if self.tap is not None:
            data = self.tap(data)
        self.unsent.append((memoryview(data), fds))
        self.made += 1  # only now: a frame that an exception kept from being sent has not been made
        self.flush()

    def flush(self) -> bool:
        """Writes what the socket takes; returns whether everything is out."""
        unsent = self.unsent
        try:
            while unsent:
                view, fds = unsent[0]
                if fds:  # not `socket.send_fds`, which drops the flags
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                    sent = self.sock.sendmsg([view], [rights], NO_SIGNAL)
                    for fd in fds:
                        os.close(fd)  # the sender dup'ed them for this message
                else:
                    sent = self.sock.send(view, NO_SIGNAL)
                if sent == len(view):
                    unsent.popleft()
                    self.out += 1
                else:
                    unsent[0] = (view[sent:], [])
                    return False
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise Closed(str(error)) from None
        return True

    # -- receiving -----------------------------------------------------------------------------
    def receive(self) -> list[Any]:
        """Returns the messages of one read, perhaps none. Never waits.

        Raises:
            Closed: the peer is gone. BadFrame: it sent something else.
        """
        try:
            data, ancillary, _, _ = self.sock.recvmsg(CHUNK_BYTES, _ANCILLARY, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise Closed(str(error)) from None
        except MemoryError:
            data, ancillary = self._receive_little()
            if not data:
                self.starved += 1
                return []
        if ancillary:
            self._take(ancillary)
        if not data:
            raise Closed("end of file")
        if self.starved:
            self.starved = 0
        return self._decoder.feed(data)

    def _receive_little(self) -> tuple[Any, list[Any]]:
        """Memory is short: reads into what is there already; nothing where even that fails.

        Raises:
            Closed: the peer is gone; or what had come was read, and is lost.
        """
        self._look()
        try:
            size, ancillary, _, _ = self.sock.recvmsg_into([self._little], _ANCILLARY, _FLAGS)
            if not size:
                raise Closed("end of file")
            return memoryview(self._little)[:size], ancillary
        except MemoryError:
            self._look()
        except OSError:
            pass
        time.sleep(STARVED_SECONDS)  # whoever waits looks again
        return b"", []

    def _look(self) -> None:
        """Has the next `receive` read again after one that found no memory."""
        if not self.readable():
            raise Closed("what it sent was lost, for want of memory")

    @property
    def came(self) -> int:
        """The number of frames received."""
        return self._decoder.frames

    def readable(self) -> bool:
        """Returns whether there is something to receive. From any thread."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def _take(self, ancillary: list[Any]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                for fd in fds:
                    os.set_inheritable(fd, False)
                    self.fds.append(fd)

    def close(self) -> None:
        """Closes the socket and every descriptor not taken. May be called again."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError):  # somebody else has closed its descriptor
            self.sock.close()
        while self.fds:
            os.close(self.fds.popleft())
        for _, fds in self.unsent:
            for fd in fds:
                os.close(fd)
        self.unsent.clear()
