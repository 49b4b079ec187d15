"""Runs our own code where no exception of the user's can fall into it.

Python raises what a signal handler raises between any two steps of the main thread, and what
``PyThreadState_SetAsyncExc`` was asked for between any two of the thread that it names. A step that
must not be left half done therefore runs in the caller's thread only while that cannot happen;
otherwise a thread that nobody else knows of runs it, and the caller waits. What strikes the caller
meanwhile is raised at once; the step runs to its end, and its result is dropped.

Ctrl-C is no reason to step aside while Python's own handler is in place: see `interrupts`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import contextlib
import contextvars
import functools
import inspect
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from raynb.base import interrupts
from raynb.base.process import headroom, strikes, trace
from raynb.base.process.limits import NO_THREAD
from raynb.base.process.waits import time
from raynb.exceptions import RaySystemError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

LOOK_SECONDS = 0.05  # a caller, and a step that waits, look this often whether the other has gone
MANY_LOOKS = 20  # a step that no thread has begun by then gets a thread of its own
IDLE_SECONDS = 0.1  # a thread that has nothing to do leaves after this
READY_SECONDS = 0.5  # the first lookup waits no longer than this for a thread of ours
STAY_SECONDS = 1.0  # the one that stays while threads may be struck looks this often whether they still may
TRACE_ARGUMENTS = 4  # a trace function has the frame among its first
NAME = "raynb-shelter"

_getsignal = _signal.getsignal
_get_ident = threading.get_ident
_gettrace, _getprofile = sys.gettrace, sys.getprofile
#: Since Python 3.12 a debugger, or another tool, may ask to be called by way of this, in every thread.
_monitoring: Any = getattr(sys, "monitoring", None)
_get_tool = (lambda tool: None) if _monitoring is None else _monitoring.get_tool
_DEBUGGER, _COVERAGE, _PROFILER = 0, 1, 2  # their numbers as tools
_SIGNALS = [n for n in range(1, 32) if n < signal.NSIG and n not in (9, 19)]
_calm: list[Any] = []  # handlers as they were when none of them was the user's
_HARMLESS = ("_sighandler_noop",)  # asyncio's: the signal is told by a descriptor

_known = strikes.known
_ours = strikes.threads_of_ours  # they run no user code
_running: dict[int, Job] = {}
#: Not a SimpleQueue: its ``get`` waits for ever if another thread takes the item just as its timeout is over.
_jobs: deque[Job] = deque()
_come = _thread.allocate_lock()  # locked, unless there may be a job that no thread has looked for
_come.acquire()
_lock = threading.Lock()
_idle = _serving = 0


class Abandoned(BaseException):
    """Ends a waiting step whose caller was interrupted. Never leaves this module."""


class Moved(BaseException):
    """Ends a step that waits in the caller's thread: it begins anew on one of ours. Never leaves the engine."""


class Job:
    """A step for another thread."""

    __slots__ = ("abandoned", "begun", "context", "done", "error", "result", "step")

    def __init__(self, step: Callable[[], object]) -> None:
        self.step = step
        self.context = contextvars.copy_context()
        self.done = _thread.allocate_lock()
        self.done.acquire()
        self.abandoned = self.begun = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Runs the step. Whatever happens, also where there is no memory, the caller waits no longer."""
        me = 0
        try:
            self.begun = True
            me = _get_ident()
            _running[me] = self
            if not self.abandoned:  # else the caller was struck, or no thread was found, before it began
                self.result = self.context.run(self.step)
        except BaseException as error:
            self.error = error
        finally:
            _running.pop(me, None)
            self.step = _nothing
            if self.abandoned:
                self.result = self.error = None
            self.done.release()


def _nothing() -> None:
    pass


def exposed() -> bool:
    """Returns whether an exception of the user's may fall into the calling thread at any step."""
    global _calm
    me = _get_ident()
    if me in _ours:
        return False
    if _known[0] or _gettrace() is not None or _getprofile() is not None:
        return True  # quitting pdb raises from its hook
    if _get_tool(_DEBUGGER) is not None or _get_tool(_PROFILER) is not None or _get_tool(_COVERAGE) is not None:
        return True
    if me != interrupts.main_thread:
        return False
    now = list(map(_getsignal, _SIGNALS))
    if now == _calm:
        return False
    for handler in now:
        if callable(handler) and not interrupts.is_default(handler) \
                and getattr(handler, "__name__", "") not in _HARMLESS:  # fmt: skip
            return True
    _calm = now
    return False


