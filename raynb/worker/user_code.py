"""Marks where in a worker the user's code runs: only there may a signal raise an exception.

Python runs signal handlers between any two bytecodes of the main thread. An exception raised there (the
``KeyboardInterrupt`` of a cancel, the error of a user's SIGALRM handler) would leave the worker's own
bookkeeping half done: messages that were read and not handled, tasks that nobody has. As in trio, the
handler therefore looks at the stack that it interrupts. The innermost frame of ours decides: is it one
that calls user code, the exception may be raised; else the signal is held, and the control thread sends
it again until the user's code runs. So tasks pay nothing for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, TypeVar

from raynb.base.process import package

F = TypeVar("F", bound=Callable[..., Any])

USER = "user"  # an exception may be raised
PICKLING = "pickling"  # the same, but an `Exception` would be taken for one of the value's own
IDLE = "idle"  # nothing runs and nothing is held: a handler may be called, its errors go nowhere
OURS = "ours"  # in the middle of something

#: Folders in which an exception of a signal would leave something half done. The others (`util`, `jupyter`,
#: `testing`) are written on the public API, as the user's code is.
_GUARDED = tuple(package.FOLDER + part + os.sep for part in ("api", "base", "run", "serde", "store", "wire", "worker"))
#: These call the user's code (to pickle, to iterate), and nothing is half done when that raises.
_CALLING = tuple(package.FOLDER + part + os.sep for part in ("run", "serde"))
_IMPORTS = "<frozen importlib._bootstrap>"

_leaves: set[CodeType] = set()
_callers: set[CodeType] = set()
_idle: set[CodeType] = set()


def calls_user_code(function: F) -> F:
    """Marks a function of raynb's that calls the user's code."""
    _callers.add(function.__code__)
    return function


def waits_idle(function: F) -> F:
    """Marks a function in which the main thread waits without holding anything."""
    _idle.add(function.__code__)
    return function


def call(function: Any, args: Any = (), kwargs: Any = {}) -> Any:  # noqa: B006  never changed
    """Calls user code; what happens inside is the user's, also in a function written in C."""
    return function(*args, **kwargs)


_leaves.add(call.__code__)


def where(frame: FrameType | None) -> str:
    """Returns whose code an interrupted frame of the main thread belongs to: `USER`, `PICKLING`, `IDLE` or `OURS`."""
    top = True
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        if name.startswith(_GUARDED):
            if code in _leaves or (not top and code in _callers):
                return USER
            if not top and name.startswith(_CALLING):
                return PICKLING
            return IDLE if code in _idle else OURS
        top = False
        frame = frame.f_back
    return OURS


def importing(frame: FrameType | None) -> bool:
    """Returns whether the user's part of the stack is in the middle of an import.

    Modules written in C are initialised once a process: one that was left half way cannot be imported again.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if name == _IMPORTS:
            return True
        if name.startswith(_GUARDED) and not name.startswith(_CALLING):
            return False
        frame = frame.f_back
    return False
