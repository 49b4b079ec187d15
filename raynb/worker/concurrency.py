"""Runs the calls of concurrent actors, in threads or on event loops; one object per concurrency group."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base.interrupts import Critical
from raynb.exceptions import AsyncioActorExit
from raynb.wire import messages as w
from raynb.wire.channel import Closed
from raynb.worker import user_code
from raynb.worker.state import RunningTask

if TYPE_CHECKING:
    from raynb.worker.actor_host import ActorHost
    from raynb.worker.main import WorkerProcess

MAX_THREADS = 1000
LOOP_ENDED = "something that ran in the background of its event loop ended that"
#: A call as it waits for its turn.
Call = tuple[w.Run, RunningTask]


class Threads:
    """As many threads as calls may run at once, each started when it is first needed.

    A thread that takes a call wakes another one if more calls wait, and no further one before that one
    has come: calls that block have company after one switch of threads. Calls of methods that were over
    in a moment the last time are done one after the other by a thread that is awake: waking another one
    takes longer. If one of them blocks all the same, `relieve` starts a thread.

    Thread contract: every method from any thread.
    """

    def __init__(self, host: ActorHost, name: str, count: int) -> None:
        self._host = host
        self._name = f"raynb-{name or 'actor'}"
        self._most = min(count, MAX_THREADS)
        self._lock = Critical()  # whose holder would wait for a thread that needs it, if a destructor could wait inside
        self._calls: deque[Call] = deque()
        self._parked: list[threading.Lock] = []  # a thread waits at each
        self._started = 0
        self._coming = False  # a thread was woken and has not looked yet
        self._brief = 0  # threads whose call will be over in a moment, as far as one knows
        self._taken = 0  # calls that have begun
        self._seen = 0  # so many had begun at the last look of `relieve`
        self._stuck = False  # one that was to be over in a moment is not
        self._closed = False
        self._is_brief = host.is_brief

    def start(self, run: w.Run, running: RunningTask) -> None:
        """Enqueues a call, and wakes a thread for it unless one that is about to be free takes it."""
        self._calls.append((run, running))
        # A thread that ends a brief call looks for the next one after it has left the count.
        if not self._brief or self._stuck or not self._is_brief(run):
            self._wake()

    def waiting(self) -> bool:
        """Returns whether `relieve` is to be called soon: calls wait behind one that was to be brief, and there
        could be another thread for them."""
        return bool(self._calls) and not self._stuck and bool(self._parked or self._started < self._most)

    def relieve(self) -> None:
        """Starts a thread if no call has begun since the last look. Call it every few milliseconds while `waiting`."""
        if self._calls and self._taken == self._seen:
            self._stuck = True
            self._wake()
        self._seen = self._taken

    def _wake(self) -> None:
        with self._lock:
            if self._coming or not self._calls:
                return
            gate = None
            if self._parked:
                gate = self._parked.pop()
            elif self._started < self._most:
                self._started += 1
            else:
                return
            self._coming = True
        if gate is not None:
            gate.release()
            return
        try:
            threading.Thread(target=self._serve, name=f"{self._name}_{self._started - 1}", daemon=True).start()
        except RuntimeError:  # the system has no more: those there are do the work
            with self._lock:
                self._started -= 1
                self._coming = False
                if not self._started:
                    raise

    def _serve(self) -> None:
        try:
            self._run_calls()
        except Closed:
            return  # the driver is gone, and this process will be
        except BaseException as error:  # none of a call's, which has been caught
            self._host.broken(error)

    def _run_calls(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        woken = True
        brief = False
        while True:
            with self._lock:
                if self._closed:
                    return
                if woken:
                    self._coming = woken = False
                if brief:
                    self._brief -= 1
                call = self._calls.popleft() if self._calls else None
                brief = call is not None and self._is_brief(call[0])
                if call is None:
                    self._stuck = False
                    self._parked.append(gate)
                else:
                    self._taken += 1
                    self._brief += brief
            if call is None:
                gate.acquire()
                woken = True
                continue
            if self._calls and (self._stuck or not brief or not self._next_is_brief()):
                self._wake()
            contextvars.Context().run(self._host.run_in_thread, *call)
            del call

    def _next_is_brief(self) -> bool:
        try:
            return self._is_brief(self._calls[0][0])
        except IndexError:  # another thread has taken it
            return True

    def cancel(self, running: RunningTask) -> None:
        """Does nothing: a thread cannot be interrupted; a call that has not begun sees the cancel."""

    def close(self) -> None:
        """Ends the threads that wait; running calls are left until the process ends."""
        with self._lock:  # a thread that parks after this would wait for ever
            self._closed = True
            self._calls.clear()
            parked, self._parked = self._parked, []
        for gate in parked:
            gate.release()


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Prints the error of a background asyncio task; `exit_actor` in one is no error."""
    if not isinstance(context.get("exception"), AsyncioActorExit):
        loop.default_exception_handler(context)


