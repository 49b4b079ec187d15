"""Runs raynb's tasks and actors in Ray's workers, each inside one of Ray's."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import ray

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef
from raynb.base.rows import CANCELLED, FAILED, FINISHED
from raynb.base.spec import DYNAMIC, STREAMING, ActorSpec
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.bridge import Broken, Failure, FailureToRetry, Value
from raynb.engine.cluster.on_worker import ending, timeouts
from raynb.engine.cluster.on_worker.arriving import Arrived, Bare, the_host
from raynb.engine.cluster.on_worker.workers import RunningCall, WorkerAdapter, end_child, engine_of, running
from raynb.engine.cluster.submission import GENERIC_CALL, GENERIC_STREAM, MARK, Static, bare_name
from raynb.run import failures, methods, returns
from raynb.serde import errors, functions, pickling, results

#: Class of a failure, error value, (type, text), the refs in it.
Told = tuple[type[Failure], object, tuple[str, str], Sequence[ObjectRef[object]]]


class ClusterTask:
    """One task, or one call of an actor, in this worker.

    Used as a context manager around everything that the user's code does; what that raises leaves it
    as a `Failure`.
    """

    __slots__ = ("_token", "arrived", "call", "engine", "fetched", "now", "ran", "size", "started")

    def __init__(self, arrived: Arrived, spec: ActorSpec | None = None) -> None:
        self.arrived = arrived
        self.call = call = arrived.call
        self.engine: WorkerAdapter = engine_of(call)
        self.now = RunningCall(call, spec, self.engine.reporter_for(call.to) if call.to else self.engine.reporter)
        self.size = 0
        self.started = self.fetched = self.ran = time.time()
        self._token: Any = None

    def __enter__(self) -> ClusterTask:
        self._token = running.set(self.now)
        self.engine.begin(self.now, self.started)
        return self

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> None:
        end_child()
        if raised is not None:
            raised = ending.askable(raised)
        try:
            if raised is None or (isinstance(raised, GeneratorExit) and self.call.options.num_returns == STREAMING):
                self._end(FINISHED, "", "")  # of a stream that is closed, nobody wants the rest
            elif isinstance(raised, SystemExit) and self.now.actor is None:
                if not ending.is_terminated(raised):
                    raise self._left(raised) from None
                self.now.reporter.flush()  # Ray says what becomes of the task, and may try it again
            elif isinstance(raised, ending.PASS):
                self._end(FAILED, type(raised).__name__, str(raised))
                self.engine.desk.hush()
                if isinstance(raised, SystemExit):
                    self.now.reporter.flush()
                    if self.now.actor is not None and self.now.actor.is_async:
                        ending.leave_loop(raised.code)
            elif ending.is_cancelled(raised, self.now.left):
                self._end(CANCELLED, type(raised).__name__, str(raised))
                if not isinstance(raised, ending.CANCELS):
                    raise KeyboardInterrupt from None  # by which Ray knows that the task was cancelled
            elif not isinstance(raised, Failure):
                raise self._failure(raised) from None
        finally:
            self.engine.end(self.now, raised)
            try:
                running.reset(self._token)
            except ValueError:  # an async generator is closed in another context
                pass

    def _end(self, state: str, kind: str, text: str) -> None:
        times = (self.started, self.fetched, self.ran, time.time())
        self.now.reporter.ended(("end", self.call.task, state, times, kind, text, self.size))

    def _finish(self) -> None:
        if self.now.actor is None:
            for function in slot.at_end_of_task:
                function()

    def _left(self, raised: SystemExit) -> Failure:
        """Returns the failure of a task that exits by itself, which Ray would try again."""
        self._finish()
        value, described = failures.left(self.call.options.name, raised)
        self._end(FAILED, *described)
        return Failure(value, described, [], self.now.reporter.mark(self.now))

    def _failure(self, raised: BaseException) -> BaseException:
        """Returns the failure of what the code raised; an interrupt if a cancel came while that was read.

        Python's ``traceback`` catches everything there, so what comes out of it does not tell.
        """
        reads = self.now.actor is None  # Ray interrupts no call of an actor
        asked, found = ending.is_asked(), None
        try:
            self._finish()
            try:
                found = self._described(raised)
            except BaseException as broken:  # even a look at the class of what it raised runs the user's code
                if not (reads and ending.has_met(asked, broken)):
                    found = self._described(failures.untold(raised, broken))
        except KeyboardInterrupt as late:
            if not (reads and ending.has_met(asked, late)):
                raise
        self.ran = time.time()
        if found is None or (reads and ending.has_met(asked)):
            self._end(CANCELLED, "KeyboardInterrupt", "")
            return KeyboardInterrupt()
        made, value, described, contained = found
        self._end(FAILED, *described)
        return made(value, described, self.engine.pairs(contained), self.now.reporter.mark(self.now))

    def _described(self, raised: BaseException) -> Told:
        """Returns what tells of an exception of the code's."""
        options = self.call.options
        if failures.is_ended_by(timeouts.TimedOut, raised):  # no error of the user's code, and not tried again
            return Failure, *failures.timed_out(options.name, options.timeout), ()
        task_id = ""
        unmade = bool(the_host) and getattr(the_host[0](), "instance", None) is None  # no frames: its process ends
        if slot.failures_kept and raised.__traceback__ is not None and not unmade:
            number = abs(self.call.task)  # of a call that went out without its number it is negative
            task_id = ids.to_hex(number, self.call.nonce, ids.TASK_HEX)
            self.engine.desk.keep(number, self.call.scope, raised, slot.failures_kept)
        told = errors.task_error(raised, options.name, task_id)
        again = options.retry_exceptions and returns.retryable(options.retry_exceptions, raised)
        return FailureToRetry if again else Failure, *told

    # -- arguments and results -------------------------------------------------------------------
    def arguments(self) -> tuple[Any, dict[str, Any]]:
        """Loads the arguments; the error of an argument is the task's own."""
        arrived = self.arrived
        if arrived.plain is not None:
            deps = [self.engine.unpack(dep) for dep in arrived.deps] if arrived.deps else ()
            found = pickling.unpack_args(arrived.plain, (), deps)
        elif arrived.args is None:
            return [], {}
        else:
            found = self.engine.arguments(arrived.args, arrived.deps)
        self.fetched = time.time()
        return found

    def value(self, result: object) -> Any:
        """Returns a result as it lies in Ray's store: plain values as they are."""
        end_child()
        return self._value(result)

    def _value(self, result: object) -> object:
        mark = self.now.reporter.mark(self.now)
        if mark is None and pickling.is_plain(result):
            self.size += sys.getsizeof(result)
            return result
        packed = results.pack_result(result)
        self.size += len(packed.data) + sum(b.nbytes for b in packed.buffers)
        return bridge.value_of(packed, self.engine.pairs(packed.contained), self.call.nonce, self.call.task, mark)

    def results(self, result: object) -> Any:
        """Returns what Ray is to store: a value, or a list of them for several returns."""
        end_child()
        now = self.now
        self._finish()
        self.ran = time.time()
        count = self.call.options.num_returns
        if count == 1 and not now.printed and now.heard == now.reporter.heard and pickling.is_plain(result):
            self.size += sys.getsizeof(result)  # as `_value` does, and most calls need nothing else
            return result
        if count == DYNAMIC:
            items, broken = returns.items_of(result, self.call.options.name, "dynamic"), self._part
            made = returns.dynamic(items, self.call.options, self._put, lambda e: self.engine.put_error(broken(e)[0]))
            return self.value(DynamicObjectRefGenerator(made))
        if count == 1 and not inspect.isgenerator(result):
            return self._value(result)
        values = returns.each(result, self.call.options, self.value, self._broken)
        return values[0] if count == 1 else values if count else None

    def _put(self, item: object) -> ObjectRef[object]:
        ref: ObjectRef[object] = self.engine.put(results.pack_result(item))
        return ref

    def _part(self, raised: Exception) -> tuple[object, tuple[str, str], list[ObjectRef[object]]]:
        """Returns the error of one return of a task that did not fail as a whole; its frames are kept for `%debug`."""
        failure = self.engine.desk.keep_part(abs(self.call.task), self.call.scope, self.call.nonce, raised)
        return errors.task_error(raised, self.call.options.name, failure)

    def _broken(self, raised: Exception) -> Value:
        value, _, contained = self._part(raised)
        return Broken(value, (), self.engine.pairs(contained), self.call.nonce, self.call.task,
                      self.now.reporter.mark(self.now))  # fmt: skip


