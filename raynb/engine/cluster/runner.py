"""What Ray's workers run: raynb's tasks and actors, each inside one of Ray's."""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import engine as slot
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef
from raynb.base.rows import CANCELLED, FAILED, FINISHED
from raynb.base.spec import DYNAMIC, STREAMING, ActorSpec
from raynb.engine.cluster import bridge
from raynb.engine.cluster.adapter import Call
from raynb.engine.cluster.bridge import Broken, Failure, FailureToRetry, Value
from raynb.engine.cluster.workers import Running, WorkerAdapter, engine_of, running
from raynb.exceptions import TaskTimeoutError
from raynb.run import failures, methods, returns
from raynb.serde import errors, results

#: What must reach Ray as it is: its own ways to end a task or a process.
PASS = (KeyboardInterrupt, SystemExit, theirs.AsyncioActorExit, theirs.TaskCancelledError)


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raises `TaskTimeoutError` in the block after so many seconds (only in a main thread)."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: Any) -> None:
        raise TaskTimeoutError(f"the task did not finish within its timeout of {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Task:
    """One task, or one call of an actor, in this worker.

    Used as a context manager around everything that the user's code does; what that raises leaves it
    as a `Failure`.
    """

    def __init__(self, call: Call, spec: ActorSpec | None = None) -> None:
        self.call = call
        self.engine: WorkerAdapter = engine_of(call)
        self.now = Running(call, spec)
        self.size = 0
        self.started = self.fetched = self.ran = time.time()
        self._token: Any = None

    def __enter__(self) -> Task:
        self._token = running.set(self.now)
        self.engine.begin(self.now)
        return self

    def __exit__(self, kind: Any, raised: BaseException | None, traceback: Any) -> None:
        try:
            if raised is None:
                self._end(FINISHED, "", "")
            elif isinstance(raised, GeneratorExit) and self.call.options.num_returns == STREAMING:
                self._end(FINISHED, "", "")  # nobody wants the rest
            elif isinstance(raised, SystemExit) and self.now.actor is None:
                raise self._left(raised) from None
            elif isinstance(raised, PASS):
                cancelled = isinstance(raised, (KeyboardInterrupt, theirs.TaskCancelledError))
                self._end(CANCELLED if cancelled else FAILED, type(raised).__name__, str(raised))
                if isinstance(raised, SystemExit):
                    self.engine.reporter.flush()
            elif not isinstance(raised, Failure):
                raise self._failure(raised) from None
        finally:
            self.engine.end(self.now)
            with contextlib.suppress(ValueError):  # an async generator is closed in another context
                running.reset(self._token)

    def _end(self, state: str, kind: str, text: str) -> None:
        times = (self.started, self.fetched, self.ran, time.time())
        self.engine.reporter.add(("end", self.call.task, state, times, kind, text, self.size))

    def _finish(self) -> None:
        if self.now.actor is None:
            for function in slot.at_end_of_task:
                function()

    def _left(self, raised: SystemExit) -> Failure:
        """Returns the failure of a task that exits by itself, which Ray would try again."""
        self._finish()
        value, described = failures.left(self.call.options.name, raised)
        self._end(FAILED, *described)
        return Failure(value, described, [], self.engine.reporter.mark(self.now))

    def _failure(self, raised: BaseException) -> Failure:
        self._finish()
        options = self.call.options
        value, described, contained = errors.task_error(raised, options.name, "")
        self.ran = time.time()
        again = options.retry_exceptions and returns.retryable(options.retry_exceptions, raised)
        self._end(FAILED, *described)
        made = FailureToRetry if again else Failure
        return made(value, described, self.engine.pairs(contained), self.engine.reporter.mark(self.now))

    # -- arguments and results -------------------------------------------------------------------
    def arguments(self, args: Value | None, deps: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        """Loads the arguments; the error of an argument is the task's own."""
        found: tuple[Any, dict[str, Any]] = self.engine.arguments(args, deps)
        self.fetched = time.time()
        return found

    def function(self) -> Callable[..., Any]:
        return self.engine.function(self.call.options.function, self.call.definition)  # type: ignore[no-any-return]

    def value(self, result: Any) -> Value:
        """Returns a result as it lies in Ray's store."""
        packed = results.pack_result(result)
        self.size += len(packed.data) + sum(b.nbytes for b in packed.buffers)
        return bridge.value_of(packed, self.engine.pairs(packed.contained), self.engine.reporter.mark(self.now))

    def results(self, result: Any) -> Any:
        """Returns what Ray is to store: a value, or a list of them for several returns."""
        self._finish()
        self.ran = time.time()
        count = self.call.options.num_returns
        if count == DYNAMIC:
            items = returns.items_of(result, self.call.options.name, "dynamic")
            made = returns.dynamic(items, self.call.options, self._put, self._put_error)
            return self.value(DynamicObjectRefGenerator(made))
        if count == 1 and not inspect.isgenerator(result):
            return self.value(result)
        values = returns.each(result, self.call.options, self.value, self._broken)
        return values[0] if count == 1 else values if count else None

    def _put(self, item: Any) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = self.engine.put(results.pack_result(item))
        return ref

    def _put_error(self, raised: Exception) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = self.engine.put_error(errors.task_error(raised, self.call.options.name, "")[0])
        return ref

    def _broken(self, raised: Exception) -> Value:
        value, _, contained = errors.task_error(raised, self.call.options.name, "")
        return Broken(value, (), self.engine.pairs(contained), self.engine.reporter.mark(self.now))


# -- tasks -------------------------------------------------------------------------------------
def run_task(call: Call, args: Value | None, *deps: Any) -> Any:
    """A raynb task, as Ray runs it."""
    with Task(call) as task, limited(call.options.timeout):
        given, named = task.arguments(args, deps)
        return task.results(task.function()(*given, **named))


def stream_task(call: Call, args: Value | None, *deps: Any) -> Any:
    """A raynb generator, as Ray runs it."""
    with Task(call) as task, limited(call.options.timeout):
        given, named = task.arguments(args, deps)
        for item in returns.items_of(task.function()(*given, **named), call.options.name, "streaming"):
            yield task.value(item)


# -- actors ------------------------------------------------------------------------------------
class Host:
    """A raynb actor, as Ray runs it: sync, or in threads."""

    def __init__(self, call: Call, spec: ActorSpec, args: Value | None, *deps: Any) -> None:
        self.spec = spec
        self.instance: Any = None
        actor = ray.get_runtime_context().get_actor_id()
        try:
            with Task(call, spec) as task:
                cls = task.engine.function(spec.class_key, call.definition)
                given, named = task.arguments(args, deps)
                self.instance = cls(*given, **named)
                task.engine.reporter.add(("actor", spec.actor_id, "ALIVE", os.getpid(), ""))
        except Failure as failure:
            # Ray tells others only the text: whoever calls wants the error.
            bridge.keep(f"init:{actor}", pickle.dumps(failure.value))
            engine_of(call).reporter.add(("actor", spec.actor_id, "DEAD", os.getpid(), failure.described[1]))
            engine_of(call).reporter.flush()
            raise

    def _method(self, name: str) -> Callable[..., Any]:
        return methods.bound(self.instance, name, ray.actor.exit_actor)

    def call(self, call: Call, args: Value | None, *deps: Any) -> Any:
        with Task(call, self.spec) as task, limited(call.options.timeout):
            given, named = task.arguments(args, deps)
            return task.results(self._method(call.options.function)(*given, **named))

    def stream(self, call: Call, args: Value | None, *deps: Any) -> Any:
        with Task(call, self.spec) as task, limited(call.options.timeout):
            given, named = task.arguments(args, deps)
            result = self._method(call.options.function)(*given, **named)
            for item in returns.items_of(result, call.options.name, "streaming"):
                yield task.value(item)


class AsyncHost(Host):
    """A raynb actor with async methods: all of them run on Ray's event loops."""

    async def call(self, call: Call, args: Value | None, *deps: Any) -> Any:
        with Task(call, self.spec) as task:
            given, named = task.arguments(args, deps)
            result = self._method(call.options.function)(*given, **named)
            if inspect.isawaitable(result):
                result = await _in_time(result, call.options.timeout)
            return task.results(result)

    async def stream(self, call: Call, args: Value | None, *deps: Any) -> Any:
        with Task(call, self.spec) as task:
            given, named = task.arguments(args, deps)
            result = self._method(call.options.function)(*given, **named)
            if inspect.isasyncgen(result):
                async for item in result:
                    yield task.value(item)
            else:
                for item in returns.items_of(result, call.options.name, "streaming"):
                    yield task.value(item)


async def _in_time(result: Any, seconds: float | None) -> Any:
    import asyncio

    if not seconds:
        return await result
    try:
        return await asyncio.wait_for(result, seconds)
    except asyncio.TimeoutError:
        raise TaskTimeoutError(f"the task did not finish within its timeout of {seconds} s") from None


def actor_class(spec: ActorSpec) -> Any:
    """Returns Ray's actor class for an actor of ours; it has the class's name in Ray's own views."""
    base = AsyncHost if spec.is_async else Host
    made = type(spec.class_name, (base,), {"__module__": "raynb.actors"})
    if spec.concurrency_groups:
        return ray.remote(concurrency_groups=dict(spec.concurrency_groups))(made)
    return ray.remote(made)
