"""`Executor`: the standard library's ``concurrent.futures`` interface on remote tasks."""

from __future__ import annotations

import concurrent.futures
import contextvars
import dataclasses
import functools
import os
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from raynb import api as ray
from raynb.base import ids
from raynb.base.process import shelter
from raynb.base.process.futures import ListenedFuture
from raynb.base.rows import RUNNING
from raynb.exceptions import NodeDiedError, OutOfMemoryError, RayError, RaySystemError, WorkerCrashedError
from raynb.util._private import private

T = TypeVar("T")

#: Errors of a task whose process died under it.
DEATHS = (WorkerCrashedError, OutOfMemoryError, NodeDiedError)
#: Of a submission: they are the future's. What a signal handler raises meanwhile is the caller's.
REFUSALS = (TypeError, ValueError, RayError)


class Future(ListenedFuture[T]):
    """A future of one task. `cancel` also interrupts a running task.

    Attributes:
        ref: the task's object ref; pass it to other tasks to spare the way through here.
    """

    ref: Any = None

    def running(self) -> bool:
        """Returns whether the task runs now: it has started on a worker and has not ended."""
        ref = self.ref
        if ref is None or self.done():
            return False
        engine, task = ref._engine, ids.task_of(ref._id)
        # A driver looks one task up; a task asks the driver for all rows.
        seen = engine.snapshot() if engine.driver is None else engine.driver.rows(tasks=(task,))
        return any(row.id == task and row.state == RUNNING for row in seen.tasks)

    def cancel(self) -> bool:
        """Cancels the task, also while it runs; returns False if it has ended already."""
        if not super().cancel():
            return False
        if self.ref is not None:  # else it waits in the executor, which will pass it over
            ray.cancel(self.ref)
        return True


AnyFuture = Future[Any]
#: Of a task's object.
TaskFuture = concurrent.futures.Future[Any]


