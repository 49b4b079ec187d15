"""How `InlineEngine` runs tasks, streams and actors: at once, in the thread that submits them."""

from __future__ import annotations

import asyncio
import bdb
import contextlib
import contextvars
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef
from raynb.base.rows import ALIVE, CANCELLED, DEAD, FAILED, FINISHED, RUNNING, TASK_ENDED, ActorRow, TaskRow
from raynb.base.spec import DYNAMIC, STREAMING, ActorSpec, TaskOptions
from raynb.engine.inline_loop import DrivenLoop
from raynb.exceptions import AsyncioActorExit
from raynb.serde import errors, pickling, results

if TYPE_CHECKING:
    from raynb.engine.inline import InlineEngine

_now = time.monotonic
_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class LeaveActor(BaseException):
    """`exit_actor`: the actor ends after this call."""


class Running:
    """One task while it runs."""

    def __init__(self, row: TaskRow, options: TaskOptions, scope: int, host: Host | None) -> None:
        self.row = row
        self.options = options
        self.scope = scope
        self.host = host
        self.attempt = 0
        self.cancelled = False
        self.leaving = False
        self.job: asyncio.Task[Any] | None = None  # in async actors


#: The task that the calling code belongs to; threads that copy their context belong to it too.
running: contextvars.ContextVar[Running | None] = contextvars.ContextVar("raynb_inline_running", default=None)


