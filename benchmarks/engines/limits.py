"""The physical limits: what the machine itself allows, without any engine.

A task's round trip can't beat the echo of a few bytes between two processes over a socket
pair; a put can't beat the copy of its bytes into memory that is already there.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from benchmarks.engines.base import Adapter, Unsupported

_MESSAGE = b"x" * 64


class Limits(Adapter):
    """A bare echo process and a bare copy."""

    label = "limit"
    package = "sys"
    note = "echo of 64 bytes over a socket pair; copy into memory already touched"

    def load(self) -> None:
        pass

    def version(self) -> str:
        return os.uname().release

    def start(self, workers: int) -> None:
        self._mine, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            self._mine.close()
            try:
                while data := theirs.recv(4096):
                    theirs.sendall(data)
            finally:
                os._exit(0)
        theirs.close()
        self._warm: Any = None

    def stop(self) -> None:
        self._mine.close()
        os.waitpid(self._child, 0)

    def task(self) -> None:
        self._mine.sendall(_MESSAGE)
        self._mine.recv(4096)

    def make_actor(self) -> None:
        return None

    def call(self, actor: Any) -> None:
        self.task()

    def put(self, value: Any) -> Any:
        if not hasattr(value, "nbytes"):
            raise Unsupported
        if self._warm is None or len(self._warm) < value.nbytes:
            self._warm = bytearray(value.nbytes)
        memoryview(self._warm)[: value.nbytes] = memoryview(value).cast("B")
        return value