class Executor(concurrent.futures.Executor):
    """Runs functions as remote tasks; a drop-in for ``ProcessPoolExecutor``.

    The workers are the runtime's, so an executor costs nothing, and several share them fairly. A task whose worker
    died ends with an error that is both a ``WorkerCrashedError`` and a ``BrokenProcessPool``; the executor itself goes
    on to work, with another worker.
    Thread contract: may be used from any thread.

    Args:
        max_workers: tasks that this executor has unfinished at most; None: any number. Further
            submissions wait in the executor.
        initializer: called in each worker process before the executor's first task there. If it raises, the tasks of
            that worker fail with ``BrokenExecutor``.
        initargs: its arguments.
        **options: options of the tasks (``num_cpus=``, ``max_retries=``, ...).

    Raises:
        ValueError: ``max_workers`` is below 1, or an option doesn't exist.
        TypeError: ``initializer`` can't be called.

    Example:
        >>> with ray.util.Executor() as pool:
        ...     list(pool.map(abs, [-1, -2]))
        [1, 2]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        **options: Any,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError("max_workers must be greater than 0")
        setup = Setup.of(initializer, initargs)
        call: Callable[..., object] = _call if setup is None else _prepared(setup)
        self._call = ray.remote(**options)(call) if options else ray.remote(call)
        # The name of concurrent.futures, which Dask reads of its pools; read at use, so that making one starts nothing.
        self._max_workers = max_workers or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._inside: set[int] = set()  # threads that have the lock, or are about to
        self._most = max_workers
        #: Futures that have a place. One that was interrupted on its way, and that nobody has, gives its place back.
        self._placed: weakref.WeakSet[object] = weakref.WeakSet()
        self._waiting: deque[tuple[AnyFuture, Callable[[], bool]]] = deque()
        self._open: weakref.WeakSet[AnyFuture] = weakref.WeakSet()
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Runs ``fn(*args, **kwargs)`` as a task and returns its `Future`.

        Refs among the arguments arrive as their values.

        Raises:
            RuntimeError: the executor was shut down.
        """
        me = threading.get_ident()
        if me in self._inside:
            return self._submit_beside(functools.partial(self.submit, fn, *args, **kwargs))
        future: Future[T] = Future()
        queued = False
        try:
            self._inside.add(me)
            with self._lock:
                if self._closed:
                    raise RuntimeError("cannot schedule new futures after shutdown")
                self._open.add(future)
                if self._most is not None:
                    if len(self._placed) >= self._most:
                        # Started later by a thread of the runtime, which must see what the caller sees.
                        start = functools.partial(self._start, future, fn, args, kwargs)
                        context = contextvars.copy_context()
                        queued = True  # from here on its place is not this thread's to give back
                        self._waiting.append((future, functools.partial(context.run, start)))
                        return future
                    self._placed.add(future)
            self._inside.discard(me)
            if self._start(future, fn, args, kwargs):
                struck = self._ended(future)
                if struck is not None:
                    raise struck
        except BaseException as error:  # of a signal handler, say: nobody has the future
            try:
                shelter.run(self._give_up, future, error, queued)
            except (RaySystemError, RecursionError):  # there is no thread for it, or too little of the stack
                self._give_up(future, error, queued)
            raise
        finally:
            self._inside.discard(me)  # one that an exception left there costs a later submission a thread
        return future

    def _submit_beside(self, submit: Callable[[], Future[T]]) -> Future[T]:
        """Submits from another thread: a destructor in the middle of a submission is in one that has the lock."""
        future: Future[T] = Future()

        def end(made: concurrent.futures.Future[T]) -> None:
            _end_as(future, made)
            future.call_back()

        def serve() -> None:
            try:
                made = submit()
            except BaseException as error:
                future.settle(error=error)
            else:
                future.ref = made.ref
                made.add_done_callback(end)

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(serve,), name="raynb-executor", daemon=True).start()
        return future

    def _start(
        self, future: AnyFuture, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Submits a future's task. If it cannot be, that is the future's error. Returns whether it has its end."""
        try:
            own = (value if isinstance(value, ray.ObjectRef) else private(value) for value in args)
            named = {k: v if isinstance(v, ray.ObjectRef) else private(v) for k, v in kwargs.items()}
            future.ref = self._call.remote(fn, *own, **named)
        except Exception as error:
            if shelter.was_sent(error) or (shelter.fell_in(error) and not isinstance(error, REFUSALS)):
                raise
            return self._fail(future, error)
        if future.cancelled():  # between the submission and here
            ray.cancel(future.ref)
        return self._watch(future)

    def _watch(self, future: Future[T]) -> bool:
        """Has a future end with its task; returns whether both have ended already. May be called again."""
        here, over = threading.get_ident(), []
        watching = True

        def ended(done: TaskFuture) -> None:
            if watching and threading.get_ident() == here:  # the caller deals with it
                over.append(done)
            else:
                self._finish(future, done)

        future.ref.future().add_done_callback(ended)
        watching = False
        for done in over:
            _end_as(future, done)
        return bool(over)

    def _finish(self, future: AnyFuture, done: TaskFuture) -> None:
        _end_as(future, done)
        struck = self._ended(future)
        if struck is not None:
            raise struck

    def _fail(self, future: Future[T], error: BaseException) -> bool:
        """Ends a future whose start has failed, unless there is a task after all; then that will end it.
        Returns whether it has its end."""
        if future.ref is not None:
            try:
                return self._watch(future)  # it may not be watched yet
            except RayError:  # the runtime is gone
                pass
        future.end(error=error)
        return True

    def _give_up(self, future: Future[T], error: BaseException, queued: bool) -> None:
        """Ends a future whose submission was interrupted. No code of the user's runs here.

        Args:
            future: nobody has it.
            error: what it ends with.
            queued: it is, or was about to be, among those that wait. Its place is then given back by whoever starts it.
        """
        if future.ref is None:
            if queued:
                future.cancel()  # a thread may be starting it
            future.end(error=error)
        if queued:
            return
        with self._lock:
            if future.ref is None:
                self._placed.discard(future)
                if not self._waiting or len(self._placed) >= (self._most or 0):
                    return
        try:  # on a thread of its own: to start the next one is to pickle its arguments
            threading.Thread(target=self._go_on, args=(future, error), daemon=True).start()
        except (RuntimeError, MemoryError):  # no thread can be made
            self._go_on(future, error)

    def _go_on(self, future: Future[T], error: BaseException) -> None:
        """Does what is left after `_give_up`."""
        if self._fail(future, error):
            self._ended(future)

    def _ended(self, future: AnyFuture) -> BaseException | None:
        """Gives the place of a future that has its end to the next that waits; then calls its callbacks, which may wait
        for that. Returns what `_start_waiting` does."""
        ended = [future]
        try:
            return None if self._most is None else self._start_waiting(ended)
        finally:
            _call_back(ended)

    def _start_waiting(self, ended: list[AnyFuture]) -> BaseException | None:
        """Starts those that wait and were not cancelled, while there are places.

        What comes out of the start of one is that one's error: somebody has its future.

        Args:
            ended: futures that have their ends, whose places are free. Those that end at once, with an error, say, are
                added: callbacks are to be called when all have their ends, as they may wait for each other.

        Returns:
            an exception that was meant for the calling thread, the last one.
        """
        struck: BaseException | None = None
        freed, me = 0, threading.get_ident()
        while True:
            future = None
            try:
                self._inside.add(me)
                with self._lock:
                    self._placed.difference_update(ended[freed:])
                    freed = len(ended)
                    if self._most is None or not self._waiting or len(self._placed) >= self._most:
                        return struck
                    future, start = self._waiting[0]  # in one step with taking it out, an exception could lose it
                    going = not future.done()
                    if going:
                        self._placed.add(future)
                    self._waiting.popleft()
                self._inside.discard(me)
                if not going:
                    future.end()
                elif start():
                    ended.append(future)
            except BaseException as error:
                if future is None:
                    raise
                if self._fail(future, error):
                    ended.append(future)
                if isinstance(error, KeyboardInterrupt) or shelter.was_sent(error):
                    struck = error
            finally:
                self._inside.discard(me)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Yields ``fn(*items)`` for the zipped iterables, in order.

        Args:
            fn: the function.
            *iterables: its inputs.
            timeout: seconds until the whole must be there; None: as long as it takes.
            chunksize: how many calls make one task.

        Raises:
            TimeoutError: the time is over.
            ValueError: ``chunksize`` is below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        single = len(iterables) == 1  # no tuple around each value: pickling it takes longer than the value
        calls: list[Any] = list(iterables[0]) if single else list(zip(*iterables, strict=False))
        chunks = [calls[at : at + chunksize] for at in range(0, len(calls), chunksize)]
        call: Callable[..., list[T]] = _call_chunk if single else _call_chunk_of_tuples
        done = super().map(call, [fn] * len(chunks), chunks, timeout=timeout)
        return (value for chunk in done for value in chunk)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more work.

        Args:
            wait: return when every future has ended.
            cancel_futures: cancel those that have not ended, running ones too.
        """
        with self._lock:
            self._closed = True
            left = [future for future in self._open if not future.done()]
        if cancel_futures:
            for future in left:
                future.cancel()
        if wait:
            concurrent.futures.wait(left)


def _end_as(future: AnyFuture, done: TaskFuture) -> None:
    """Gives a future the end of its task."""
    error = done.exception()
    if error is None:
        future.end(done.result())
    else:
        future.end(error=as_broken_pool(error))


def _call_back(ended: list[AnyFuture]) -> None:
    """Calls the callbacks of futures, all of which have their ends. What leaves those of one is raised at the end."""
    left: BaseException | None = None
    for future in ended:
        try:
            future.call_back()
        except BaseException as error:
            left = error
    if left is not None:
        raise left


def as_broken_pool(error: BaseException) -> BaseException:
    """Returns the error of a worker that died as one that is a ``BrokenProcessPool``, too; others as they are."""
    if not isinstance(error, DEATHS):
        return error
    from raynb.exceptions.broken_pool import broken_pool  # with it comes multiprocessing

    return broken_pool(error)


def _call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return private(fn(*args, **kwargs))


def _prepared(setup: Setup) -> Callable[..., object]:
    """Returns a `_call` that first runs an executor's initializer, once in each worker process."""

    def call(fn: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        setup.run()
        return _call(fn, *args, **kwargs)

    return call


#: In a worker: the key of each initializer that ran here → what it raised, or None.
_set_up: dict[str, BaseException | None] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """An initializer that runs once in each worker process."""

    key: str
    initializer: Callable[..., object]
    initargs: tuple[object, ...]

    @classmethod
    def of(cls, initializer: Callable[..., object] | None, initargs: tuple[object, ...]) -> Setup | None:
        """Returns the setup of an initializer, if there is one.

        Raises:
            TypeError: it can't be called.
        """
        if initializer is None:
            return None
        if not callable(initializer):
            raise TypeError("initializer must be a callable")
        return cls(uuid.uuid4().hex, initializer, tuple(initargs))

    def run(self) -> None:
        """Calls the initializer if it has not been called in this process.

        Raises:
            BrokenExecutor: it raised, now or before.
        """
        if self.key not in _set_up:
            try:
                self.initializer(*self.initargs)
            except Exception as error:
                _set_up[self.key] = error
            else:
                _set_up[self.key] = None
        failed = _set_up[self.key]
        if failed is not None:
            raise concurrent.futures.BrokenExecutor(
                f"the initializer raised {type(failed).__name__}: {failed}"
            ) from failed


def _call_chunk(fn: Callable[..., T], chunk: list[object]) -> list[T]:
    return [fn(value) for value in chunk]


def _call_chunk_of_tuples(fn: Callable[..., T], chunk: list[tuple[object, ...]]) -> list[T]:
    return [fn(*values) for values in chunk]