# -- tasks -------------------------------------------------------------------------------------
def entry(static: Static, streams: bool, name: str) -> Callable[..., Any]:
    """Returns the function that Ray stores for one definition of ours. It travels by value, with the definition."""

    def run(head: bytes, *rest: object) -> object:
        return run_task(static, head, rest)

    def stream(head: bytes, *rest: object) -> Any:
        yield from stream_task(static, head, rest)

    made = stream if streams else run
    made.__name__ = made.__qualname__ = f"{static.key[:8]}.{name}"  # Ray warns of equal ones, and shows the last part
    return made


def run_task(static: Static, head: bytes, rest: Sequence[Any]) -> object:
    """Runs a raynb task; Ray calls it."""
    arrived = Arrived(static, head, rest)
    seconds = arrived.call.options.timeout
    with ClusterTask(arrived) as task:
        return timeouts.within(seconds, _ran, static, arrived, task) if seconds else _ran(static, arrived, task)


def _ran(static: Static, arrived: Arrived, task: ClusterTask) -> object:
    function = task.engine.function(static, arrived.definition)
    given, named = task.arguments()
    return task.results(function(*given, **named))


def stream_task(static: Static, head: bytes, rest: Sequence[Any]) -> Any:
    """Runs a raynb generator; Ray calls it."""
    arrived = Arrived(static, head, rest)
    options = arrived.call.options
    with ClusterTask(arrived) as task:
        with timeouts.limited(options.timeout):
            function = task.engine.function(static, arrived.definition)
            given, named = task.arguments()
            for item in returns.items_of(function(*given, **named), options.name, "streaming"):
                yield task.value(item)
        task.now.settle()  # not in the time that the user's code has


