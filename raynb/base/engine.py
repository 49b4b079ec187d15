"""The slot that holds this process's engine, and the hooks around it. The interface is in `raynb.base.interfaces`."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raynb.base.interfaces import Context, DriverEngine, Engine, Packed, Wait
from raynb.base.process import module_path
from raynb.exceptions import RuntimeGoneError

__all__ = ["Context", "DriverEngine", "Engine", "Packed"]

FORKED = (
    "This process is a fork of one that runs raynb; the runtime stays with the parent. "
    "Call raynb.init() here to have one of its own."
)

_lock = threading.Lock()
_current: Engine | None = None
#: The isolated runtime that a `with raynb.Runtime()` block put in place of the global one.
_isolated: contextvars.ContextVar[Engine | None] = contextvars.ContextVar("raynb_isolated", default=None)
_any_isolated = False
_starter: Callable[[], Engine] | None = None

#: Engines that count refs by themselves, by nonce: a ref that is read belongs to the runtime that it was pickled in.
_by_nonce: weakref.WeakValueDictionary[int, Engine] = weakref.WeakValueDictionary()


@dataclass(slots=True, frozen=True)
class Start:
    """The start of a runtime of this process.

    Attributes:
        at: ns since the epoch; none of its workers is older.
        environment: that its workers were started with.
        path: where they look for modules, unless they take another module path over.
        contents: what lay there.
        folder: that they run in, unless they take another one over; empty: unknown.
    """

    at: int
    environment: Mapping[str, str]
    path: module_path.Path = ()
    contents: module_path.Contents = field(default_factory=dict)
    folder: str = ""


starts: weakref.WeakKeyDictionary[Engine, Start] = weakref.WeakKeyDictionary()

#: Called with the new driver's engine (or None) after each change of the slot, on the thread that made it.
#: Views use it to wake up; a callback must neither block nor raise.
on_change: list[Callable[[DriverEngine | None], None]] = []

#: Called when a thread really begins to wait for objects; returns what is called when the wait is over.
#: Must neither block nor raise.
on_wait: Callable[[Wait], Callable[[], None]] | None = None

#: Called in a worker when a task, no actor's call, has ended, before its result is sent. Must not raise.
at_end_of_task: list[Callable[[], None]] = []
#: Called in the caller's thread before a runtime is shut down.
before_stop: list[Callable[[], object]] = []

#: How many failures of a cell a worker keeps with their frames, for a post-mortem.
failures_kept = 0

#: Names the running task more exactly, in its output's prefixes and its errors. A worker puts its own here.
name_task: Callable[[str], object] = str


def _plain_stack(frames: list[tuple[str, int, str]]) -> list[str]:
    return [f'    File "{file}", line {line}, in {function}' for file, line, function in frames]


#: Shows a stack, of (file, line, function), for people. The notebook puts its own here, which names cells.
show_stack: Callable[[list[tuple[str, int, str]]], list[str]] = _plain_stack

#: Told when values took long to serialise and store: (the values, when it began, seconds). Called on
#: the thread that submits; must neither block nor raise.
on_serialised: Callable[[tuple[Any, ...], float, float], None] | None = None

#: Seconds of serialising from which on it is reported.
SERIALISED_MIN_SECONDS = 0.001


def current() -> Engine:
    """Returns the process's engine, starting one where Ray would (first use auto-inits).

    Raises:
        RuntimeGoneError: none runs and none may be started here.
    """
    if _any_isolated:
        own = _isolated.get()
        if own is not None:
            return own
    engine = _current
    if engine is not None:
        return engine
    if _starter is None:
        raise RuntimeGoneError("No raynb runtime is running in this process; call raynb.init().")
    return _starter()


def peek() -> Engine | None:
    """Returns the process's engine, or None; never starts one."""
    return (_isolated.get() if _any_isolated else None) or _current


def driver() -> DriverEngine | None:
    """Returns the engine that this process is the driver of, or None; never starts one."""
    engine = peek()
    return engine.driver if engine is not None else None


def register(engine: Engine) -> None:
    """Lets refs that are unpickled anywhere in this process find their engine."""
    _by_nonce[engine.nonce] = engine


def owner_of(nonce: int) -> Engine:
    """Returns the engine that refs of runtime ``nonce`` belong to in this process; never starts one.

    The current engine is returned for a nonce that no engine here is registered under: its ``adopt`` decides.

    Raises:
        RuntimeGoneError: no runtime runs here.
    """
    engine = _by_nonce.get(nonce) or peek()
    if engine is None:
        raise RuntimeGoneError(
            "This ref or handle was pickled in a raynb runtime that is gone; its value is gone too. "
            "Run the code that made it again."
        )
    return engine


def enter_isolated(engine: Engine) -> contextvars.Token[Engine | None]:
    """Puts an isolated runtime in place for the calling context; undo with `leave_isolated`."""
    global _any_isolated
    _any_isolated = True
    return _isolated.set(engine)


def leave_isolated(token: contextvars.Token[Engine | None]) -> None:
    """Ends what `enter_isolated` began."""
    _isolated.reset(token)


def forget_isolated() -> None:
    """Clears the isolated runtimes in a forked child: they belong to its parent."""
    global _any_isolated
    _any_isolated = False
    _isolated.set(None)


def set_current(engine: Engine | None) -> None:
    """Puts an engine into the slot of this process (None: empties it), and calls `on_change`."""
    global _current
    with _lock:
        _current = engine
    for callback in tuple(on_change):
        callback(engine.driver if engine is not None else None)


def set_starter(starter: Callable[[], Engine] | None) -> None:
    """Sets the function that `current` calls when no engine runs (the API's auto-init)."""
    global _starter
    _starter = starter
