"""Runs the tasks, streams and actors of `InlineEngine`: at once, in the thread that submits them."""

from __future__ import annotations

import asyncio
import bdb
import contextlib
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.process.waits import time
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef
from raynb.base.rows import FAILED, FINISHED, RUNNING, TASK_ENDED, TaskRow
from raynb.base.spec import DYNAMIC, STREAMING, TaskOptions
from raynb.core.tasks import retries
from raynb.engine.inline.ending import Endings
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.lives import ActorLives
from raynb.engine.inline.objects import InlineObjects
from raynb.engine.inline.records import (
    InlineActor,
    InlineStream,
    InlineTask,
    LeaveActor,
    leave_actor,
    running,
    users_part,
)
from raynb.engine.inline.runtime import InlineRuntime
from raynb.exceptions import AsyncioActorExit
from raynb.run import environment, failures, methods, returns
from raynb.serde import errors, pickling, results

_now = time.monotonic


class InlineTasks:
    """Runs what is submitted.

    Thread contract: any thread; each runs its own submissions.
    """

    def __init__(self, runtime: InlineRuntime, objects: InlineObjects, endings: Endings, lives: ActorLives) -> None:
        self._runtime = runtime
        self._objects = objects
        self._endings = endings
        self.lives = lives
        self.open = endings.open
        self.streams = endings.streams

    # -- one task ------------------------------------------------------------------------------
    def run(self, row: TaskRow, options: TaskOptions, packed: Packed, host: InlineActor | None, scope: int) -> None:
        """Runs a task, again if its retries allow. Its objects are there (or pending) afterwards."""
        now = InlineTask(row, options, scope, host)
        if options.num_returns == STREAMING:
            self.streams[row.id] = InlineStream(options.backpressure)
        if host is not None and host.dead is not None:
            self._endings.fail_all(now, FAILED, host.dead, ("ActorDiedError", "the actor is dead"), (), host.traceback)
            return
        self.open[row.id] = now
        row.started = row.fetched = _now()
        self._runtime.row_store.move_task(row, RUNNING)
        if host is not None and host.loop is not None:
            self._run_on_loop(now, packed, host, host.loop)
            return
        with host.turn if host is not None else contextlib.nullcontext():
            while not self._attempt(now, packed):
                now.next_attempt()

    def _function(self, now: InlineTask) -> Callable[..., Any]:
        host = now.host
        if host is None:
            function: Callable[..., Any] = self._runtime.function(now.options.function)
            return function
        return methods.bound(host.instance, now.options.function, leave_actor)

    def _attempt(self, now: InlineTask, packed: Packed) -> bool:
        """Runs a task once; returns False if it has to run again."""
        token = running.set(now)
        try:
            with environment.temporary(now.options.runtime_env):
                args, kwargs = self._runtime.arguments(packed)
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

    def _keep(self, now: InlineTask, result: object) -> None:
        """Stores what a task returned."""
        objects, count, task = self._objects, now.options.num_returns, now.row.id
        if count == STREAMING:
            stream = self.streams.get(task)
            if stream is not None:
                stream.iterator = returns.items_of(result, now.options.name, "streaming")
                self.advance(now, stream)
            return
        if count == DYNAMIC:
            items = returns.items_of(result, now.options.name, "dynamic")
            refs = returns.dynamic(items, now.options, self._put, lambda raised: self._put_error(now, raised))
            result, count = DynamicObjectRefGenerator(refs), 1
        packed: list[Packed | Exception] = returns.each(
            result, now.options, results.pack_result, lambda raised: raised, count
        )
        for index, one in enumerate(packed, 1):
            identity = ids.object_id(task, index)
            if isinstance(one, Exception):
                value, _, contained = errors.task_error(one, now.options.name, "")
                objects.fail(identity, value, contained, users_part(one.__traceback__))
            else:
                objects.keep(identity, one)
                now.row.size += pickling.nbytes(one)
        self._endings.ended(now, FINISHED)

    def _put(self, item: object) -> ObjectRef[object]:
        return self._runtime.put(results.pack_result(item))

    def _put_error(self, now: InlineTask, raised: Exception) -> ObjectRef[object]:
        value, _, contained = errors.task_error(raised, now.options.name, "")
        ref = self._objects.new(ids.object_id(self._runtime.next_id(), 1), now.scope)
        self._objects.fail(ref._id, value, contained, users_part(raised.__traceback__))
        return ref

    # -- failures ------------------------------------------------------------------------------
    def _raised(self, now: InlineTask, raised: BaseException) -> bool:
        """Takes what a task raised; returns False if the task is to run again.

        Raises:
            KeyboardInterrupt, BdbQuit: the user stops the cell.
        """
        if now.row.state in TASK_ENDED:  # its actor died under it
            return True
        now.row.ran = _now()
        traceback = users_part(raised.__traceback__)
        if now.again and now.host is not None and isinstance(raised, asyncio.CancelledError):
            return self._is_lost_with(now.host, now, "the actor died")
        if isinstance(raised, (LeaveActor, AsyncioActorExit, SystemExit)):
            return self._left(now, raised)
        stop = isinstance(raised, (KeyboardInterrupt, bdb.BdbQuit)) and not now.cancelled
        if stop or (now.cancelled and isinstance(raised, (KeyboardInterrupt, asyncio.CancelledError))):
            self._endings.end_cancelled(now)
            if stop:
                raise raised
            return True
        then = self._after_error(now, raised)
        if then == retries.AGAIN:
            return False
        if then == retries.CANCEL:
            self._endings.end_cancelled(now)
            return True
        value, described, contained = errors.task_error(raised, now.options.name, "")
        self._endings.fail_all(now, FAILED, value, described, contained, traceback)
        return True

    def _after_error(self, now: InlineTask, raised: BaseException) -> str:
        """Returns what follows on an error, as the core decides it; a stream that has begun does not begin again."""
        retryable = not self._endings.has_yielded(now) and returns.retryable(now.options.retry_exceptions, raised)
        return retries.after_error(now.retries, retryable, now.cancelled)

    def _left(self, now: InlineTask, raised: BaseException) -> bool:
        """Ends the actor whose task asked its process to end, as the process would end on workers.

        Returns:
            False if the task is to run again: its actor was restarted.
        """
        host = now.host
        if host is None:
            left, described = failures.left(now.options.name, raised)
            self._endings.fail_all(now, FAILED, left, described, (), None)
            return True
        said = failures.why_left(raised)
        over = True
        try:
            self.lives.end(host, self.lives.died(host, said), failures.is_crash(raised), asking=now)
        finally:  # also where the user stops the constructor of the restart
            over = self._is_lost_with(host, now, said)
        return over

    def _is_lost_with(self, host: InlineActor, now: InlineTask, why: str) -> bool:
        """Returns whether a call has ended with its actor's instance; False: it is to run again on the new one."""
        if host.dead is None:
            return not self.lives.runs_again(now, host)
        self._endings.fail_all(now, FAILED, host.dead, ("ActorDiedError", why), (), None)
        return True

    # -- streams -------------------------------------------------------------------------------
    def add_item(self, now: InlineTask, stream: InlineStream, item: object) -> None:
        """Stores the item that a generator yielded."""
        packed = results.pack_result(item)
        stream.made += 1
        identity = ids.object_id(now.row.id, stream.made)
        stream.items[stream.made] = self._objects.new(identity, now.scope)
        self._objects.keep(identity, packed)
        now.row.size += pickling.nbytes(packed)

    def advance(self, now: InlineTask, stream: InlineStream) -> None:
        """Makes items until the generator ends or has enough of them waiting; what it raises comes out."""
        token = running.set(now)
        try:
            while not stream.ended and not stream.full():
                try:
                    with environment.temporary(now.options.runtime_env):
                        item = next(stream.iterator)
                except StopIteration:
                    self.finish_stream(now, stream)
                    return
                self.add_item(now, stream, item)
        finally:
            running.reset(token)

    def finish_stream(self, now: InlineTask, stream: InlineStream) -> None:
        """Ends a generator's task and its stream."""
        stream.ended = True
        self._objects.keep(ids.object_id(now.row.id, 1), pickling.pack(None))
        self._endings.ended(now, FINISHED)

    def pull(self, task: int, index: int) -> None:
        """Applies that the reader wants item ``index``: it has taken everything before."""
        stream, now = self.streams[task], self.open.get(task)
        stream.taken = max(stream.taken, index - 1)
        if now is None or stream.ended:
            return
        if stream.space is not None:
            stream.space.set()
        elif stream.iterator is not None:
            try:
                self.advance(now, stream)
            except BaseException as raised:
                over = self._raised(now, raised)
                assert over, "a stream that has yielded is not made again"

    def drop_stream(self, task: int) -> None:
        """Closes the generator of a reader that was released."""
        stream, now = self.streams.pop(task, None), self.open.get(task)
        if stream is None:
            return
        stream.ended = True
        if now is not None and now.job is None:
            with contextlib.suppress(Exception):
                stream.iterator.close()
            self._endings.ended(now, FINISHED)
        elif now is not None:
            self.cancel(now)

    # -- async actors --------------------------------------------------------------------------
    def _run_on_loop(self, now: InlineTask, packed: Packed, host: InlineActor, loop: DrivenLoop) -> None:
        host.pending += 1
        for index in range(1, max(now.options.num_returns, 1) + 1):
            obj = self._objects.table.get(ids.object_id(now.row.id, index))
            if obj is not None:
                obj.loop = loop
        stream = self.streams.get(now.row.id)
        if stream is not None:
            stream.loop = loop
        context = contextvars.copy_context()
        context.run(running.set, now)
        now.job = loop.start(self._on_loop(now, packed, host, stream), context)
        loop.drive(lambda: now.row.state in TASK_ENDED, None, patient=False)

    async def _on_loop(self, now: InlineTask, packed: Packed, host: InlineActor, stream: InlineStream | None) -> None:
        """Runs a call of an async actor: waits for its turn, calls, stores the result."""
        if host.limit is None:
            host.limit = asyncio.Semaphore(host.spec.max_concurrency)
        over = False
        now.begun = True
        assert host.loop is not None
        try:
            while not over:
                try:
                    async with host.limit:
                        # It restarts, and the constructor's turn comes; the loop runs only while it is driven.
                        while host.instance is None and host.dead is None:  # noqa: ASYNC110
                            await asyncio.sleep(0)
                        await self._call_on_loop(now, packed, stream)
                    over = True
                except BaseException as raised:
                    over = self._raised(now, raised)
                    if not over:
                        now.next_attempt()
        finally:
            host.pending -= 1
            host.loop.interrupt()

    async def _call_on_loop(self, now: InlineTask, packed: Packed, stream: InlineStream | None) -> None:
        args, kwargs = self._runtime.arguments(packed)
        result = self._function(now)(*args, **kwargs)
        if inspect.isasyncgen(result):
            if stream is None:
                raise TypeError(f"{now.options.name} is an async generator; call it with num_returns='streaming'")
            stream.space = asyncio.Event()
            async for item in result:
                self.add_item(now, stream, item)
                wake_readers(stream)
                while stream.full():
                    stream.space.clear()
                    await stream.space.wait()
            self.finish_stream(now, stream)
            return
        if inspect.isawaitable(result):
            result = await result
        if now.leaving:
            raise LeaveActor
        now.row.ran = _now()
        self._keep(now, result)

    def cancel(self, now: InlineTask) -> None:
        """Cancels a call that waits in an async actor (nothing else can be unfinished)."""
        now.cancelled = True
        if now.job is not None and now.host is not None and now.host.loop is not None:
            now.job.cancel()
            now.host.loop.drive(lambda: now.row.state in TASK_ENDED, None, patient=False)


def wake_readers(stream: InlineStream) -> None:
    """Wakes the readers that wait for an item."""
    if stream.loop is not None:
        stream.loop.interrupt()
