"""Keeps a `KeyboardInterrupt` out of sections that must not be left half done.

Python runs signal handlers between any two bytecodes of the main thread. A Ctrl-C that landed
inside a state change would leave it half made, so the handler only records it while the main
thread is in a critical section, and the section raises when it ends.

The handler replaces Python's default one and never another: whoever sets one of his own keeps it, may
call the one before, and may put it back. Steps of ours then run on another thread (`process.shelter`).
Outside critical sections it does what the default one does. `restore` puts that back.

Nor may the garbage collector call the user's destructors there: one that waits for a lock whose holder waits for
raynb would wait for ever. So the collector pauses while a thread is inside or waits to enter, and reads nothing through
a hundred times that is gone a moment later ("1,000 tasks", "1,000 actor calls"). Nothing inside may block: what does,
as a write to a terminal, holds a `Turn`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.signal wraps the result in an enum: 2 µs; this is 0.1 µs
import _thread
import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Sized
from types import CodeType, FrameType
from typing import Any, TypeVar

from raynb.base.process.waits import time

F = TypeVar("F", bound=Callable[..., Any])

#: Set by a thread that stops waiting for a runtime which another thread starts.
given_up = threading.Event()

_SIGINT = int(signal.SIGINT)
_getsignal = _signal.getsignal
_get_ident = threading.get_ident
_depth = 0
_pending = False
_outer: Any = signal.default_int_handler  # the only handler that is ever replaced


#: Functions whose exceptions Python prints and loses: destructors, and what weak collections do when an item dies.
_destructors: set[CodeType | None] = {
    getattr(vars(collection()).get("_remove"), "__code__", None)
    for collection in (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
}
RETRY_SECONDS = 0.001
LOOK_SECONDS = 0.05  # a wait in which Ctrl-C is held back is left so often, to let it through
#: Others are begun anew so often: Python does not see a Ctrl-C that came between its last look for one and the wait.
RESUME_SECONDS = 1.0


_gc_enable, _gc_disable, _gc_isenabled = gc.enable, gc.disable, gc.isenabled
_held = 0  # critical sections that threads are in, or wait to enter
_paused = False  # the collector goes on when the last one has left
_wanted = True  # unless the user has turned it off meanwhile


def _enable() -> None:
    """Replaces `gc.enable`."""
    global _paused, _wanted
    _wanted = True
    if _held:
        _paused = True
    else:
        _gc_enable()


def _disable() -> None:
    """Replaces `gc.disable`: what the user has turned off stays off."""
    global _wanted
    _wanted = False
    _gc_disable()


def _isenabled() -> bool:
    """Replaces `gc.isenabled`: a pause is not seen."""
    return _gc_isenabled() or (_wanted and (_paused or _gc_isenabled()))


def share_collector() -> None:
    """Lets the user turn the collector on and off while a thread is in a critical section."""
    global _wanted
    if _gc_isenabled():  # perhaps by a function that was got before it was replaced
        _wanted = True
    gc.enable, gc.disable, gc.isenabled = _enable, _disable, _isenabled


def resume_collector() -> None:
    """Lets the collector go on, although a thread has not left its critical section: it never will."""
    global _held
    _held = 0
    _go_on()


def _go_on() -> None:
    global _paused
    if _paused:
        _paused = False
        if _wanted:
            _gc_enable()


os.register_at_fork(after_in_child=resume_collector)


def _handler(signum: int, frame: FrameType | None) -> None:
    global _pending
    if _depth:
        _pending = True
    elif _is_lost(frame):
        _thread.start_new_thread(_send_again, ())
    else:
        _outer(signum, frame)


def _is_lost(frame: FrameType | None) -> bool:
    """Returns whether Python would print and lose an exception raised here: under a destructor, or a callback of the
    garbage collector (ipykernel 6 has one)."""
    lost = _destructors.union(getattr(callback, "__code__", None) for callback in gc.callbacks)
    while frame is not None:
        if frame.f_code in lost:
            return True
        frame = frame.f_back
    return False


def _send_again() -> None:
    time.sleep(RETRY_SECONDS)
    signal.pthread_kill(main_thread, _SIGINT)  # also ends a wait that the main thread has begun meanwhile


def destructor(function: F) -> F:
    """Decorates a destructor: what is raised there is printed and lost, so a Ctrl-C comes a moment later."""
    _destructors.add(function.__code__)
    return function


def is_default(handler: object) -> bool:
    """Returns whether a handler of SIGINT is Python's default one, or ours in its place."""
    return handler is _handler or handler is _outer


