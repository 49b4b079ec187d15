"""An actor in its process: its methods run in the main thread (sync), in threads, or on event loops."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base.process import shelter
from raynb.base.process.waits import time
from raynb.base.ref import DynamicObjectRefGenerator
from raynb.base.spec import DYNAMIC, STREAMING, ActorSpec, TaskOptions
from raynb.run import methods
from raynb.serde import pickling
from raynb.wire import messages as w
from raynb.worker import state, user_code
from raynb.worker.concurrency import EventLoopThread, MainLoop, Threads
from raynb.worker.link import FLUSH_SECONDS
from raynb.worker.state import RunningTask

if TYPE_CHECKING:
    from raynb.worker.executor import TaskExecutor

_now = time.monotonic


class ActorHost:
    """The instance, and where its methods run.

    Thread contract: `dispatch` under the link's read lock; `cancel` in the control thread.
    """

    def __init__(self, executor: TaskExecutor, spec: ActorSpec, cls: Any, attempt: int) -> None:
        self.executor = executor
        self.spec = spec
        self.cls = cls
        self.instance: Any = None
        self.attempt = attempt
        self.concurrent = spec.is_async or spec.max_concurrency > 1 or bool(spec.concurrency_groups)
        self.running: dict[int, RunningTask] = {}
        self._ending: list[None] = []  # one for each call that is over and whose result is not posted yet
        self._groups: dict[str, Threads | EventLoopThread] = {}
        self._name = spec.class_name

    @user_code.calls_user_code  # its `__repr__`
    def create(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Calls the constructor, on an event loop if the actor is async."""
        if self.concurrent:
            groups = {"": self.spec.max_concurrency, **dict(self.spec.concurrency_groups)}
            kind = Threads if not self.spec.is_async else EventLoopThread if len(groups) > 1 else MainLoop
            for name, count in groups.items():
                self._groups[name] = kind(self, name, count)
        self.executor.host = self  # handles to itself, made in the constructor, find it
        try:
            if self.spec.is_async:  # the constructor too runs on the loop's thread
                group = self._groups[""]
                assert isinstance(group, EventLoopThread)
                self.instance = group.call(self.cls, args, kwargs)
            else:
                self.instance = user_code.call(self.cls, args, kwargs)
        except BaseException:
            self.executor.host = None
            raise
        if type(self.instance).__repr__ is not object.__repr__:  # type: ignore[comparison-overlap]
            try:
                self._name = repr(self.instance)
            except BaseException as error:
                shelter.pass_on(error)
                self._name = self.spec.class_name

    def display_name(self) -> str:
        """Returns the actor's name as output and processes show it."""
        return self._name

    def method(self, name: str) -> Any:
        """Returns the bound method; Ray's own ones exist on every actor."""
        return methods.bound(self.instance, name, self._terminate)

    def _terminate(self) -> None:
        from raynb.worker.executor import LeaveWorker

        raise LeaveWorker

    def knows(self, task: int) -> bool:
        """Returns whether the call runs here."""
        return task in self.running

    def busy(self) -> bool:
        """Returns whether a call runs."""
        return bool(self.running or self._ending)

    # -- concurrent actors ---------------------------------------------------------------------
    def dispatch(self, run: w.Run) -> None:
        """Starts a call in its concurrency group's threads or loop."""
        options = self.executor.worker.options[run.options]
        running = RunningTask(run, options)
        self.running[run.task] = running
        self._group(options).start(run, running)

    def _group(self, options: TaskOptions) -> Threads | EventLoopThread:
        return self._groups.get(options.concurrency_group) or self._groups[""]

    @property
    def is_brief(self) -> Callable[[w.Run], bool]:
        """Returns what says whether a call will end in a moment, as the last one of its method did."""
        return self.executor.is_brief

    def pressed(self) -> bool:
        """Returns whether `relieve` is to be called soon: calls wait for a thread that does not come."""
        return any(isinstance(group, Threads) and group.waiting() for group in self._groups.values())

    def relieve(self) -> None:
        """Starts a thread for calls that wait behind one that was expected to be brief."""
        for group in self._groups.values():
            if isinstance(group, Threads):
                group.relieve()

    @property
    def main_loop(self) -> MainLoop | None:
        """The event loop that the worker's main thread runs; None: the main thread runs no loop."""
        group = self._groups.get("")
        return group if isinstance(group, MainLoop) else None

    def run_in_thread(self, run: w.Run, running: RunningTask) -> None:
        """Runs a call in the calling thread and sends its result."""
        state.running.set(running)
        started = fetched = _now()
        flags = 0
        error = ("", "")
        executor = self.executor
        try:
            executor.worker.heed(running)
            if running.interrupted:
                raise _Cancelled
            function = self.method(running.options.function)
            args, kwargs = self._arguments(run)
            fetched = _now()
            result = user_code.call(function, args, kwargs)
            ran = _now()
            packed: Any = executor.returns.of(running, result)
        except BaseException as raised:
            ran = _now()
            packed, flags, error = executor.failure(running, raised)
            BaseException.with_traceback(raised, None)
        # Whoever hears of the end may let the actor go: its `__del__` must not wait for this thread's last steps.
        function = result = None
        self._end(run, running, packed, flags, error, started, fetched, ran)

    @user_code.calls_user_code
    async def run_async(self, run: w.Run, running: RunningTask) -> None:
        """Runs an async call on the running event loop and sends its result."""
        state.running.set(running)
        started = fetched = _now()
        flags = 0
        error = ("", "")
        executor = self.executor
        try:
            executor.worker.heed(running)
            if running.interrupted:
                raise asyncio.CancelledError
            function = self.method(running.options.function)
            args, kwargs = self._arguments(run)
            fetched = _now()
            result = user_code.call(function, args, kwargs)
            count = running.options.num_returns
            if inspect.isasyncgen(result):
                packed: Any = await self._stream_async(running, result, count == DYNAMIC)
                ran = _now()
            else:
                if inspect.isawaitable(result):
                    result = await result
                ran = _now()
                packed = executor.returns.of(running, result)
        except asyncio.CancelledError as raised:
            ran = _now()
            if running.interrupted:
                packed, flags, error = executor.failure(running, KeyboardInterrupt())
            else:
                packed, flags, error = executor.failure(running, raised)
        except BaseException as raised:
            ran = _now()
            packed, flags, error = executor.failure(running, raised)
            BaseException.with_traceback(raised, None)
        function = result = None
        self._end(run, running, packed, flags, error, started, fetched, ran)

    def answer_cancelled(self, run: w.Run, running: RunningTask) -> None:
        """Answers a call that was cancelled before it began."""
        now = _now()
        running.interrupted = True
        self._end(run, running, *self.executor.failure(running, KeyboardInterrupt()), now, now, now)

    @user_code.calls_user_code
    async def _stream_async(self, running: RunningTask, items: Any, dynamic: bool) -> Any:
        returns = self.executor.returns
        worker = self.executor.worker
        limit = running.options.backpressure
        refs: list[Any] = []
        index = 2
        if running.options.num_returns not in (STREAMING, DYNAMIC):
            raise TypeError(f"{running.name} is an async generator; call it with num_returns='streaming'")
        if limit > 0:
            returns.streams[running.task] = running
        async for item in items:
            if dynamic:
                refs.append(worker.engine.put(pickling.pack(item)))
                continue
            value, size, contained = returns.store(item)
            worker.capture.end_of_task(running)
            worker.link.post(w.Yield(running.task, index, value, size, contained))
            worker.link.flush()
            index += 1
            while limit > 0 and index - 2 - running.consumed >= limit:  # noqa: ASYNC110  told by another thread
                await asyncio.sleep(0.002)
        returns.streams.pop(running.task, None)
        if dynamic:
            running.holds = refs  # until the result is sent
            return (returns.store(DynamicObjectRefGenerator(refs)),)
        return (returns.store(None),)

    def _arguments(self, run: w.Run) -> tuple[Any, dict[str, Any]]:
        if run.args == pickling.EMPTY_IN_BAND:
            return (), {}
        return self.executor.arguments(run)

    def _end(self, run: w.Run, running: RunningTask, *outcome: Any) -> None:
        # No lock: a destructor that the collector calls in here may wait for another call of this actor.
        self._ending.append(None)  # until the result is on its way: the process may end as soon as nothing runs
        self.running.pop(run.task, None)  # before that: a retry, which may come at once, has the same number
        self.executor.finish(run, running, *outcome)
        self._ending.pop()
        worker = self.executor.worker
        if len(self.running) and _now() - worker.link.sender.last_flush < FLUSH_SECONDS and worker.link.record_unsent():
            worker.link.nudge()
        else:
            worker.link.flush()
        if worker.stopping:
            worker.link.wake_main()

    def cancel(self, task: int) -> bool:
        """Cancels a call of a concurrent actor; returns False if it does not run here."""
        running = self.running.get(task)
        if running is None or not self.concurrent:
            return False
        running.interrupted = True
        self._group(running.options).cancel(running)
        return True

    def broken(self, error: BaseException, *what: str) -> None:
        """Ends the process: an exception sent to a thread interrupted the bookkeeping of a call, or ``what``."""
        self.executor.worker.link.broken(error, *what)

    def shut_down(self) -> None:
        """Calls the instance's ``__ray_shutdown__``, as in Ray; an error of it is printed and changes nothing."""
        hook = getattr(type(self.instance), "__ray_shutdown__", None)
        if hook is None:
            return
        try:
            hook(self.instance)
        except BaseException:
            print(f"Error during {self.spec.class_name}.__ray_shutdown__", file=sys.__stderr__)
            traceback.print_exc(file=sys.__stderr__)

    def close(self) -> None:
        """Ends the concurrency groups."""
        for group in self._groups.values():
            group.close()


class _Cancelled(KeyboardInterrupt):
    pass
