"""Messages that a worker has not sent yet, in shared memory, where the driver reads them if the worker dies.

Sending a message a call costs the worker a system call, and the driver a frame to take apart. So
results of short calls wait a moment, and are sent together. But a result that was not sent must not be lost
when the next call ends the process: it may not be run again. A worker therefore writes down here
what it holds back, which costs a copy of a few bytes, and crosses it out when it has been sent.

A row is two numbers, then the messages: the number of the frame in which they are to be sent, and how
many bytes of messages there are. Each number is written by one instruction, the second one last; so
whatever moment a process dies in, what counts is whole. Who has received that frame already looks
no further: the process died after it had sent it, and before it could cross out the messages.
"""

from __future__ import annotations

import os
import struct

from raynb.store import backing as backings
from raynb.store.memory import PAGE, Mapping
from raynb.store.pages.ledger import SLOTS

#: Bytes of a worker's row; a multiple of the page size.
ROW_BYTES = max(16_384, PAGE)
_HEAD = struct.Struct("=qq")
#: Bytes of notes that have room there.
MAX_BYTES = ROW_BYTES - _HEAD.size


class UnsentRows:
    """All rows, in the driver. A worker is known by its row, as on the `Board`.

    Thread contract: as the engine's lock.
    """

    __slots__ = ("_backing", "fd")

    SIZE = SLOTS * ROW_BYTES  # of address space; what is never written to doesn't exist

    def __init__(self, backing: backings.Backing | None = None) -> None:
        self._backing = backing or backings.choose()
        self.fd = self._backing.create(self.SIZE)

    def clear(self, row: int) -> None:
        """Clears the row for a new worker. Raises: OSError: there is no room for it.

        Raises:
            OSError: there is no room for it.
        """
        self._backing.reserve(self.fd, row * ROW_BYTES, ROW_BYTES)
        os.pwrite(self.fd, bytes(_HEAD.size), row * ROW_BYTES)

    def read(self, row: int, came: int) -> bytes:
        """Returns the unsent messages of a dead worker, of which ``came`` frames have been received."""
        data = os.pread(self.fd, ROW_BYTES, row * ROW_BYTES)
        frame, used = _HEAD.unpack_from(data)
        return data[_HEAD.size : _HEAD.size + used] if frame == came else b""

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.fd)


class Unsent:
    """The row of one worker, in its process.

    Thread contract: one thread at a time.
    """

    __slots__ = ("_notes", "_numbers", "_used")

    def __init__(self, fd: int, row: int) -> None:
        """Maps the row behind ``fd`` and closes the descriptor."""
        try:
            view = Mapping(fd, ROW_BYTES, writable=True, offset=row * ROW_BYTES).writable_view()
        finally:
            os.close(fd)
        self._numbers = view[: _HEAD.size].cast("q")
        self._notes = view[_HEAD.size :]
        self._used = 0

    def record(self, frame: int, text: bytes) -> bool:
        """Writes down what is to be sent in frame number ``frame``; returns False when the row is full."""
        at = self._used
        end = at + len(text)
        if end > MAX_BYTES:
            return False
        self._notes[at:end] = text
        numbers = self._numbers
        if not at:
            numbers[0] = frame
        numbers[1] = self._used = end
        return True

    def clear_sent(self) -> None:
        """Clears the row: everything in it has been sent."""
        self._numbers[1] = self._used = 0
