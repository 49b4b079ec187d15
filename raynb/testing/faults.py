"""Faults to put into a program on purpose, and ways to break a runtime from outside.

Crash points ride on pickling: a `Bomb` does its damage while it is pickled or unpickled, in the
process where that happens, so it can strike in each phase of a call::

    ray.get(f.remote(Bomb("unpickle", "segfault")))     # while the worker reads its arguments
    return Bomb("pickle", "raise")                      # while the worker writes its result

`strike` does the same damage in the middle of running code. Both are importable wherever raynb
is, so they need no pickling of their own code.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from raynb.base import engine as slot
from raynb.testing import leaks


class Boom(ValueError):
    """The error of a bomb whose action is ``"raise"``."""


def _raise() -> NoReturn:
    raise Boom("a bomb of raynb.testing.faults went off")


def _segfault() -> None:
    # Core dumps of a fault made on purpose would only fill the disk.
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # the signal may arrive a moment later; nothing after it may run


def _recurse() -> int:
    return 1 + _recurse()


#: Name → what it does to the process it happens in.
ACTIONS: dict[str, Callable[[], Any]] = {
    "raise": _raise,
    "interrupt": lambda: _thrown(KeyboardInterrupt()),
    "generator-exit": lambda: _thrown(GeneratorExit()),
    "recursion": _recurse,
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(3)": lambda: os._exit(3),
    "sys.exit(3)": lambda: sys.exit(3),
    "sigkill": _kill,
    "segfault": _segfault,
    "abort": os.abort,
}

#: The actions after which the process is gone.
DEADLY = ("os._exit(0)", "os._exit(3)", "sigkill", "segfault", "abort")


def _thrown(error: BaseException) -> NoReturn:
    raise error


def strike(action: str) -> Any:
    """Does the damage named ``action`` (see `ACTIONS`) here and now; never returns, whatever the action is.

    Raises:
        KeyError: there is no such action.
    """
    return ACTIONS[action]()


def fail_unread(began: str, where: str) -> NoReturn:
    """Raises an exception that whoever reads it waits for, for ever.

    Args:
        began: a file that is made when somebody reads.
        where: "its pickling", "its text", or "its source": what of it waits.
    """

    def wait(*ignored: object) -> Any:
        open(began, "w").close()
        while True:
            time.sleep(0.01)

    if where == "its source":  # which Python's traceback asks the module's loader for
        names = {"__name__": "made", "__loader__": type("Loader", (), {"get_source": wait})()}
        exec(compile("raise ValueError('odd')", "made-for-this-fault.py", "exec"), names)
    raise type("Odd", (Exception,), {"__reduce__" if where == "its pickling" else "__str__": wait})


class Bomb:
    """A value whose pickling, or unpickling, does damage.

    Args:
        when: ``"pickle"`` or ``"unpickle"``.
        action: a name of `ACTIONS`.
        spare: pid of a process in which it does nothing (so that a driver may pass it on).

    Raises:
        ValueError: ``when`` or ``action`` is another.
    """

    def __init__(self, when: str, action: str, spare: int = 0) -> None:
        if when not in ("pickle", "unpickle") or action not in ACTIONS:
            raise ValueError(f"no bomb goes off at {when!r} with {action!r}; actions: {', '.join(ACTIONS)}")
        self.when, self.action, self.spare = when, action, spare

    def __reduce__(self) -> tuple[Any, ...]:
        if self.when == "pickle" and os.getpid() != self.spare:
            strike(self.action)
        return _unpickle, (self.when, self.action, self.spare)

    def __repr__(self) -> str:
        return f"Bomb({self.when!r}, {self.action!r})"


def _unpickle(when: str, action: str, spare: int) -> Bomb:
    if when == "unpickle" and os.getpid() != spare:
        strike(action)
    return Bomb(when, action, spare)


# -- faults in messages ------------------------------------------------------------------------


class BadLine:
    """Spoils what is sent over a channel: a tap for `raynb.wire.channel.Channel`.

    Args:
        kind: ``"garbage"`` (other bytes of the same length), ``"truncate"`` (the end is missing: what
            comes next is taken for it), ``"flip"`` (one bit is another), ``"huge"`` (a header that
            promises 3 GiB), ``"drop"`` (nothing is sent), ``"duplicate"`` (sent twice), ``"reorder"``
            (sent after the next one), ``"delay"`` (this one and all after it go out up to 10 ms late).
        seed: decides which bytes, and how late.
        after: how many frames go through untouched first; the one after them is spoilt, once.

    Raises:
        ValueError: ``kind`` is another.
    """

    KINDS = ("garbage", "truncate", "flip", "huge", "drop", "duplicate", "reorder", "delay")

    def __init__(self, kind: str, seed: int, after: int = 0) -> None:
        if kind not in self.KINDS:
            raise ValueError(f"no fault {kind!r} in messages; there are {', '.join(self.KINDS)}")
        self.kind, self.random, self.after = kind, random.Random(seed), after
        self.spoilt = False
        self._held = b""

    def __call__(self, frame: bytes) -> bytes:
        if self.spoilt or self.after > 0:
            self.after -= 1
            late, self._held = self._held, b""
            return frame + late
        if self.kind == "delay":
            time.sleep(self.random.uniform(0, 0.01))
            return frame
        self.spoilt = True
        at = self.random.randrange(1, len(frame))
        if self.kind == "garbage":
            return self.random.randbytes(len(frame))
        if self.kind == "truncate":
            return frame[:at]
        if self.kind == "flip":
            return frame[:at] + bytes([frame[at] ^ 1 << self.random.randrange(8)]) + frame[at + 1 :]
        if self.kind == "huge":
            return frame[:4] + (3 << 30).to_bytes(4, "little") + frame[8:]
        if self.kind == "duplicate":
            return frame + frame
        if self.kind == "reorder":
            self._held = frame
        return b""


# -- breaking a runtime from outside -----------------------------------------------------------


def worker_pids(engine: Any = None) -> list[int]:
    """Returns the pids of the workers that a runtime has now.

    Args:
        engine: the runtime's `engine`; None: that of this process.
    """
    engine = engine or slot.current()
    return [row.pid for row in engine.snapshot().workers if row.pid and not row.exit]


def supervisor_pids() -> list[int]:
    """Returns the pids of this process's direct children that start and reap workers."""
    children = leaks.descendants()
    parents = {process.parent for process in children.values()}
    return [pid for pid, process in children.items() if process.parent == os.getpid() and pid in parents]


