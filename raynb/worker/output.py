"""Captures everything a task prints, and sends it to the cell that submitted the task.

Python's `sys.stdout` and `sys.stderr` are replaced: what is written there is taken down with the
task that wrote it. Descriptors 1 and 2 are pipes, for C code and subprocesses: what comes through
them belongs to the task that runs then. A task's output is sent before its result, on the same
channel, so nothing can come after the cell has it.
"""

from __future__ import annotations

import fcntl
import io
import os
import pickle
import select
import sys
from collections.abc import Callable
from typing import Any, Protocol

from raynb.base.interrupts import Critical, Reentrant
from raynb.base.rows import END_OF_TASK
from raynb.base.text import clean
from raynb.wire import messages as w
from raynb.worker import descent, state

HELD_MAX_CHARACTERS = 1 << 18  # characters kept back at the most
READ_BYTES = 65536
STREAMS = (("stdout", 1), ("stderr", 2))


class WorkerStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a worker.

    Thread contract: `write` from any thread.
    """

    def __init__(self, capture: Capture, kind: str, fd: int) -> None:
        self._capture = capture
        self._kind = kind
        self._fd = fd
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def name(self) -> str:
        """Returns the stream's name, as Python's own streams have one."""
        return f"<{self._kind}>"

    def writable(self) -> bool:
        """Returns True."""
        return True

    def isatty(self) -> bool:
        """Returns False: no terminal shows it."""
        return False

    def fileno(self) -> int:
        """Returns the descriptor that C code writes to."""
        return self._fd

    def write(self, text: str) -> int:
        """Captures text for the task that wrote it; a forked child writes to the descriptor instead."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._capture.is_forked:
            _write_all(self._fd, text.encode("utf-8", "backslashreplace"))
            return len(text)
        self._capture.add(self._kind, text)
        return len(text)

    def flush(self) -> None:
        """Does nothing: output is sent in order by itself."""


class _Bytes(io.RawIOBase):
    """The binary layer of a stream (`sys.stdout.buffer`)."""

    def __init__(self, stream: WorkerStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, data: Any) -> int:
        """Decodes bytes and writes them to the text stream."""
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "backslashreplace"))
        return len(raw)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class Sends(Protocol):
    """The way of output to the driver: `Link`."""

    def post(self, message: object) -> None:
        """Enqueues a message."""

    def flush(self) -> None:
        """Sends what is enqueued."""

    def nudge(self) -> None:
        """Has what is enqueued sent soon."""

    def watch(self, fd: int, reader: Callable[[], None]) -> None:
        """Has the control thread call ``reader`` when ``fd`` is readable."""

    def forget(self, fd: int) -> None:
        """Stops watching a descriptor."""


class NamesTasks(Protocol):
    """Knows the names under which output is shown: `TaskExecutor`."""

    def display_name(self, running: state.RunningTask) -> str:
        """Returns the name of a task, or of its actor."""


class Printing(Protocol):
    """The process whose output is captured: `WorkerProcess`."""

    @property
    def link(self) -> Sends:
        """The way to the driver."""

    @property
    def executor(self) -> NamesTasks:
        """The names of tasks."""


