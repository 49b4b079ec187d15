"""Detects asynchronous exceptions before the first one can be raised.

``PyThreadState_SetAsyncExc`` raises an exception between any two steps of the thread that it names. Python
code has to look that function up first, nearly always as an attribute of `ctypes.pythonapi`. The lookup
returns only when every thread has left those steps of ours that must not be left half done; from then on such
steps run on threads that nobody knows of (`shelter`). An extension module that calls the function in C is not
seen; what it leaves half done ends the runtime.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

from raynb.base.process import package
from raynb.base.process.waits import time

NAME = "PyThreadState_SetAsyncExc"
CLEAR_SECONDS = 0.5  # a lookup waits no longer than this
LOOK_SECONDS = 0.001

#: Where an exception would leave something half done. `base.interrupts` has the locks.
_GUARDED = (
    *(package.FOLDER + part + os.sep for part in ("core", "engine", "store", "wire")),
    os.path.join(package.FOLDER, "base", "interrupts.py"),
)

#: Whether somebody may strike. A look costs one index.
known = [NAME in vars(ctypes.pythonapi)]
_cleared = known[:]
threads_of_ours: set[int] = set()
#: Those who wait in a user's thread; ``wake_threads()`` has them go on elsewhere.
waiters: weakref.WeakSet[Any] = weakref.WeakSet()
F = TypeVar("F", bound=Callable[..., Any])
_safe: set[CodeType] = set()  # waits in which nothing is half done
#: Called by the first lookup, before any step moves to another thread.
prepare: list[Callable[[], object]] = []


class OwnThread(threading.Thread):
    """A thread that runs no trace or profile function which was set for every thread (`threading.settrace`): it would
    run under locks of ours, and what it raises would fall into a change. A daemon.

    Args:
        serve: the work.
        name: of the thread.
    """

    pydev_do_not_trace = is_pydev_daemon_thread = True  # debugpy's own mark: it stops at no breakpoint with the others

    def __init__(self, serve: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        # `threading` has put those functions in place when it calls this. It is C up to the first step of the work.
        steps = functools.partial(sys.settrace, None), functools.partial(sys.setprofile, None), serve
        vars(self)["run"] = functools.partial(deque, map(operator.methodcaller("__call__"), steps), 0)


def safe(function: F) -> F:
    """Decorates a function in which a thread waits and nothing is half done."""
    _safe.add(function.__code__)
    return function


class _Watched(ctypes.PyDLL):
    """The class of `ctypes.pythonapi` while the watch is in place."""

    def __getitem__(self, name: Any) -> Any:
        if name == NAME and not (known[0] and _cleared[0]):  # of two that look it up at once, both wait
            for step in prepare:
                step()
            known[0] = True
            _clear()
            _cleared[0] = True
        return super().__getitem__(name)


_Watched.__name__ = _Watched.__qualname__ = "PyDLL"
_Watched.__module__ = "ctypes"


def watch() -> None:
    """Puts the watch in place. Nothing else of `ctypes.pythonapi` changes."""
    if type(ctypes.pythonapi) is ctypes.PyDLL:
        object.__setattr__(ctypes.pythonapi, "__class__", _Watched)


def _clear() -> None:
    """Returns when no thread of the user's is in the middle of a step of ours, or the time is up."""
    end = time.monotonic() + CLEAR_SECONDS
    while _somebody_inside() and time.monotonic() < end:
        for waiter in list(waiters):
            waiter.wake_threads()
        time.sleep(LOOK_SECONDS)


def _somebody_inside() -> bool:
    me = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident == me or ident in threads_of_ours:
            continue
        at: Any = frame
        while at is not None and at.f_code not in _safe:
            if at.f_code.co_filename.startswith(_GUARDED):
                return True
            at = at.f_back
    return False