def kill(*pids: int) -> None:
    """Sends SIGKILL to each process of ``pids`` and waits until all are gone.

    Raises:
        AssertionError: one is still there after a minute.
    """
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    alive = set(pids)

    def gone() -> bool:
        everyone = leaks.all_processes()
        alive.intersection_update(pid for pid, process in everyone.items() if process.state != "Z")
        return not alive

    if not leaks.until(gone):
        raise AssertionError(f"SIGKILL did not end {sorted(alive)}")


class Gate:
    """Lets a test hold tasks at a point, and see that they are there, without sleeping.

    The gate is a folder; it pickles as its path, so it works in any process of the machine::

        gate = Gate(tmp_path)
        ref = f.remote(gate)          # f calls gate.pass_through("started")
        gate.wait_for("started")      # f is there now
        gate.open("started")          # and goes on

    Args:
        folder: an empty folder of the test's own.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)

    def _path(self, name: str, what: str) -> str:
        return os.path.join(self.folder, f"{name}.{what}")

    def arrive(self, name: str) -> None:
        """Says that the caller is at the point ``name``, and goes on."""
        with open(self._path(name, f"{os.getpid()}-{threading.get_ident()}.here"), "w"):
            pass

    def pass_through(self, name: str, timeout: float = 100.0) -> None:
        """Says that the caller is at the point ``name``, and waits until it is opened.

        Raises:
            TimeoutError: nobody opened it within ``timeout`` seconds.
        """
        self.arrive(name)
        if not leaks.until(lambda: os.path.exists(self._path(name, "open")), timeout):
            raise TimeoutError(f"nobody opened the gate {name!r} within {timeout} s")

    def arrivals(self, name: str) -> list[int]:
        """Returns the pids of those that came to the point ``name``."""
        return [
            int(entry.split(".")[1].split("-")[0])
            for entry in os.listdir(self.folder)
            if entry.startswith(f"{name}.") and entry.endswith(".here")
        ]

    def wait_for(self, name: str, count: int = 1, timeout: float = 60.0) -> list[int]:
        """Waits until ``count`` callers have come to the point ``name``; returns their pids.

        Raises:
            TimeoutError: they have not within ``timeout`` seconds.
        """
        if not leaks.until(lambda: len(self.arrivals(name)) >= count, timeout):
            raise TimeoutError(f"{len(self.arrivals(name))} of {count} came to {name!r} within {timeout} s")
        return self.arrivals(name)

    def open(self, name: str) -> None:
        """Lets everybody through the point ``name``, now and later."""
        with open(self._path(name, "open"), "w"):
            pass


class Counter:
    """Counts across processes: one byte appended to the file ``path`` each time. Shows how often a task ran."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def add(self) -> int:
        """Counts one; returns the count so far."""
        number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(number, b".")
            return os.fstat(number).st_size
        finally:
            os.close(number)

    @property
    def value(self) -> int:
        """Returns the count so far."""
        try:
            return os.stat(self.path).st_size
        except FileNotFoundError:
            return 0