def main_ident() -> int:
    """Returns the identity of the main thread."""
    return threading.main_thread().ident or 0


#: The ident of the thread in which Python runs signal handlers; 0 where that is not our business.
main_thread = main_ident()


def after_fork_in_child() -> None:
    """Makes the calling thread the main one: a forked child has no other."""
    global main_thread, _depth, _pending
    main_thread = _get_ident()
    _depth = 0
    _pending = False


def stand_aside() -> None:
    """Turns this off in a worker: there `raynb.worker.signals` handles signals, and no lock here touches them."""
    global main_thread
    main_thread = 0


class Critical:
    """A lock that also holds back Ctrl-C while the main thread has it.

    Thread contract: a mutual-exclusion lock, not re-entrant; `with` it. In the main thread a
    `KeyboardInterrupt` that arrives inside is raised on leaving.

    Args:
        backlog: queued work for the next thread that acquires the lock.
        work_off: works it off. So nobody is inside who doesn't know of it.
    """

    __slots__ = ("_backlog", "_lock", "_work_off", "acquire_raw", "owner", "release_raw")

    def __init__(self, backlog: Sized = (), work_off: Callable[[], None] = lambda: None) -> None:
        self._backlog = backlog
        self._work_off = work_off
        self._lock = threading.Lock()
        self.acquire_raw = self._lock.acquire
        self.release_raw = self._lock.release
        self.owner = 0

    def __enter__(self) -> None:
        global _depth, _held, _paused
        me = _get_ident()
        if self.owner == me:  # a finaliser called the API from inside; let the caller see it
            raise RuntimeError("raynb was called again from inside itself (by a __del__ method?)")
        if me == main_thread:
            if _getsignal(_SIGINT) is _outer:
                _stand_in()
            _depth += 1
        # Before the lock is there: while it is awaited, other threads make objects, and Python 3.12 collects after the
        # next call that any thread returns from, even where the collector has been turned off since.
        _held += 1
        if not _paused and _gc_isenabled():
            _paused = True
            _gc_disable()
        self.acquire_raw()
        self.owner = me
        if self._backlog:
            try:
                self._work_off()
            except BaseException:
                self.__exit__()
                raise

    def is_mine(self) -> bool:
        """Returns whether the calling thread has it."""
        return self.owner == _get_ident()

    def __exit__(self, *exc: object) -> None:
        global _depth, _held, _paused, _pending
        me = self.owner
        self.owner = 0
        if _held:  # it is not after `resume_collector`
            _held -= 1
        self.release_raw()  # first: after a call of C an exception may come
        if _paused and not _held:
            _paused = False
            if _wanted:
                _gc_enable()
        if me == main_thread:
            _depth -= 1
            if _pending and not _depth:
                _pending = False
                _outer(_SIGINT, None)

    def locked(self) -> bool:
        """Returns whether any thread has the lock."""
        return self._lock.locked()