def fell_in(error: BaseException) -> bool:
    """Returns whether an exception may have come from outside of the code that it was raised in: an asynchronous one,
    or one of a tool, does not tell."""
    if was_sent(error) or (_known[0] and _get_ident() not in _ours):
        return True
    return any(_get_tool(tool) is not None for tool in (_DEBUGGER, _PROFILER, _COVERAGE))


def was_sent(error: BaseException) -> bool:
    """Returns whether the handler of a signal, or a trace or profile function, has raised an exception: each is
    called with the frame that it interrupts, from just there. (A trace function that raises is turned off before
    anybody could ask for it.)"""
    at = error.__traceback__
    while at is not None:
        frame = at.tb_frame
        code = frame.f_code
        names = code.co_varnames[: min(code.co_argcount, TRACE_ARGUMENTS)]
        given = [frame.f_locals.get(name) for name in names]
        if code.co_flags & inspect.CO_VARARGS:
            given += frame.f_locals.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount]) or ()
        if any(type(value) is FrameType and value is frame.f_back for value in given):
            return True
        at = at.tb_next
    return False


def pass_on(error: BaseException) -> None:
    """Raises again what came out of the user's code where that may fail (to be pickled, to say what it is), if it came
    from outside: a Ctrl-C, a cancel, the error of a signal handler."""
    if was_sent(error) or (not isinstance(error, Exception) and _get_ident() == interrupts.main_thread):
        raise error


def run(step: Callable[..., T], *args: object) -> T:
    """Returns ``step(*args)``, run where nothing of the user's can interrupt it.

    Raises:
        RecursionError: the stack is too full for it to begin.
    """
    headroom.check()
    if not exposed():
        try:
            return step(*args)
        except Moved:
            pass
    return aside(step, *args)


@strikes.safe
def aside(step: Callable[..., T], *args: object) -> T:
    """Returns ``step(*args)``, run on another thread. For callers that have seen that they are `exposed`."""
    if sys.is_finalizing():  # no other thread runs any more
        return step(*args)
    job = Job(functools.partial(step, *args))
    _jobs.append(job)
    try:
        _wake_thread()
        if not _idle and not _stays():
            _make_thread()
        looks = 0
        while not job.done.acquire(True, LOOK_SECONDS):
            # CPython 3.11 gives a new thread the number of its maker at first: what was meant for the caller would
            # strike that thread, and be lost. So callers make threads only where none of ours is left.
            looks += 1
            if not job.begun and looks > (MANY_LOOKS if _idle or _stays() else 0):
                _make_thread()
                looks = 0
    except BaseException:
        job.abandoned = True
        raise
    error = job.error
    if error is not None:
        try:
            raise error
        finally:
            job.error = error = None
    result, job.result = job.result, None  # the thread that has run it may hold the job for a moment more
    return result  # type: ignore[no-any-return]


def sheltered(method: F) -> F:
    """Decorates a method whose whole body is ours."""

    @functools.wraps(method)
    def call(*args: object, **kwargs: object) -> Any:
        headroom.check()  # as `run`, without one more call
        if not exposed():
            try:
                return method(*args, **kwargs)
            except Moved:
                pass
        return aside(functools.partial(method, **kwargs) if kwargs else method, *args)

    return call  # type: ignore[return-value]


def unsheltered(method: Callable[..., object]) -> Callable[..., Any]:
    """Returns a bound method without its shelter: for callers that run where nothing can interrupt them."""
    inner = getattr(method, "__wrapped__", None)
    return method if inner is None else functools.partial(inner, method.__self__)  # type: ignore[attr-defined]


def enlist() -> None:
    """Marks the calling thread as raynb's own: it runs no user code."""
    _ours.add(_get_ident())


def discharge() -> None:
    """Unmarks the calling thread, which ends."""
    _ours.discard(_get_ident())


