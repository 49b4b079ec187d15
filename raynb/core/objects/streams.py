"""Streaming generators: items by index, errors as one last item, backpressure, early drop.

Theory of operation. A stream is open while its task may yield, ended after the task's last item or error, dropped
when its generator object was released. Each item is an object of the task: `next` counts items that came, `taken`
items that the reader took. Their difference bounds how far the producer runs ahead (backpressure); a reader that is
ahead of the producer waits in `waiting`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raynb.base.ids import object_id
from raynb.base.spec import Value
from raynb.core.objects.table import is_stored
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import ItemConsumed, ItemYielded, NextItemAsked
from raynb.core.vocabulary.records import Task
from raynb.core.vocabulary.transitions import O_LOST, O_PENDING

if TYPE_CHECKING:
    from raynb.core.objects.table import Objects
    from raynb.core.scheduling.pool import WorkerPool
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.cancelling import Cancelling
    from raynb.core.tasks.table import Tasks

UNREAD_SECONDS = 0.05  # after a generator was dropped, until its own ref has been taken back for sure
FIRST_ITEM = 2  # return index of the first item; return 1 ends with the task


@dataclass(slots=True, eq=False)
class Stream:
    """One generator's items: how many have come, how many its reader took, and the requests that wait for the next."""

    task: int
    scope: int
    next: int = FIRST_ITEM  # index of the item to come
    began: float = 0.0  # when the first item came
    taken: int = FIRST_ITEM  # index of the next item its reader takes
    ended: bool = False
    dropped: bool = False
    watched: bool = False
    waiting: list[tuple[int, int, int]] = field(default_factory=list)  # worker, request, index


