"""Ends the tasks of `InlineEngine`, and keeps those that have not ended."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from raynb.base import ids
from raynb.base.process.waits import time
from raynb.base.rows import CANCELLED, FAILED, TASK_ENDED
from raynb.engine.inline.objects import InlineObjects
from raynb.engine.inline.records import InlineStream, InlineTask
from raynb.engine.inline.runtime import InlineRuntime
from raynb.run import failures

_now = time.monotonic


class Endings:
    """The tasks that run and the streams that can be read; ends a task with its state, an error or a cancel.

    Thread contract: any thread.
    """

    def __init__(self, runtime: InlineRuntime, objects: InlineObjects) -> None:
        self._runtime = runtime
        self._objects = objects
        self.streams: dict[int, InlineStream] = {}
        self.open: dict[int, InlineTask] = {}  # tasks that run; calls of async actors stay while they wait

    def has_yielded(self, now: InlineTask) -> bool:
        """Returns whether items of the task's stream are there."""
        stream = self.streams.get(now.row.id)
        return stream is not None and stream.made > 1

    def ended(self, now: InlineTask, state: str) -> None:
        """Enters a task's end; the first state it ended in counts."""
        if now.row.state in TASK_ENDED:
            return
        self.open.pop(now.row.id, None)
        now.row.ended = _now()
        now.row.ran = now.row.ran or now.row.ended
        self._runtime.row_store.move_task(now.row, state)

    def end_cancelled(self, now: InlineTask) -> None:
        """Ends the task as cancelled."""
        value, described = failures.cancelled(self._runtime.spell(now.row.id, ids.TASK_HEX))
        self.fail_all(now, CANCELLED, value, described, (), None)

    def fail_all(self, now: InlineTask, state: str, value: Any, described: tuple[str, str], contained: Any,
                  traceback: TracebackType | None) -> None:  # fmt: skip
        """Ends a task with an error, which becomes the value of all its objects."""
        now.row.error_type, now.row.error = described
        count = now.options.num_returns
        stream = self.streams.get(now.row.id)
        if stream is not None:
            if not stream.ended:
                stream.made += 1
                identity = ids.object_id(now.row.id, stream.made)
                stream.items[stream.made] = self._objects.new(identity, now.scope)
                self._objects.fail(identity, value, contained, traceback)
            stream.ended = True
        returns = [ids.object_id(now.row.id, index) for index in range(1, (count if count > 0 else 1) + 1)]
        for identity in returns:
            self._objects.fail(identity, value, contained, traceback)
        if state == FAILED and described[0] != "ActorDiedError":
            self._runtime.unasked.task_failed(now.row, sum(one in self._objects.table for one in returns))
        self.ended(now, state)