class Reentrant:
    """A lock that the thread which has it may enter again, from a signal handler, say. The collector pauses as in
    `Critical`."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        global _held, _paused
        _held += 1
        if not _paused and _gc_isenabled():
            _paused = True
            _gc_disable()
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        global _held
        if _held:  # it is not after `resume_collector`
            _held -= 1
        self._lock.release()
        if not _held:
            _go_on()


class Turn:
    """A lock for work that may block, or runs the user's code: writing to his streams.

    A Ctrl-C ends the wait for it, no exception leaves it locked, and the garbage collector goes on.

    Thread contract: a mutual-exclusion lock. A thread that has the turn and asks for it again is refused.
    """

    __slots__ = ("_lock", "_takers")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Threads that have the turn or wait for it. It is not enough to know who has it: the handler of a signal that
        #: prints may interrupt a thread that has the lock already and has not said so yet.
        self._takers: set[int] = set()

    def take(self, work: Callable[[], object], patience: float | None = None) -> bool:
        """Runs ``work`` when it is the calling thread's turn; returns False, at once, where it has the turn already, or
        waits for it further out.

        Args:
            work: what is done.
            patience: returns False after so many seconds, too: whoever has the turn may wait for something that the
                calling thread has. Only for callers into which no exception but a Ctrl-C can fall.
        """
        me = _get_ident()
        if me in self._takers:
            return False
        try:
            try:
                self._takers.add(me)
                return self._take(work) if patience is None else self._take_within(work, patience)
            finally:
                self._takers.discard(me)
        finally:  # a trace or profile function that has raised in the first one is turned off by that
            self._takers.discard(me)

    def _take(self, work: Callable[[], object]) -> bool:
        # An exception finds both or neither: having the lock, and knowing of it, are one call of C; giving it back too.
        got: list[object] = [False]
        release = map(self._lock.__exit__, (None,), (None,), (None,))  # it returns None
        try:
            try:
                while not got[-1]:
                    got.extend(map(self._lock.acquire, (True,), (LOOK_SECONDS,)))
                work()
            finally:
                if got[-1]:
                    got.extend(release)
        finally:
            if got[-1]:
                got.extend(release)
        return True

    def _take_within(self, work: Callable[[], object], patience: float) -> bool:
        left = patience  # by what was waited, not by the clock: while the process stands still, nobody gets on
        with Deferred():  # a Ctrl-C between having the lock and knowing of it would leave it locked
            while not self._lock.acquire(True, LOOK_SECONDS):
                left -= LOOK_SECONDS
                if left <= 0:
                    return False
                with Allowed():
                    pass
            try:
                work()
            finally:
                self._lock.release()
        return True

    def is_mine(self) -> bool:
        """Returns whether the calling thread has the turn, or waits for it further out."""
        return _get_ident() in self._takers

    def is_taken(self) -> bool:
        """Returns whether any thread has the turn."""
        return self._lock.locked()


class Deferred:
    """Holds Ctrl-C back for the length of a ``with`` block, as `Critical` does, without a lock."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        global _depth
        self._before = _depth
        if _get_ident() == main_thread:
            if _getsignal(_SIGINT) is _outer:
                _stand_in()
            _depth = self._before + 1

    def __exit__(self, *exc: object) -> None:
        global _depth
        if _get_ident() == main_thread:
            _depth = self._before  # whatever an interrupted block inside has left
            _raise_pending()


class Allowed:
    """Lets Ctrl-C through for the length of a ``with`` block inside a `Deferred` one: for waits."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        global _depth
        self._before = _depth
        if _get_ident() == main_thread:
            _depth = 0
            _raise_pending()

    def __exit__(self, *exc: object) -> None:
        global _depth
        if _get_ident() == main_thread:
            _depth = self._before


def join(thread: threading.Thread) -> None:
    """Waits for the end of a thread; a Ctrl-C ends the wait, also one that came just before it."""
    while thread.is_alive():
        thread.join(RESUME_SECONDS)


def _raise_pending() -> None:
    global _pending
    if _pending and not _depth:
        _pending = False
        _outer(_SIGINT, None)


def _stand_in() -> None:
    """Puts our handler in the place of Python's default one, also for whoever asks which that is: asyncio
    and trio set theirs only over `signal.default_int_handler`, and put that back."""
    signal.default_int_handler = _handler  # type: ignore[assignment]
    _signal.signal(_SIGINT, _handler)


def restore() -> None:
    """Puts the replaced handler back (main thread only; elsewhere nothing happens), and the collector's functions."""
    global _wanted
    if _get_ident() == main_thread:
        if _getsignal(_SIGINT) is _handler:
            _signal.signal(_SIGINT, _outer)
        signal.default_int_handler = _outer
    if gc.disable is _disable:
        if not _paused:
            _wanted = True  # nobody tells us from now on; what is off stays off, and is not paused
        gc.enable, gc.disable, gc.isenabled = _gc_enable, _gc_disable, _gc_isenabled
