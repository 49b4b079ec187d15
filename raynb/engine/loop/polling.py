"""Waiting for sockets, and ending such a wait from another thread."""

from __future__ import annotations

import errno
import os
import select
from typing import Any

from raynb.exceptions import RaySystemError

IN = select.POLLIN
#: The system counts a wait in whole milliseconds, of which there are 24 days; who waits longer looks again.
MAX_SECONDS = 86_400.0
TAKEN = (
    "Something in this process, `os.closerange` say, has closed descriptors of the raynb runtime ({}), which ends it. "
    "Go on with `%raynb restart`, or with raynb.shutdown() and raynb.init()."
)


def is_taken(error: Exception) -> bool:
    """Returns whether an error says that somebody else has closed a descriptor of ours."""
    return isinstance(error, OSError) and error.errno == errno.EBADF


class Poller:
    """Waits for sockets, by epoll where the system has it, else poll."""

    def __init__(self) -> None:
        if hasattr(select, "epoll"):
            self._poll: Any = select.epoll()
            self._scale = 1.0
        else:
            self._poll = select.poll()
            self._scale = 1000.0
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Returns what has come within so many seconds (`MAX_SECONDS` at most); nothing once the poller is closed.

        Raises:
            RaySystemError: somebody else has closed its descriptor.
        """
        try:
            if timeout is None:
                return self._poll.poll()  # type: ignore[no-any-return]
            return self._poll.poll(min(timeout, MAX_SECONDS) * self._scale)  # type: ignore[no-any-return]
        except ValueError:
            if self._poll.closed:
                return []
            raise
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EINVAL):  # closed, or closed and another thing's by now
                raise RaySystemError(TAKEN.format(error)) from error
            raise

    def close(self) -> None:
        """Closes the poller, where the system's has a descriptor."""
        if hasattr(self._poll, "close"):
            self._poll.close()


class Wake:
    """A pipe whose writing end wakes a thread that polls."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self._write, False)

    def __call__(self) -> None:
        try:
            os.write(self._write, b"x")
        except OSError:
            pass

    def drain(self) -> None:
        """Reads what `set` wrote, so that the next wait sleeps again."""
        try:
            os.read(self.read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Closes the pipe."""
        if self.read >= 0:
            os.close(self.read)
            os.close(self._write)
        self.read = self._write = -1
