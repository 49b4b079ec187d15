"""Keeps errors that were survived: the logger ``raynb``, and a ring of the last ones.

Code that must go on after an error calls `swallowed`, so that no error disappears: it goes to the
logger (level WARNING where something of the user's raised, DEBUG where a peer was just gone) and to
a ring that `%raynb doctor` shows.

Handlers of the logger are the user's. One may wait for a lock that the user's thread has, and that thread for
us; so no thread of ours calls them, and nobody who may hold a lock of ours: a thread does that has nothing else to do.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from dataclasses import dataclass

from raynb.base.process.waits import time

log = logging.getLogger("raynb")
log.addHandler(logging.NullHandler())

MAX_ERRORS = 50
MAX_UNLOGGED = 1_000  # errors that wait for a handler, the earliest: each holds the frames that it has passed through
END_SECONDS = 1.0  # at the end of the process, what is not logged yet is waited for so long


@dataclass(slots=True)
class Swallowed:
    """An error that was survived: when (seconds since the epoch), where, and the error as text."""

    when: float
    where: str
    error: str


#: The last ones, oldest first. Appending is one call into C, so any thread may do it at any time.
ring: deque[Swallowed] = deque(maxlen=MAX_ERRORS)


def swallowed(where: str, error: BaseException, level: int = logging.WARNING) -> None:
    """Keeps and logs an error that ends here.

    Args:
        where: what was being done, in words.
        error: the error.
        level: of the log record.
    """
    try:
        said = f"{type(error).__name__}: {error}"
    except BaseException as broken:  # the user's own class
        from raynb.base.process import shelter  # which uses this

        shelter.pass_on(broken)
        said = f"{type(error).__name__}, whose __str__ raises {type(broken).__name__}"
    ring.append(Swallowed(time.time(), where, said))
    if level >= log.getEffectiveLevel():
        # With more, the oldest would have to go: its frames may be the last that hold an object with a destructor of
        # the user's, which would run here, perhaps under a lock of ours.
        if len(_unlogged) < MAX_UNLOGGED:
            _unlogged.append((level, where, said, error))
        _start()


_unlogged: deque[tuple[int, str, str, BaseException]] = deque()
_lock = threading.RLock()  # a signal handler, or a destructor, may come here, too
_thread: threading.Thread | None = None


def _start() -> None:
    global _thread
    with _lock:
        if _thread is not None:
            return
        try:
            thread = threading.Thread(target=_serve, name="raynb-log", daemon=True)
            thread.start()
        except (RuntimeError, MemoryError):  # no thread or lock can be made: it is logged with the next one
            return
        _thread = thread


def _serve() -> None:
    global _thread
    while True:
        with _lock:
            if not _unlogged:
                _thread = None
                return
            # Under the lock: where an exception fell between the start of a thread and the record of it, there are two.
            level, where, said, error = _unlogged.popleft()
        try:
            log.log(level, "%s: %s", where, said, exc_info=error)
        except BaseException as broken:  # `SystemExit`, too: a thread that ended by it would be taken to be there
            ring.append(Swallowed(time.time(), "logging an error", f"{type(broken).__name__} of a handler or filter"))
        del error  # and what its frames hold


def _finish() -> None:
    thread = _thread
    if thread is not None:
        thread.join(END_SECONDS)


def _after_fork_in_child() -> None:
    global _lock, _thread
    _lock = threading.RLock()
    _thread = None
    _unlogged.clear()


atexit.register(_finish)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