class Capture:
    """Collects output by (kind, task) and posts it as messages.

    Thread contract: any thread may add and forward.
    """

    def __init__(self, worker: Printing) -> None:
        self._worker = worker
        # A signal handler in the main thread may print. A destructor that waits inside would stop the control thread.
        self._lock = Reentrant()
        self._parts: list[tuple[str, state.RunningTask | None, list[str]]] = []
        self._size = 0
        self._pipes: dict[int, tuple[str, state.RunningTask | None]] = {}  # of ended tasks: with the task
        self._poll: Any = select.poll()
        self._polling = Critical()  # poll objects refuse two threads at once
        self._look: Any = select.poll()  # at the same pipes, without the section
        #: This is a child that a task has forked: it writes to the descriptors, and its parent reads them.
        self.is_forked = False

    def install(self) -> None:
        """Replaces the streams and the descriptors of this process."""
        for kind, fd in STREAMS:
            self._open_pipe(kind, fd)
            stream = WorkerStream(self, kind, fd)
            setattr(sys, kind, stream)
            setattr(sys, f"__{kind}__", stream)
        descent.install()
        os.register_at_fork(after_in_child=self._fork)

    def _fork(self) -> None:
        self.is_forked = True

    def _open_pipe(self, kind: str, fd: int) -> None:
        """Makes ``fd`` the writing end of a new pipe, and watches the reading end."""
        read, write = os.pipe()
        os.dup2(write, fd)
        os.close(write)
        os.set_blocking(read, False)
        try:
            fcntl.fcntl(read, 1031, 1 << 20)  # F_SETPIPE_SZ: a burst does not stop its writer
        except OSError:
            pass
        self._pipes[read] = kind, None
        self._poll.register(read, select.POLLIN)
        self._look.register(read, select.POLLIN)
        self._worker.link.watch(read, self.drain)

    def _leave_pipes(self, owner: state.RunningTask) -> None:
        """Opens new pipes where a task ends that has started processes: what is still to come through the
        old ones belongs to it. Those that nobody holds any more are closed with the next look."""
        descent.has_children = False
        with self._polling:
            old = [(fd, kind) for fd, (kind, of) in self._pipes.items() if of is None]
            for (fd, kind), (_, number) in zip(old, STREAMS, strict=True):
                self._pipes[fd] = kind, owner
                self._open_pipe(kind, number)
        self.drain(owner)
        self._worker.link.nudge()

    def _close_pipe(self, fd: int) -> None:
        del self._pipes[fd]
        self._poll.unregister(fd)
        self._look.unregister(fd)
        self._worker.link.forget(fd)
        os.close(fd)

    def pending(self) -> bool:
        """Returns whether output waits to be sent."""
        return self._size > 0

    def add(self, kind: str, text: str, owner: state.RunningTask | None = None) -> None:
        """Appends text of a task (default: the calling one) to what is sent next."""
        if not text:
            return
        if self._append(kind, text, owner):
            self._send()
        else:
            self._worker.link.nudge()

    def _append(self, kind: str, text: str, owner: state.RunningTask | None) -> bool:
        """Appends text; returns whether there is so much that it has to be sent."""
        if owner is None:
            owner = descent.owner()
        if not text.isascii():
            text = clean(text)
        if owner is not None:
            owner.unended = kind if text[-1] != "\n" else ""
        with self._lock:
            parts = self._parts
            if parts and parts[-1][0] == kind and parts[-1][1] is owner:
                parts[-1][2].append(text)
            else:
                parts.append((kind, owner, [text]))
            self._size += len(text)
            return self._size > HELD_MAX_CHARACTERS

    def _send(self) -> None:
        self.forward()
        self._worker.link.flush()

    def emit(self, kind: str, bundle: dict[str, Any]) -> None:
        """Sends a display (``"display"``, ``"update_display"``, ``"clear"``), in order with text."""
        owner, blob = descent.owner(), pickle.dumps(bundle, 5)
        with self._lock:
            self.forward()
            self._post(kind, owner, "", blob)
        self._worker.link.nudge()

    def drain(self, owner: state.RunningTask | None = None) -> None:
        """Reads the pipes; their text belongs to ``owner``, or to the running task."""
        while self._read(owner):
            self._send()
        if self._size:
            self._worker.link.nudge()

    def _all_read(self) -> bool:
        """Returns whether nothing is in the pipes, nor on its way from them; False, too, where another thread looks
        just now. A look without the critical section takes 5 % off the worker's part of "1,000 actor calls"."""
        try:
            found = self._look.poll(0)
        except RuntimeError:  # poll objects refuse two threads at once
            return False
        # In this order: who has read what was in there has the section until it is added.
        return not found and not self._polling.locked()

    def _read(self, owner: state.RunningTask | None) -> bool:
        """Reads the pipes until they are empty; returns whether it has left off, because there is so much to send.

        That may take until the driver reads, so it is not done in here.
        """
        with self._polling:
            for fd, _ in self._poll.poll(0):
                kind, left_by = self._pipes[fd]
                try:
                    while True:
                        data = os.read(fd, READ_BYTES)
                        if not data:
                            self._close_pipe(fd)
                            break
                        if self._append(kind, data.decode("utf-8", "backslashreplace"), left_by or owner):
                            return True
                        if len(data) < READ_BYTES:
                            break
                except BlockingIOError:
                    pass
        return False

    def forward(self, final: bool = False) -> None:
        """Posts what was collected. The caller flushes."""
        if final:
            self.drain()
        if not self._size:
            return
        with self._lock:
            parts, self._parts = self._parts, []
            try:
                for kind, owner, texts in parts:
                    self._post(kind, owner, "".join(texts), b"")
            finally:  # not before: the end of a task looks at it without the lock, and then posts its result
                self._size = sum(len(text) for _, _, texts in self._parts for text in texts)

    def end_of_task(self, owner: state.RunningTask) -> None:
        """Posts everything the task wrote, before its result is posted."""
        if not self._all_read():
            self.drain(owner)
        if descent.has_children:
            self._leave_pipes(owner)
        if self._size:
            self.forward()
        if owner.unended:  # nothing more comes that would end its line
            self._post(END_OF_TASK, owner, owner.unended, b"")
            owner.unended = ""

    def _post(self, kind: str, owner: state.RunningTask | None, text: str, bundle: bytes) -> None:
        if owner is None:
            message = w.Output(kind, 0, 0, "", 0, text, bundle)
        else:
            message = w.Output(kind, owner.task, owner.scope, self._name(owner), owner.actor, text, bundle)
        self._worker.link.post(message)

    def _name(self, owner: state.RunningTask) -> str:
        return self._worker.executor.display_name(owner)