class EventLoopThread:
    """An event loop in a thread of its own.

    Thread contract: `start`, `cancel` from any thread; what begins with an underscore in the loop's.
    """

    def __init__(self, host: ActorHost, name: str, count: int) -> None:
        self._host = host
        self._free = count  # so many more calls may run
        self._waiting: deque[Call] = deque()
        self.loop = self._make()
        self.loop.set_exception_handler(_handle)
        self._enter(name)

    def _make(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _enter(self, name: str) -> None:
        self._thread = threading.Thread(target=self._serve, name=f"raynb-loop-{name or 'actor'}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        except BaseException as error:  # `SystemExit` of a task in the background: calls to come would wait for ever
            self._host.broken(error, LOOP_ENDED)

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Runs a function on the loop's thread, in the caller's context, and waits for it."""
        return _outcome(asyncio.run_coroutine_threadsafe(_called(function, args, kwargs), self.loop).result())

    def start(self, run: w.Run, running: RunningTask) -> None:
        """Starts a call on the loop's thread."""
        self.loop.call_soon_threadsafe(self._start, run, running)

    def _start(self, run: w.Run, running: RunningTask) -> None:
        if running.interrupted:
            self._host.answer_cancelled(run, running)
        elif self._free:
            self._begin(run, running)
        else:
            self._waiting.append((run, running))

    def _begin(self, run: w.Run, running: RunningTask) -> None:
        self._free -= 1
        context = contextvars.Context()
        task = context.run(self.loop.create_task, self._host.run_async(run, running))
        running.future = task
        task.add_done_callback(functools.partial(self._ended, run, running))

    def _ended(self, run: w.Run, running: RunningTask, task: asyncio.Task[Any]) -> None:
        self._free += 1
        if task.cancelled() and self._host.knows(run.task):  # before its first step: nobody has answered
            self._host.answer_cancelled(run, running)
        while self._waiting and self._free:
            self._start(*self._waiting.popleft())

    def cancel(self, running: RunningTask) -> None:
        """Cancels a call on the loop's thread."""
        self.loop.call_soon_threadsafe(self._cancel, running)

    def _cancel(self, running: RunningTask) -> None:
        if running.future is not None:
            running.future.cancel()
            return
        for call in self._waiting:
            if call[1] is running:
                self._waiting.remove(call)
                self._host.answer_cancelled(*call)
                return

    def close(self) -> None:
        """Stops the loop and waits for its thread, 1 second at most."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)


async def _called(function: Any, args: Any, kwargs: dict[str, Any]) -> tuple[object, BaseException | None]:
    try:
        return user_code.call(function, args, kwargs), None
    except BaseException as raised:  # as it is, `SystemExit` would end the loop, and nobody be told
        return None, raised


def _outcome(called: tuple[object, BaseException | None]) -> object:
    result, raised = called
    if raised is None:
        return result
    try:
        raise raised
    finally:
        del raised, called  # this frame and the error would keep each other


class MainLoop(EventLoopThread):
    """The event loop of an actor with no other groups: in the worker's main thread, which reads its channel
    from there, so that a call costs no switch of threads.

    Thread contract: as `EventLoopThread`; `serve` in the main thread.
    """

    def __init__(self, host: ActorHost, name: str, count: int) -> None:
        self._worker: WorkerProcess = host.executor.worker
        super().__init__(host, name, count)

    def _make(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Selector(self._before_sleep))

    def _enter(self, name: str) -> None:
        asyncio.set_event_loop(self.loop)

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Runs a function (the constructor) on the loop until it has returned."""
        return _outcome(self.loop.run_until_complete(_called(function, args, kwargs)))

    def start(self, run: w.Run, running: RunningTask) -> None:
        """Starts a call on the loop, from whichever thread."""
        if threading.get_ident() == self._worker.main_ident:
            self._start(run, running)
        else:
            super().start(run, running)

    @user_code.waits_idle
    def serve(self) -> None:
        """Runs the loop until the worker is to end."""
        loop, worker = self.loop, self._worker
        fds = worker.link.main_fds
        failures: list[BaseException] = []

        def readable() -> None:
            try:
                worker.link.heard()
                worker.link.read()
            except BaseException as error:  # the driver is gone; a callback's error would stay in the loop
                failures.append(error)
            if failures or worker.is_over():
                loop.stop()

        for fd in fds:
            loop.add_reader(fd, readable)
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as error:  # of a task in the background, or of a callback
            self._host.broken(error, LOOP_ENDED)
        finally:
            for fd in fds:
                loop.remove_reader(fd)
        if failures:
            raise failures[0]

    def _before_sleep(self) -> bool:
        """Sends queued messages and spins for a moment; returns whether messages came."""
        self._worker.send_rest()
        return bool(self._worker.link.spin())

    def close(self) -> None:
        """Does nothing: the thread that runs the loop closes it."""


class _Selector(selectors.DefaultSelector):
    """A selector that runs what is due before it sleeps."""

    def __init__(self, before_sleep: Callable[[], bool]) -> None:
        super().__init__()
        self._before_sleep = before_sleep

    @user_code.waits_idle
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Runs what is due before the loop sleeps; then does not sleep if there is work."""
        if (timeout is None or timeout > 0) and self._before_sleep():
            timeout = 0
        return super().select(timeout)