class Streams:
    """The table of streams: stores items as they are yielded, answers readers, lets producers go on.

    Rules: items are indexed from 2 (`FIRST_ITEM`) in the order of the yields; items
    of an attempt that is over are ignored. A dropped stream stores no more items; its task is cancelled if it had
    yielded by then (else it was called for what else it does).
    """

    def __init__(
        self, step: Step, tasks: Tasks, objects: Objects, scheduler: Scheduler, pool: WorkerPool, cancelling: Cancelling
    ) -> None:  # fmt: skip
        self._step = step
        self._tasks = tasks
        self._objects = objects
        self._scheduler = scheduler
        self._pool = pool
        self._cancelling = cancelling
        self.table: dict[int, Stream] = {}

    def open(self, task: Task) -> None:
        """Enters the stream of a submitted generator task."""
        self.table[task.spec.task_id] = Stream(task.spec.task_id, task.spec.scope)

    def yielded(self, event: ItemYielded) -> None:
        """Stores a yielded item, answers who waits for it, and ignores items of an attempt that is over."""
        stream = self.table.get(event.task)
        task = self._tasks.table.get(event.task)
        stale = task is None or task.worker != event.worker
        again = self._objects.table.get(object_id(event.task, event.index))
        if again is not None and again.state == O_LOST and not stale:
            self._objects.set_value(again, event.value, event.size, event.contained)
            return
        if task is None or stream is None or stream.dropped or stale or event.index < stream.next:
            # dropped early, or yielded again by a retry: the first one counts
            if is_stored(event.value):
                self._step.out.append(c.Free(event.value, object_id(event.task, event.index)))
            return
        task.yielded += 1
        task.size += event.size
        self._add(stream, event.index, event.value, event.size, event.contained)

    def _add(self, stream: Stream, index: int, value: Value, size: int, contained: tuple[int, ...]) -> None:
        identity = object_id(stream.task, index)
        obj = self._objects.new(identity, 0, stream.scope)
        obj.refs = 0
        obj.containers = 1  # the stream holds it until its reader takes it
        if index == FIRST_ITEM:
            stream.began = self._step.now
        stream.next = index + 1
        self._objects.set_value(obj, value, size, contained)
        self._wake(stream)

    def _wake(self, stream: Stream) -> None:
        if stream.watched:
            stream.watched = False
            self._step.out.append(c.Ready(object_id(stream.task, 0)))
        if stream.waiting:
            waiting, stream.waiting = stream.waiting, []
            for worker, request, index in waiting:
                if not self._answer(stream, worker, request, index):
                    stream.waiting.append((worker, request, index))
                else:
                    self._pool.unblock(worker, request)

    def ended(self, task: Task, error: Value | None) -> None:
        """Closes the stream of a task that has ended; an error becomes its last item."""
        stream = self.table.get(task.spec.task_id)
        if stream is None or stream.ended:
            self._fail_lost(task)
            return
        if error is not None and not stream.dropped:
            self._add(stream, stream.next, error, 0, ())
        stream.ended = True
        task.total = stream.next - FIRST_ITEM
        self._fail_lost(task)
        self._wake(stream)
        if stream.dropped:
            del self.table[stream.task]

    def _fail_lost(self, task: Task) -> None:
        """Fails the lost items that the repeated attempt did not yield again."""
        objects = self._objects
        for index in range(FIRST_ITEM, FIRST_ITEM + max(task.total, 0)):
            obj = objects.table.get(object_id(task.spec.task_id, index))
            if obj is not None and obj.state in (O_LOST, O_PENDING):
                objects.set_value(obj, objects.lost_value(obj, "its generator ended without it"), 0, ())

    # -- readers -------------------------------------------------------------------------------
    def asked(self, event: NextItemAsked) -> None:
        """Answers a worker's request for an item, now or when the item comes."""
        stream = self.table.get(event.task)
        if stream is None:
            self._step.out.append(c.Reply(event.worker, event.request, (), False))
        elif not self._answer(stream, event.worker, event.request, event.index):
            stream.waiting.append((event.worker, event.request, event.index))
            self._scheduler.make_urgent([object_id(event.task, 1)])
            self._pool.block(event.worker, event.request, event.running)

    def request_dropped(self, worker: int, request: int) -> None:
        """Ends a read that the worker stopped waiting for (timeout, interrupt), and unblocks its task."""
        for stream in self.table.values():
            left = [one for one in stream.waiting if one[:2] != (worker, request)]
            if len(left) < len(stream.waiting):
                stream.waiting = left
                self._pool.unblock(worker, request)
                return

    def _answer(self, stream: Stream, worker: int, request: int, index: int) -> bool:
        if index < stream.next:
            self.take(stream, index, worker)
            self._step.out.append(c.Reply(worker, request, (object_id(stream.task, index),), True,
                                      (object_id(stream.task, index),)))  # fmt: skip
            return True
        if stream.ended:
            self._step.out.append(c.Reply(worker, request, (), True))
            return True
        return False

    def consumed(self, event: ItemConsumed) -> None:
        """Applies that a worker's reader took an item."""
        stream = self.table.get(event.task)
        if stream is not None and event.index < stream.next:
            self.take(stream, event.index, event.caller)

    def take(self, stream: Stream, index: int, caller: int) -> None:
        """Gives item ``index`` to the reader: the reader holds its ref, and the producer may yield more."""
        obj = self._objects.table.get(object_id(stream.task, index))
        if obj is not None:
            if caller:
                self._objects.lend(obj.id, caller)
            else:
                obj.refs += 1
            if index >= stream.taken:
                obj.containers -= 1
        stream.taken = max(stream.taken, index + 1)
        task = self._tasks.table.get(stream.task)
        if task is not None and task.worker and task.spec.options.backpressure > 0:
            self._step.out.append(c.AllowItems(task.worker, stream.task, stream.taken - FIRST_ITEM))

    def drop(self, task_id: int, index: int, dropped: float) -> None:
        """Closes a stream whose generator object was released: frees the items not taken, and releases the task."""
        stream = self.table.get(task_id)
        if stream is None:
            return
        stream.dropped = True
        for i in range(max(stream.taken, index), stream.next):
            obj = self._objects.table.get(object_id(task_id, i))
            if obj is not None:
                obj.containers -= 1
                self._objects.check(obj)
        task = self._tasks.table.get(task_id)
        if stream.ended:
            del self.table[task_id]
        elif task is not None and task.worker and task.spec.options.backpressure > 0:
            self._step.out.append(c.AllowItems(task.worker, task_id, 1 << 40))
        if not stream.ended and stream.next > FIRST_ITEM and stream.began <= dropped:
            self._step.timer(self._step.now + UNREAD_SECONDS, "unread", task_id)

    def unread(self, task_id: int) -> None:
        """Cancels the task of a dropped generator, unless something waits for its end (`completed`)."""
        stream = self.table.get(task_id)
        end = self._objects.table.get(object_id(task_id, 1))
        held = end is not None and (end.refs or end.lends or end.args or end.containers)
        if stream is not None and not stream.ended and not held:
            self._cancelling.cancel(task_id, False, True)

    def worker_gone(self, worker: int) -> None:
        """Drops the requests of a worker that died."""
        for stream in self.table.values():
            if stream.waiting:
                stream.waiting = [w for w in stream.waiting if w[0] != worker]