# -- actors ------------------------------------------------------------------------------------
class Host:
    """A raynb actor, as Ray runs it: sync, or in threads.

    The class that Ray gets has a method for each of the user's class, so that plain Ray can call it as well.
    """

    _raynb_static: Static

    def __init__(self, head: bytes, spec: ActorSpec, *rest: Any) -> None:
        self.spec = spec
        self.instance: Any = None
        the_host[:] = [weakref.ref(self)]
        actor = rays.context().get_actor_id()
        arrived = Arrived(self._raynb_static, head, rest, spec.actor_id)
        engine = engine_of(arrived.call)
        engine.hosted = spec
        self._reporter = reporter = engine.reporter
        try:
            with ClusterTask(arrived, spec) as task:
                cls = task.engine.function(self._raynb_static, arrived.definition)
                given, named = task.arguments()
                self.instance = cls(*given, **named)
                reporter.add(("actor", spec.actor_id, "ALIVE", os.getpid(), ""))
        except Failure as failure:
            # Ray sends callers only the text: raynb sends the error itself.
            bridge.keep(f"init:{actor}", pickle.dumps(failure.value))
            reporter.add(("actor", spec.actor_id, "DEAD", os.getpid(), failure.described[1]))
            reporter.flush()
            engine.desk.hush()
            raise

    def __ray_shutdown__(self) -> None:
        """Runs exit handlers; Ray calls it before an actor's process ends in order."""
        try:
            getattr(self.instance, "__ray_shutdown__", lambda: None)()
        finally:
            self._reporter.flush()

    def _raynb_call_2(self, head: bytes, *rest: object) -> object:
        return _run(self, _arrived(self, head, rest))

    def _raynb_stream(self, head: bytes, *rest: object) -> Any:
        with ClusterTask(_arrived(self, head, rest), self.spec) as task:
            options = task.call.options
            with timeouts.limited(options.timeout):
                given, named = task.arguments()
                result = _method(self, options.function)(*given, **named)
                for item in timeouts.punctual(returns.items_of(result, options.name, "streaming"), options.timeout):
                    yield task.value(item)
            task.now.settle()


