"""Stores and sends what a task returns or yields."""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

from raynb.base.process.waits import Bell
from raynb.base.ref import DynamicObjectRefGenerator, ObjectRef
from raynb.base.spec import DYNAMIC, STREAMING
from raynb.run import returns
from raynb.serde import errors, pickling, values
from raynb.serde.results import pack_result
from raynb.wire import messages as w
from raynb.worker import user_code
from raynb.worker.state import RunningTask

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

#: (value, bytes, contained ids) of each return object.
Stored = tuple[Any, int, tuple[int, ...]]

NONE_RESULT: tuple[Stored, ...] = ((values.NONE, len(values.NONE), ()),)
FRAME_SECONDS = 0.001  # items of a stream yielded within this time travel together


class Returns:
    """Thread contract: `allow` in the control thread; the rest in the thread that runs the task."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.streams: dict[int, RunningTask] = {}  # those whose reader holds them back

    def of(self, running: RunningTask, result: Any) -> tuple[Stored, ...]:
        """Stores what the task returned; returns one entry for each return object."""
        count = running.options.num_returns
        if count == 1 and type(result) is not GeneratorType:
            return (self.store(result),)
        if count in (STREAMING, DYNAMIC):
            return self._generator(running, result, count == DYNAMIC)
        return tuple(returns.each(result, running.options, self.store, lambda raised: self._error(running, raised)))

    def store(self, value: Any) -> Stored:
        """Returns (value, bytes, contained ids): inside the message if small, else in the store."""
        return self.worker.engine.place(pack_result(value))

    # -- generators ----------------------------------------------------------------------------
    def allow(self, task: int, consumed: int) -> None:
        """Applies that the reader of a stream took so many items."""
        running = self.streams.get(task)
        if running is not None:
            running.consumed = consumed
            if running.event is not None:
                running.event.set()

    @user_code.calls_user_code
    def _generator(self, running: RunningTask, result: Any, dynamic: bool) -> tuple[Stored, ...]:
        if running.options.backpressure > 0:
            running.event = Bell()
            self.streams[running.task] = running
        iterator = returns.items_of(result, running.name, "dynamic" if dynamic else "streaming")
        if dynamic:
            running.holds = refs = self._dynamic(running, iterator)
            return (self.store(DynamicObjectRefGenerator(refs)),)
        try:
            self._stream(running, iterator)
        finally:
            self.streams.pop(running.task, None)
        return NONE_RESULT

    @user_code.calls_user_code
    def _stream(self, running: RunningTask, items: Any) -> None:
        """Sends the items of a generator as they come."""
        worker = self.worker
        link = worker.link
        limit = running.options.backpressure
        # Items of a last attempt go one by one: no other attempt would yield again what a crash takes.
        last = 0 <= running.options.max_retries <= running.attempt
        for sent, item in enumerate(items, 1):
            value, size, contained = self.store(item)
            worker.capture.end_of_task(running)
            link.post(w.Yield(running.task, sent + 1, value, size, contained))
            if last:
                link.flush()
            else:
                link.maybe_flush(FRAME_SECONDS)
            if running.interrupted and running.actor:  # no signal reaches an actor's call
                raise KeyboardInterrupt
            while limit > 0 and sent - running.consumed >= limit:
                link.flush()
                running.event.clear()
                if sent - running.consumed >= limit:
                    running.event.wait(0.5)
                worker.signals.checkpoint()

    @user_code.calls_user_code
    def _dynamic(self, running: RunningTask, items: Any) -> list[ObjectRef[Any]]:
        """Stores all items of a dynamic generator as objects of their own."""
        engine = self.worker.engine
        return returns.dynamic(
            items,
            running.options,
            lambda item: engine.put(pickling.pack(item)),
            lambda raised: engine.put_stored(*self._error(running, raised)),
        )

    def _error(self, running: RunningTask, raised: Exception) -> Stored:
        """Returns the error of one return of a task that did not fail as a whole; its frames are kept for `%debug`."""
        failure = self.worker.inspection.keep_part(running.task, running.scope, self.worker.nonce, raised)
        value, _, contained = errors.task_error(raised, running.name, failure)
        return value, 0, tuple(ref._id for ref in contained)