def must_move() -> bool:
    """Returns whether a step that waits in a user's thread has to go on in one of ours (see `strikes`)."""
    return _known[0] and _get_ident() not in _ours


def abandoned() -> Callable[[], bool] | None:
    """Returns a function by which a waiting step asks whether its caller has left; None where callers cannot leave."""
    job = _running.get(_get_ident())
    return None if job is None else lambda: job.abandoned


def _wake_thread() -> None:
    """Wakes a thread that waits for jobs."""
    try:
        _come.release()
    except (RuntimeError, MemoryError):  # one was woken already and has not come yet; no memory to say so
        pass


def _stays() -> bool:
    """Returns whether a thread of ours is there to stay: before it takes a job it leaves another in its place."""
    return _known[0] and _serving > 0


def _take() -> Job | None:
    """Returns the next job; None when there was none for `IDLE_SECONDS`."""
    while True:
        try:
            job = _jobs.popleft()
        except IndexError:
            if not _come.acquire(True, STAY_SECONDS if _known[0] else IDLE_SECONDS):
                return None
            continue
        if _jobs:
            _wake_thread()
        return job


def _make_thread() -> None:
    try:
        _thread.start_new_thread(_start, ())  # one call into C: an exception comes before or after it
    except RuntimeError as error:
        if "thread" in str(error):  # else it came from outside
            raise RaySystemError(NO_THREAD.format(error)) from error
        raise


def _start_thread() -> None:
    """Raises RuntimeError where no further thread can be made."""
    strikes.OwnThread(_serve, NAME).start()


def _start() -> None:
    try:
        _start_thread()
    except (RuntimeError, MemoryError):  # no further thread can be made: this one does it, and somebody waits for that
        _serve()
        # A step that asked `threading` for the current thread has entered one there, which would stay listed for ever.
        listed = vars(threading)
        with listed["_active_limbo_lock"]:
            listed["_active"].pop(_get_ident(), None)


def _serve() -> None:
    """Runs jobs; a thread that takes one first makes sure that another waits for the next."""
    global _idle, _serving
    enlist()
    job: Job | None = None
    waits = 1  # this thread is one of `_idle`
    with _lock:
        _idle += 1
        _serving += 1
    try:
        while True:
            job = _take()
            if job is None:
                with _lock:
                    if not _jobs and not (_stays() and _idle == 1):
                        _idle -= 1
                        _serving -= 1
                        return
                continue
            with _lock:
                _idle -= 1
                waits = 0
                alone = not _idle
            if alone and not sys.is_finalizing():
                try:
                    _start_thread()
                except (RuntimeError, MemoryError):  # no thread can be made: this one comes back
                    pass
            job.run()
            job = None
            with _lock:
                if _idle > 1:
                    _serving -= 1
                    return
                _idle += 1
                waits = 1
    except BaseException as error:  # no memory: nobody may count on this thread, nor wait for its job
        with _lock:
            _idle -= waits
            _serving -= 1
        if job is not None and job.done.locked():
            job.error = error
            job.done.release()
        trace.swallowed("a thread that runs steps of raynb's", error)
    finally:
        discharge()


def stays(thread: threading.Thread) -> bool:
    """Returns whether a thread is ours and there for good: threads of this process may be struck."""
    return _known[0] and thread.name == NAME


def be_ready() -> None:
    """Returns when a thread of ours waits for jobs; while threads may be struck, one always does."""
    if not _serving:
        with contextlib.suppress(RuntimeError):  # no thread can be made: callers look for one later
            _start_thread()
            end = time.monotonic() + READY_SECONDS
            while not _serving and time.monotonic() < end:
                time.sleep(strikes.LOOK_SECONDS)


def after_fork_in_child() -> None:
    """Clears the threads: a forked child has none of its parent's."""
    global _jobs, _come, _lock, _idle, _serving
    _jobs, _come, _lock, _idle, _serving = deque(), _thread.allocate_lock(), threading.Lock(), 0, 0
    _come.acquire()
    _ours.clear()
    _running.clear()


strikes.prepare.append(be_ready)
strikes.watch()