# Functions, and no methods: Ray wraps every method of an actor's class, for its tracing.
def _method(host: Host, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = functions.method(host.instance, name) if not name.startswith("__ray_") else \
        methods.bound(host.instance, name, ray.actor.exit_actor)  # fmt: skip
    return found


def _arrived(host: Host, head: bytes, rest: Sequence[object]) -> Arrived:
    return Arrived(host._raynb_static, head, rest, host.spec.actor_id)


def _run(host: Host, arrived: Arrived) -> object:
    """Runs a call of a sync actor; Ray calls it."""
    seconds = arrived.call.options.timeout
    with ClusterTask(arrived, host.spec) as task:
        return timeouts.within(seconds, _answered, host, task) if seconds else _answered(host, task)


def _answered(host: Host, task: ClusterTask) -> object:
    given, named = task.arguments()
    return task.results(_method(host, task.call.options.function)(*given, **named))


async def _run_async(host: Host, arrived: Arrived) -> Any:
    """Runs a call of an async actor; Ray calls it."""
    options = arrived.call.options
    with ClusterTask(arrived, host.spec) as task:
        given, named = task.arguments()
        result = _method(host, options.function)(*given, **named)
        if inspect.isawaitable(result):
            result = await timeouts.in_time(result, options.timeout)
        return task.results(result)


class AsyncHost(Host):
    """A raynb actor with async methods: all of them run on Ray's event loops."""

    async def _raynb_call_2(self, head: bytes, *rest: object) -> Any:
        return await _run_async(self, _arrived(self, head, rest))

    async def _raynb_stream(self, head: bytes, *rest: object) -> Any:
        arrived = _arrived(self, head, rest)
        options = arrived.call.options
        with ClusterTask(arrived, self.spec) as task:
            given, named = task.arguments()
            result = _method(self, options.function)(*given, **named)
            items = result if inspect.isasyncgen(result) else returns.items_of(result, options.name, "streaming")
            async for item in timeouts.items_in_time(items, options.timeout):
                yield task.value(item)
            await asyncio.to_thread(task.now.settle)


def _ours(args: tuple[object, ...]) -> bool:
    """Returns whether raynb made the call, and not plain Ray."""
    return bool(args) and type(args[0]) is bytes and args[0].startswith(MARK)


def _sync_method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _ours(args):
            return _run(self, _arrived(self, args[0], args[1:]))
        return _method(self, name)(*args, **kwargs)

    return method


# Static: Ray wraps other methods for its tracing, with a keyword, and then binds each call to its signature.
def _sync_bare(name: str) -> Any:
    def method() -> Any:
        arrived = Bare(name)
        return _run(arrived.host, arrived)

    return staticmethod(method)


def _async_bare(name: str) -> Any:
    async def method() -> Any:
        arrived = Bare(name)
        return await _run_async(arrived.host, arrived)

    return staticmethod(method)


def _async_method(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _ours(args):
            return await _run_async(self, _arrived(self, args[0], args[1:]))
        result = _method(self, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return method


def actor_class(static: Static, spec: ActorSpec) -> Any:
    """Returns Ray's actor class for a class of ours; it has the class's name in Ray's own views."""
    base, make, bare = (AsyncHost, _async_method, _async_bare) if spec.is_async else (Host, _sync_method, _sync_bare)
    body: dict[str, Any] = {"__module__": "raynb.actors", "_raynb_static": static}
    for name, about in spec.methods.items():
        if not about["generator"] and name not in (GENERIC_CALL, GENERIC_STREAM) and not name.startswith("__"):
            body[name] = make(name)
            body[name].__name__ = name
            if about["signature"] is not None and about["signature"].takes_nothing:
                body[bare_name(name)] = bare(name)
                body[bare_name(name)].__func__.__name__ = bare_name(name)
    made = type(spec.class_name, (base,), body)
    if spec.concurrency_groups:
        return rays.remote(made, concurrency_groups=dict(spec.concurrency_groups))
    return rays.remote(made)
