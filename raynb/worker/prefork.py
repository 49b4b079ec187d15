"""Forks worker processes ahead, so that a worker that is needed starts in a millisecond.

A fork copies the page tables and the child then settles in: several milliseconds that a task which
waits for another one, or a new actor, would have to wait. The supervisor forks a few spares while
it has nothing else to do; each sleeps on a socket until a request makes it a worker.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, NoReturn

SPARE_PROCESSES = 2
QUIET_MS = 50  # without a request for so long, a spare is forked
SHARED_DESCRIPTORS = 5  # descriptors that a worker gets
OURS = ("raynb.base", "raynb.serde", "raynb.store", "raynb.wire", "raynb.worker")
WARM = ("contextvars", "os", "pickle", "selectors", "signal", "socket", "threading", "time")
_HEAD_BYTES = 4  # bytes of the length before a request


class Prefork:
    """Thread contract: the supervisor's only thread."""

    def __init__(self) -> None:
        self._waiting: dict[int, socket.socket] = {}  # pid → our end
        self._refused = False

    def __contains__(self, pid: int) -> bool:
        return pid in self._waiting

    def missing(self) -> bool:
        """Returns whether a process should be forked ahead now."""
        return len(self._waiting) < SPARE_PROCESSES and not self._refused

    def add(self, become: Callable[[socket.socket], NoReturn]) -> None:
        """Forks one more; in the child, ``become`` gets its end of the socket and never returns."""
        try:
            mine, theirs = socket.socketpair()
        except OSError:
            self._refused = True  # descriptors are short: workers need them more
            return
        try:
            pid = os.fork()
        except OSError:
            mine.close()
            theirs.close()
            self._refused = True  # the next real worker's fork says why
            return
        if pid == 0:
            mine.close()
            become(theirs)
        theirs.close()
        self._waiting[pid] = mine

    def give(self, request: bytes, fds: list[int]) -> int:
        """Makes a spare the worker that is asked for; returns its pid, 0 when there is none."""
        while self._waiting:
            pid, end = self._waiting.popitem()
            with end:
                try:
                    socket.send_fds(end, [len(request).to_bytes(_HEAD_BYTES, "little")], fds)
                    end.sendall(request)
                    return pid
                except OSError:
                    continue  # somebody killed it
        return 0

    def gone(self, pid: int) -> None:
        """Removes a process that has ended."""
        end = self._waiting.pop(pid, None)
        if end is not None:
            end.close()

    def let_go(self) -> None:
        """Closes the parent's sockets in a forked child."""
        for end in self._waiting.values():
            end.close()
        self._waiting.clear()


def warm_up() -> None:
    """In a spare: looks at every definition that a worker uses.

    A look writes the object's count of references, so that the pages are this process's own from then
    on. Copying them one by one took most of the time of a worker's start, and of its first task.
    """
    stack: list[Any] = []
    seen: set[type] = set()  # classes may name each other
    for name, module in list(sys.modules.items()):
        if name in WARM or name.startswith(OURS):
            stack.extend(vars(module).values())
    while stack:
        found = stack.pop()
        if isinstance(found, FunctionType):
            stack.append(found.__code__)
        elif isinstance(found, CodeType):
            stack.extend(found.co_consts)
        elif isinstance(found, type) and found not in seen and str(found.__module__).startswith(OURS):
            seen.add(found)
            stack.extend(vars(found).values())


def wait_to_be_asked(end: socket.socket) -> tuple[bytes, list[int]]:
    """In a spare: sleeps until it is wanted; returns the request and its descriptors, or exits."""
    with end:
        head, fds, _, _ = socket.recv_fds(end, _HEAD_BYTES, SHARED_DESCRIPTORS)
        data = bytearray()
        while head and len(data) < int.from_bytes(head, "little"):
            part = end.recv(1 << 16)
            if not part:
                head = b""
            data += part
    if not head:
        os._exit(0)
    return bytes(data), fds
