"""The stacks of a process whose native code holds Python's lock: a signal handler writes them, without the lock.

A worker registers `faulthandler` for a real-time signal, with a file in memory. The asking process sends the signal to
the worker's control thread and reads the file through ``/proc``: no right to trace the process is needed, nothing in it
stops, and no system call of the task's is interrupted.

Thread contract: any thread.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import re
import signal

from raynb.base.process import trace
from raynb.base.process.waits import time
from raynb.run.inspection.stacks import NATIVE, Stack

#: None where the system has no real-time signals: no worker can be asked in this way.
SIGNAL: int | None = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") and hasattr(os, "memfd_create") else None
FILE = "raynb-stacks"
LOOK_SECONDS = 0.01  # between two looks at an answer
#: An answer that has not grown for so many looks is complete, though it doesn't end as one does. Fewer don't show it:
#: the process may not have been given a core meanwhile.
STILL_LOOKS = 25
_HEAD_BYTES = 16  # bytes before the answers: the thread that takes the signal
_FRAME = re.compile(rb'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')
#: How the stack of the main thread ends, which is written last: at its outermost frame, or cut off where it is deep.
_END = re.compile(rb'(in <module>|in _run_module_as_main|^  \.\.\.)\n\Z', re.MULTILINE)


def offer(thread: int) -> None:
    """Lets other processes ask this one from now on.

    Args:
        thread: handles the signal (its native id).
    """
    if SIGNAL is None:
        return
    try:
        file = os.memfd_create(FILE, os.MFD_CLOEXEC)
        os.write(file, b"%*d" % (_HEAD_BYTES, thread))
        faulthandler.register(SIGNAL, file=file, all_threads=True)
    except (OSError, RuntimeError) as error:  # descriptors are short
        trace.swallowed("the offer of stacks by a signal", error, logging.DEBUG)


class Dump:
    """One question to a process.

    Args:
        pid: the process. Nothing is sent to one that would die of the signal.
    """

    def __init__(self, pid: int) -> None:
        self._path = _file_of(pid) if SIGNAL is not None and _catches(pid, SIGNAL) else ""
        self._from = self._size()
        if self._path and not _send(pid, self._path):
            self._path = ""

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size if self._path else 0
        except OSError:
            return 0

    @property
    def asked(self) -> bool:
        """Returns whether the process was asked."""
        return bool(self._path)

    def size(self) -> int:
        """Returns how many bytes of the answer have been written by now."""
        return self._size() - self._from

    def _answer(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._from)
                return file.read()
        except OSError:
            return b""

    def whole(self) -> bool:
        """Returns whether the answer ends as a complete one does, with the main thread's outermost frame."""
        return _END.search(self._answer()) is not None

    def wait(self, seconds: float) -> None:
        """Waits until the answer is whole, or grows no more, at most so long."""
        end = time.monotonic() + seconds if self._path else 0.0
        before = still = 0
        while time.monotonic() < end and not self.whole():
            time.sleep(LOOK_SECONDS)
            now = self.size()
            still = still + 1 if now and now == before else 0
            if still >= STILL_LOOKS:
                return
            before = now

    def stacks(self) -> list[Stack]:
        """Returns what was answered: the threads' stacks, the main one first; empty if nothing was."""
        return parse(self._answer())


def parse(text: bytes) -> list[Stack]:
    """Returns the stacks that faulthandler wrote, the main thread's first."""
    found: list[Stack] = []
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame is None:
            if line.startswith((b"Thread 0x", b"Current thread 0x")):
                found.append(Stack("", False, [], NATIVE))
        elif found:
            file, at, function = (_text(part) for part in frame.groups())
            found[-1].frames.insert(0, (file, int(at) if at.isdecimal() else 0, function))
    for number, stack in enumerate(reversed(found)):  # the newest thread comes first
        stack.main = not number
        stack.thread = "MainThread" if stack.main else f"thread {number}"
    return found[::-1]


def _text(part: bytes) -> str:
    """Undoes faulthandler's escapes of what is not ASCII."""
    return re.sub(rb"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}",
                  lambda m: m[0].decode("unicode_escape").encode("utf-8", "surrogatepass"),
                  part).decode("utf-8", "replace")  # fmt: skip


def answering_thread(pid: int) -> int:
    """Returns the thread that has called `offer` in a process; 0: none has."""
    return _thread_in(_file_of(pid))


def _thread_in(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read(_HEAD_BYTES))
    except (OSError, ValueError):  # it has ended
        return 0


def _send(pid: int, path: str) -> bool:
    """Sends the signal to the thread that takes it; returns whether it could."""
    thread = _thread_in(path)
    try:
        return bool(thread and ctypes.CDLL(None).tgkill(pid, thread, SIGNAL) == 0)
    except AttributeError:  # a C library without the call
        return False


def _catches(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as file:
            caught = next((line.split()[1] for line in file if line.startswith("SigCgt:")), "0")
    except OSError:
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def _file_of(pid: int) -> str:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            if os.readlink(f"{folder}/{name}").startswith(f"/memfd:{FILE}"):
                return f"{folder}/{name}"
    except OSError:  # it has ended, or a descriptor was closed meanwhile
        pass
    return ""