class Stream:
    """The items of a generator: made ahead as far as its backpressure allows, without it all at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: dict[int, ObjectRef[Any]] = {}
        self.made = 1  # index of the latest item; the first is 2
        self.taken = 1
        self.ended = False
        self.iterator: Any = None
        self.room: asyncio.Event | None = None  # for async generators
        self.loop: DrivenLoop | None = None

    def full(self) -> bool:
        return self.limit > 0 and self.made - self.taken >= self.limit


class Host:
    """An actor: its instance and, if it is async, its event loop.

    Thread contract: calls of a sync actor run one at a time (``turn``).
    """

    def __init__(self, spec: ActorSpec, options: TaskOptions, packed: Packed, scope: int) -> None:
        self.spec = spec
        self.options = options
        self.packed = packed
        self.instance: Any = None
        self.dead: Any = None  # the error value of calls that come too late
        self.restarts = 0
        self.pending = 0
        self.turn = threading.RLock()
        self.loop = DrivenLoop() if spec.is_async else None
        self.limit: asyncio.Semaphore | None = None
        self.row = ActorRow(spec.actor_id, spec.class_name, spec.name, spec.namespace, pid=os.getpid(),
                            max_restarts=spec.max_restarts, scope=scope, worker=1,
                            detached=spec.lifetime == "detached")  # fmt: skip


@contextlib.contextmanager
def surroundings(env: tuple[tuple[str, Any], ...]) -> Iterator[None]:
    """Sets a ``runtime_env`` up for the length of a call, and takes it back."""
    if not env:
        yield
        return
    given = dict(env)
    variables = dict(given.get("env_vars", ()))
    before = {name: os.environ.get(name) for name in variables}
    folder, path = os.getcwd(), list(sys.path)
    os.environ.update(variables)
    try:
        for module in given.get("py_modules", ()):
            package = os.path.isfile(os.path.join(module, "__init__.py"))
            sys.path.insert(0, os.path.dirname(module) if package else module)
        if given.get("working_dir"):
            os.chdir(given["working_dir"])
            sys.path.insert(0, given["working_dir"])
        yield
    finally:
        os.chdir(folder)
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Returns the part of a traceback that begins in the user's code."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_FOLDER):
        traceback = traceback.tb_next
    return traceback


class Tasks:
    """Runs what is submitted.

    Thread contract: any thread; each runs its own submissions.
    """

    def __init__(self, engine: InlineEngine) -> None:
        self.engine = engine
        self.streams: dict[int, Stream] = {}
        self.open: dict[int, Running] = {}  # calls of async actors that are not done

    # -- one task ------------------------------------------------------------------------------
    def run(self, row: TaskRow, options: TaskOptions, packed: Packed, host: Host | None, scope: int) -> None:
        """Runs a task, again if its retries allow. Its objects are there (or pending) afterwards."""
        now = Running(row, options, scope, host)
        if options.num_returns == STREAMING:
            self.streams[row.id] = Stream(options.backpressure)
        if host is not None and host.dead is not None:
            self._fail_all(now, FAILED, host.dead, ("ActorDiedError", "the actor is dead"), (), None)
            return
        self.open[row.id] = now
        row.started = row.fetched = _now()
        self.engine.book.move_task(row, RUNNING)
        if host is not None and host.loop is not None:
            self._run_on_loop(now, packed, host, host.loop)
            return
        with host.turn if host is not None else contextlib.nullcontext():
            while not self._attempt(now, packed):
                now.attempt += 1
                row.attempt += 1

    def _function(self, now: Running) -> Callable[..., Any]:
        host = now.host
        if host is None:
            return self.engine.function(now.options.function)
        name = now.options.function
        if name == "__ray_ready__":
            return lambda: True
        if name == "__ray_call__":
            return lambda function, *args, **kwargs: function(host.instance, *args, **kwargs)
        if name == "__ray_terminate__":
            return self.engine.leave_actor
        return getattr(host.instance, name)  # type: ignore[no-any-return]

    def _attempt(self, now: Running, packed: Packed) -> bool:
        """Runs a task once; returns False if it has to run again."""
        token = running.set(now)
        try:
            with surroundings(now.options.runtime_env):
                args, kwargs = self.engine.arguments(packed)
                now.row.fetched = _now()
                result = self._function(now)(*args, **kwargs)
                if now.leaving:  # even if what `exit_actor` raised was caught
                    raise LeaveActor
                now.row.ran = _now()
                self._keep(now, result)
        except BaseException as raised:
            return self._raised(now, raised)
        finally:
            running.reset(token)
        return True

    def _keep(self, now: Running, result: Any) -> None:
        """Stores what a task returned."""
        objects, count, task = self.engine.objects, now.options.num_returns, now.row.id
        if count == STREAMING:
            stream = self.streams.get(task)
            if stream is not None:
                stream.iterator = self._iterator(now, result)
                self.advance(now, stream)
            return
        if count == DYNAMIC:
            refs = [self.engine.put(results.pack_result(item)) for item in self._iterator(now, result)]
            result, count = DynamicObjectRefGenerator(refs), 1
        values = [result] if count == 1 else results.split(result, count) if count else []
        packed = []
        for value in values:
            try:
                packed.append(results.pack_result(value))
            except TypeError as error:
                if count == 1:
                    raise
                packed.append(error)  # this one cannot travel; the others do
        for index, one in enumerate(packed, 1):
            identity = ids.object_id(task, index)
            if isinstance(one, TypeError):
                value, _, contained = errors.task_error(one, now.options.name, "")
                objects.fail(identity, value, contained, None)
            else:
                objects.keep(identity, one)
                now.row.size += pickling.nbytes(one)
        self._ended(now, FINISHED)

    @staticmethod
    def _iterator(now: Running, result: Any) -> Any:
        try:
            return iter(result)
        except TypeError:
            raise TypeError(
                f"{now.options.name} has num_returns='streaming' or 'dynamic' but returned "
                f"{type(result).__name__}, which is no generator"
            ) from None

    def _ended(self, now: Running, state: str) -> None:
        if now.row.state in TASK_ENDED:
            return
        self.open.pop(now.row.id, None)
        now.row.ended = _now()
        now.row.ran = now.row.ran or now.row.ended
        self.engine.book.move_task(now.row, state)

    # -- failures ------------------------------------------------------------------------------
    def _raised(self, now: Running, raised: BaseException) -> bool:
        """Takes what a task raised; returns False if the task is to run again.

        Raises:
            KeyboardInterrupt, BdbQuit: whoever sits at the keyboard stops the cell with it.
        """
        if now.row.state in TASK_ENDED:  # its actor died under it
            return True
        now.row.ran = _now()
        traceback = users_part(raised.__traceback__)
        if isinstance(raised, (LeaveActor, AsyncioActorExit, SystemExit)):
            self._left(now, raised)
            return True
        stop = isinstance(raised, (KeyboardInterrupt, bdb.BdbQuit)) and not now.cancelled
        if stop or (now.cancelled and isinstance(raised, (KeyboardInterrupt, asyncio.CancelledError))):
            value: Any = ("err", "TaskCancelledError", (self.engine.spell(now.row.id, ids.TASK_HEX),))
            self._fail_all(now, CANCELLED, value, ("TaskCancelledError", "cancelled"), (), None)
            if stop:
                raise raised
            return True
        left = now.options.max_retries - now.attempt
        streamed = self.streams.get(now.row.id)
        begun = streamed is not None and streamed.made > 1
        if (left > 0 or now.options.max_retries < 0) and not begun \
                and results.retryable(now.options.retry_exceptions, raised):  # fmt: skip
            return False
        value, described, contained = errors.task_error(raised, now.options.name, "")
        self._fail_all(now, FAILED, value, described, contained, traceback)
        return True

    def _left(self, now: Running, raised: BaseException) -> None:
        """The task asked its process to end: the actor is over, or the worker would have been."""
        said = f"it called sys.exit({raised.code!r})" if isinstance(raised, SystemExit) else "exit_actor() was called"
        if now.host is None:
            value: Any = ("err", "WorkerCrashedError", (f"The worker died while it ran {now.options.name}: {said}.",))
            self._fail_all(now, FAILED, value, ("WorkerCrashedError", said), (), None)
            return
        value = self.engine.died(now.host, said)
        self._fail_all(now, FAILED, value, ("ActorDiedError", said), (), None)
        self.end_actor(now.host, value, restart=isinstance(raised, SystemExit))

    def _fail_all(self, now: Running, state: str, value: Any, described: tuple[str, str], contained: Any,
                  traceback: TracebackType | None) -> None:  # fmt: skip
        """The task is over with an error: all its objects are that error."""
        now.row.error_type, now.row.error = described
        count = now.options.num_returns
        stream = self.streams.get(now.row.id)
        if stream is not None:
            if not stream.ended:
                stream.made += 1
                identity = ids.object_id(now.row.id, stream.made)
                stream.items[stream.made] = self.engine.objects.new(identity, now.scope)
                self.engine.objects.fail(identity, value, contained, traceback)
            stream.ended = True
        for index in range(1, (count if count > 0 else 1) + 1):
            self.engine.objects.fail(ids.object_id(now.row.id, index), value, contained, traceback)
        self._ended(now, state)

    # -- streams -------------------------------------------------------------------------------
    def add_item(self, now: Running, stream: Stream, item: Any) -> None:
        packed = results.pack_result(item)
        stream.made += 1
        identity = ids.object_id(now.row.id, stream.made)
        stream.items[stream.made] = self.engine.objects.new(identity, now.scope)
        self.engine.objects.keep(identity, packed)
        now.row.size += pickling.nbytes(packed)

    def advance(self, now: Running, stream: Stream) -> None:
        """Makes items until the generator ends or has enough of them waiting."""
        token = running.set(now)
        try:
            while not stream.ended and not stream.full():
                try:
                    with surroundings(now.options.runtime_env):
                        item = next(stream.iterator)
                except StopIteration:
                    self.finish_stream(now, stream)
                    return
                self.add_item(now, stream, item)
        except BaseException as raised:
            if not self._raised(now, raised):  # as if it had never begun
                raise AssertionError("a stream that has begun is not retried") from raised
        finally:
            running.reset(token)

    def finish_stream(self, now: Running, stream: Stream) -> None:
        stream.ended = True
        self.engine.objects.keep(ids.object_id(now.row.id, 1), pickling.pack(None))
        self._ended(now, FINISHED)

    def pull(self, task: int, index: int) -> None:
        """The reader wants item ``index``: everything before it is taken."""
        stream, now = self.streams[task], self.open.get(task)
        stream.taken = max(stream.taken, index - 1)
        if now is None or stream.ended:
            return
        if stream.room is not None:
            stream.room.set()
        elif stream.iterator is not None:
            self.advance(now, stream)

    def drop_stream(self, task: int) -> None:
        """The reader is gone: the generator is closed where it stands."""
        stream, now = self.streams.pop(task, None), self.open.get(task)
        if stream is None:
            return
        stream.ended = True
        if now is not None and now.job is None:
            with contextlib.suppress(Exception):
                stream.iterator.close()
            self._ended(now, FINISHED)
        elif now is not None:
            self.cancel(now)

    # -- async actors --------------------------------------------------------------------------
    def _run_on_loop(self, now: Running, packed: Packed, host: Host, loop: DrivenLoop) -> None:
        host.pending += 1
        for index in range(1, max(now.options.num_returns, 1) + 1):
            obj = self.engine.objects.table.get(ids.object_id(now.row.id, index))
            if obj is not None:
                obj.loop = loop
        stream = self.streams.get(now.row.id)
        if stream is not None:
            stream.loop = loop
        context = contextvars.copy_context()
        context.run(running.set, now)
        now.job = loop.start(self._on_loop(now, packed, host, stream), context)
        loop.drive(lambda: now.row.state in TASK_ENDED, None, patient=False)

    async def _on_loop(self, now: Running, packed: Packed, host: Host, stream: Stream | None) -> None:
        """A call of an async actor, from its place in the line to its result."""
        if host.limit is None:
            host.limit = asyncio.Semaphore(host.spec.max_concurrency)
        over = False
        assert host.loop is not None
        try:
            while not over:
                try:
                    async with host.limit:
                        await self._call_on_loop(now, packed, stream)
                    over = True
                except BaseException as raised:
                    over = self._raised(now, raised)
                    now.attempt += not over
        finally:
            host.pending -= 1
            host.loop.interrupt()

    async def _call_on_loop(self, now: Running, packed: Packed, stream: Stream | None) -> None:
        args, kwargs = self.engine.arguments(packed)
        result = self._function(now)(*args, **kwargs)
        if inspect.isasyncgen(result):
            if stream is None:
                raise TypeError(f"{now.options.name} is an async generator; call it with num_returns='streaming'")
            stream.room = asyncio.Event()
            async for item in result:
                self.add_item(now, stream, item)
                self.engine.wake_readers(now.row.id)
                while stream.full():
                    stream.room.clear()
                    await stream.room.wait()
            self.finish_stream(now, stream)
            return
        if inspect.isawaitable(result):
            result = await result
        if now.leaving:
            raise LeaveActor
        now.row.ran = _now()
        self._keep(now, result)

    def cancel(self, now: Running) -> None:
        """Cancels a call that waits in an async actor (nothing else can be unfinished)."""
        now.cancelled = True
        if now.job is not None and now.host is not None and now.host.loop is not None:
            now.job.cancel()
            now.host.loop.drive(lambda: now.row.state in TASK_ENDED, None, patient=False)

    # -- actors --------------------------------------------------------------------------------
    def start_actor(self, row: TaskRow, host: Host) -> None:
        """Runs the constructor. What it raises is what calls will raise."""
        now = Running(row, host.options, host.row.scope, host)
        row.started = row.fetched = _now()
        token = running.set(now)
        book = self.engine.book
        try:
            with surroundings(host.options.runtime_env):
                made: list[Any] = []

                async def on_loop() -> None:
                    made.append(self._construct(host))

                if host.loop is None:
                    made.append(self._construct(host))
                else:
                    job = host.loop.start(on_loop(), contextvars.copy_context())
                    job.add_done_callback(lambda _: host.loop and host.loop.interrupt())
                    host.loop.drive(job.done, None, patient=True)
                    job.result()
            host.instance = made[0]
            host.row.state = ALIVE
            self._ended(now, FINISHED)
        except (KeyboardInterrupt, bdb.BdbQuit):
            self._ended(now, CANCELLED)
            self.end_actor(host, self.engine.died(host, "its constructor was interrupted"), restart=False)
            raise
        except BaseException as raised:
            value, described, _ = errors.task_error(raised, host.options.name, "")
            row.error_type, row.error = described
            self._ended(now, FAILED)
            actor = self.engine.spell(host.spec.actor_id, ids.ACTOR_HEX)
            self.end_actor(host, ("err", "ActorDiedError", (actor, "creation", value)), restart=False)
        finally:
            running.reset(token)
        book.put("actors", host.row)

    def _construct(self, host: Host) -> Any:
        cls = self.engine.function(host.spec.class_key)
        args, kwargs = self.engine.arguments(host.packed)
        return cls(*args, **kwargs)

    def end_actor(self, host: Host, value: Any, restart: bool) -> None:
        """The actor is over; with ``restart`` it begins anew if it has restarts left."""
        if host.dead is not None:
            return
        for now in [one for one in self.open.values() if one.host is host and one.job is not None]:
            self._fail_all(now, FAILED, value, ("ActorDiedError", "the actor died"), (), None)
            assert now.job is not None
            now.job.cancel()
        spec = host.spec
        host.instance = None
        if restart and (spec.max_restarts < 0 or host.restarts < spec.max_restarts):
            host.restarts += 1
            host.row.restarts += 1
            again = TaskRow(self.engine.next_id(), host.options.name, "ACTOR_CREATION_TASK", actor=spec.actor_id,
                            scope=host.row.scope, worker=1, pid=os.getpid(), submitted=_now())  # fmt: skip
            self.engine.book.new_task(again)
            self.start_actor(again, host)
            return
        host.dead = value
        host.row.state = DEAD
        host.row.death_cause = " ".join(part for part in value[2][1:] if isinstance(part, str))
        self.engine.book.put("actors", host.row)
        self.engine.forget_name(host)
        if host.loop is not None and not host.loop.driven_here():
            host.loop.close()
