"""The `get` and `wait` calls of tasks, and the CPUs that waiting tasks release meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raynb.core.step import Step
from raynb.core.tasks.deadlocks import Deadlocks
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import Requested
from raynb.core.vocabulary.records import Actor, Request, Worker
from raynb.core.vocabulary.transitions import O_PENDING, O_READY

if TYPE_CHECKING:
    from raynb.core.objects.table import Objects
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.table import Tasks


class Requests:
    """The table of `get` and `wait` calls of workers that are not answered yet.

    Rules: while a request blocks its task, the task's CPU is released, and what it waits for is urgent. A request is
    answered once, and dropped with its worker.
    """

    def __init__(
        self, step: Step, workers: Mapping[int, Worker], actors: Mapping[int, Actor], tasks: Tasks, objects: Objects,
        scheduler: Scheduler,
    ) -> None:  # fmt: skip
        self._step = step
        self._workers = workers
        self._tasks = tasks
        self._objects = objects
        self._scheduler = scheduler
        self.table: dict[int, Request] = {}
        self.by_worker: dict[int, dict[int, int]] = {}
        self._deadlocks = Deadlocks(workers, actors, tasks, objects, self.table, self.by_worker)
        self._next = 0

    def connect(
        self, *, block: Callable[[int, int, int], None], unblock: Callable[[int, int], None],
        handed_back: Callable[[int, tuple[int, ...]], None], refill: Callable[[int], None],
        stream_request_dropped: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        """Sets what is called in policies that are made after this one.

        Args:
            block, unblock: a worker's task waits with a request, and goes on.
            handed_back: a worker gives back tasks that it has not begun.
            refill: a worker may get more.
            stream_request_dropped: a worker stopped waiting for an item.
        """
        self._block = block
        self._unblock = unblock
        self._handed_back = handed_back
        self._refill = refill
        self._stream_request_dropped = stream_request_dropped

    def asked(self, event: Requested) -> None:
        """Enters a worker's request, answers it if it is satisfied, else blocks the worker's task."""
        if event.worker not in self._workers:
            return
        pending = []
        seen = set()
        failed = False
        for object_id in event.ids:
            obj = self._objects.table.get(object_id)
            if obj is None:
                continue
            if obj.state == O_READY:
                failed = failed or obj.error
            elif object_id not in seen:
                seen.add(object_id)
                pending.append(obj)
        needed = len(pending) if not event.is_wait else event.needed - (len(event.ids) - len(pending))
        failed = failed and not event.is_wait
        if needed <= 0 or failed:
            self._reply(event.worker, event.request, self._first_error(event.ids) if failed else event.ids,
                        event.is_wait)  # fmt: skip
            if event.handed_back:
                self._handed_back(event.worker, event.handed_back)
                self._refill(event.worker)
            return
        if not event.is_wait:
            names = self._deadlocks.ring(event.worker, event.task, [obj.id for obj in pending])
            if names is not None:
                self._refuse(event, names)
                return
        self._next = number = self._next + 1
        request = Request(number, event.worker, event.request, event.task, event.ids, needed,
                          event.is_wait)  # fmt: skip
        self.table[number] = request
        self.by_worker.setdefault(event.worker, {})[event.request] = number
        urgent = []
        for obj in pending:
            if obj.requests is None:
                obj.requests = [number]
            else:
                obj.requests.append(number)
            if obj.state == O_PENDING:
                urgent.append(obj.id)
        task = self._tasks.table.get(event.task)
        function = task.spec.options.function if task is not None and not task.spec.actor else ""
        if event.handed_back:
            if self._workers[event.worker].follower in event.handed_back:
                self._scheduler.restless.add(function)
            self._handed_back(event.worker, event.handed_back)
        if function:
            self._scheduler.blocks(function)
        self._scheduler.make_urgent(urgent)
        self._block(event.worker, event.request, event.task)

    def _refuse(self, event: Requested, names: list[str]) -> None:
        """Answers a `get` that would never end with an error that names the ring of waits."""
        if event.handed_back:
            self._handed_back(event.worker, event.handed_back)
        who = f"{names[0]} waits for itself" if len(names) == 2 else "a cycle: " + " waits for ".join(names)
        text = (f"Deadlock: {who}. An actor runs one call at a time; make one of them async or give it "
                "max_concurrency.")  # fmt: skip
        error = ("err", "ActorDeadlockError", (text,))
        self._step.out.append(c.Reply(event.worker, event.request, event.ids, False, (), error))

    def _first_error(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the first error among the ready ids, in the list's order: as in Ray, it is what a `get` raises."""
        table = self._objects.table
        return next((i,) for i in ids if i in table and table[i].error and table[i].state == O_READY)

    def object_ready(self, numbers: list[int], error: bool) -> None:
        """Counts a ready object in the requests that wait for it, and answers those that are satisfied."""
        for number in numbers:
            request = self.table.get(number)
            if request is None:
                continue
            request.needed -= 1
            failed = error and not request.is_wait
            if request.needed <= 0 or failed:
                self._end(request)
                ids = self._first_error(request.ids) if failed else request.ids
                self._reply(request.worker, request.request, ids, request.is_wait)
                self._unblock(request.worker, request.request)

    def _reply(self, worker: int, request: int, ids: tuple[int, ...], is_wait: bool) -> None:
        table = self._objects.table
        lent: list[int] = []
        if is_wait:
            ready = tuple(i for i in ids if i not in table or table[i].state == O_READY)
        else:
            ready = ids
            for object_id in ids:
                obj = table.get(object_id)
                if obj is None:
                    continue
                obj.used = self._step.now
                if obj.error:
                    self._tasks.unasked.asked(obj)
                if type(obj.value) is tuple:  # the worker will hold views of it
                    lent.append(object_id)
                lent.extend(obj.contained)
            for object_id in lent:
                self._objects.lend(object_id, worker)
        self._step.out.append(c.Reply(worker, request, ready, is_wait, tuple(lent)))

    def _end(self, request: Request) -> None:
        del self.table[request.id]
        self.by_worker.get(request.worker, {}).pop(request.request, None)

    def dropped(self, worker: int, number: int) -> None:
        """Ends a request that the worker stopped waiting for, and unblocks its task."""
        identity = self.by_worker.get(worker, {}).get(number)
        if identity is not None:
            request = self.table[identity]
            self._end(request)
            self._unblock(worker, number)
        else:
            self._stream_request_dropped(worker, number)

    def worker_gone(self, worker: int) -> None:
        """Drops the requests of a worker that died."""
        for identity in self.by_worker.pop(worker, {}).values():
            del self.table[identity]
