"""Plays the driver, which submits and drops, and workers, which work, wait, fail and die."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raynb.base import ends
from raynb.base.ends import Done
from raynb.base.ids import IdSource, object_id
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions, TaskSpec, Value
from raynb.core.machine import Machine
from raynb.core.objects.table import is_stored
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.records import Obj, Task


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """A simulated worker process: what it was sent, what it runs, what it holds."""

    number: int
    ids: IdSource
    ready: bool = False
    line: deque[Task] = field(default_factory=deque)  # sent and not begun
    sent: dict[int, tuple[int, ...]] = field(default_factory=dict)  # task → what came with it
    known: set[int] = field(default_factory=set)  # what the running task can name
    running: Task | None = None
    waiting: int = 0  # the number of the request that blocks it
    held: Counter[int] = field(default_factory=Counter)  # object → lends
    yielded: int = 0
    interrupted: bool = False
    stopping: bool = False
    kill_ordered: bool = False
    requests: int = 0
    ends: list[Done] = field(default_factory=list)  # of tasks, not dispatched yet


class SimulatedDriver:
    """The driver's part of a world. `raynb.testing.simulation.Simulation` adds workers, orders and time."""

    machine: Machine
    random: random.Random
    ids: IdSource
    refs: Counter[int]  # the driver's
    actors: list[int]
    streams: dict[int, int]  # task → index of the next item to take
    stored: set[Value]  # bytes that exist
    options: list[TaskOptions]
    shares: list[tuple[tuple[str, int], ...]]
    _places: int
    pending: list[TaskSpec]
    dispatch: Callable[..., None]
    dispatch_pending: Callable[[], None]

    # -- values --------------------------------------------------------------------------------

    def value(self) -> tuple[Value, int]:
        """Makes a value: small, or in shared memory."""
        if self.random.random() < 0.5:
            return b"small", 5
        self._places += 1
        stored = ("shm", 0, self._places, 1000, (1000,))
        self.stored.add(stored)
        return stored, 1000

    def some(self, holder: SimulatedWorker | None, most: int) -> tuple[int, ...]:
        """Picks some of the objects that the driver, or the task that a worker runs, can name.

        A worker also holds what came with tasks that wait behind the running one, and those may
        have been made from its result: nobody can reach them yet, and waiting for them would be
        waiting for oneself. So a task knows its own arguments, and what it made or was given.
        """
        if holder is None:
            known = sorted(identity for identity, count in self.refs.items() if count > 0)
        else:
            known = sorted(holder.known)
        return tuple(self.random.sample(known, min(len(known), self.random.randrange(most + 1))))

    # -- the driver ----------------------------------------------------------------------------

    def submit(self, caller: SimulatedWorker | None = None) -> None:
        """The driver, or a worker inside its task, submits a task."""
        options = self.random.choice([o for o in self.options if not caller or o.num_returns != STREAMING])
        ids, held = (self.ids, self.refs) if caller is None else (caller.ids, caller.held)
        # A handle travels inside arguments, never as an argument that is waited for.
        deps = tuple(i for i in self.some(caller, 2) if i >> 32 not in self.actors)
        contained = self.some(caller, 1)
        returns = 1 if options.num_returns == STREAMING else options.num_returns
        spec = TaskSpec(
            ids.next_task(), options, b"", deps, contained, scope=self.random.randrange(3), returns=returns
        )
        if caller is not None:
            spec.caller = caller.number
            spec.parent = caller.running.spec.task_id if caller.running else 0
        for index in range(1, returns + 1):
            held[object_id(spec.task_id, index)] += 1
            if caller is not None:
                caller.known.add(object_id(spec.task_id, index))
        if options.num_returns == STREAMING:
            self.streams[spec.task_id] = 2
        self.submit_later(spec, at_once=caller is not None)

    def submit_later(self, spec: TaskSpec, at_once: bool = False) -> None:
        """Queues a submission: several may reach the machine as one event, but before any other event."""
        if at_once:
            self.dispatch(e.Submitted, [spec])
            return
        self.pending.append(spec)
        if self.random.random() < 0.7:
            self.dispatch_pending()

    def put(self, caller: SimulatedWorker | None = None) -> None:
        """The driver, or a worker, stores a value that may contain refs."""
        ids, held = (self.ids, self.refs) if caller is None else (caller.ids, caller.held)
        contained = self.some(caller, 2)
        identity = ids.next_put()
        value, size = self.value()
        held[identity] += 1
        if caller is not None:
            caller.known.add(identity)
        self.dispatch(e.ObjectStored, identity, value, size, contained, caller.number if caller else 0)

    def make_actor(self) -> None:
        """Creates an actor with random restarts and resources."""
        task_id = self.ids.next_task()
        restarts = self.random.choice((0, 1, -1))
        gpu = self.random.choice(self.shares) if self.shares else ()
        spec = ActorSpec(
            task_id,
            "A",
            "a",
            max_restarts=restarts,
            max_concurrency=self.random.choice((1, 1, 3)),
            placement=(("CPU", 10_000), *gpu),
            held=(*self.random.choice(((), (("CPU", 5_000),))), *gpu),
        )
        options = TaskOptions(name="A.__init__", max_retries=0, resources=spec.placement)
        creation = TaskSpec(task_id, options, b"", self.some(None, 1), creates_actor=True)
        self.actors.append(task_id)
        self.refs[object_id(task_id, 1)] += 1
        self.dispatch(e.ActorSubmitted, spec, creation)

    def call_actor(self) -> None:
        """Calls a method of an actor whose handle is held."""
        held = [actor for actor in self.actors if self.refs[object_id(actor, 1)]]
        if not held:
            return
        actor = self.random.choice(held)
        options = TaskOptions(name="A.m", max_retries=self.random.choice((0, 2)), resources=())
        task_id = self.ids.next_task()
        deps = tuple(i for i in self.some(None, 1) if i >> 32 not in self.actors)
        self.refs[object_id(task_id, 1)] += 1
        self.submit_later(TaskSpec(task_id, options, b"", deps, actor=actor))

    def drop(self) -> None:
        """Releases one of the held refs."""
        identity = self.random.choice(self.some(None, 3) or (0,))
        if identity:
            self.refs[identity] -= 1
            self.dispatch(e.RefsChanged, [identity])

    def copy(self) -> None:
        """Copies one of the held refs."""
        for identity in self.some(None, 1):
            self.refs[identity] += 1
            self.dispatch(e.RefsChanged, [~identity])

    def cancel(self) -> None:
        """Cancels a random unfinished task."""
        tasks = sorted(self.machine.tasks.table)
        if tasks:
            flags = self.random.random() < 0.2, self.random.random() < 0.5
            self.dispatch(e.CancelAsked, self.random.choice(tasks), *flags)

    def kill_actor(self) -> None:
        """Kills a random actor."""
        if self.actors:
            self.dispatch(e.KillAsked, self.random.choice(self.actors), self.random.random() < 0.5)

    def free(self) -> None:
        """Frees a random object."""
        self.dispatch(e.FreeAsked, self.some(None, 1))

    def lose(self) -> None:
        """The bytes of an object that is in shared memory are gone."""
        lost = [obj for obj in self.machine.objects.table.values() if is_stored(obj.value)]
        if lost:
            self.lose_object(self.random.choice(lost))

    def lose_object(self, obj: Obj) -> None:
        """Reports an object as lost: by the place where it is, or by one where it was before."""
        if self.random.random() < 0.2:
            self.dispatch(e.ObjectLost, obj.id, "the disk is broken", ("file", "/spill/before", 1000, (1000,)))
            return
        where = self.random.choice((None, obj.value))
        if obj.value is not None and obj.value[0] == "shm":  # a damaged file stays until it is removed
            self.stored.discard(obj.value)
        self.dispatch(e.ObjectLost, obj.id, "the disk is broken", where)

    def spill(self) -> None:
        """An object is moved to disk: its bytes in memory are given back."""
        there = [obj for obj in self.machine.objects.table.values() if is_stored(obj.value)]
        if there:
            self._places += 1
            value = ("file", f"/spill/{self._places}", 1000, (1000,))
            self.stored.add(value)
            self.dispatch(e.ObjectMoved, self.random.choice(there).id, value)

    def take_item(self) -> None:
        """The driver takes the next item of a stream, or drops the stream."""
        if not self.streams:
            return
        task = self.random.choice(sorted(self.streams))
        stream = self.machine.streams.table.get(task)
        index = self.streams[task]
        if stream is not None and index < stream.next and self.random.random() < 0.8:
            self.streams[task] += 1
            self.refs[object_id(task, index)] += 1
            self.dispatch(e.ItemConsumed, task, index, 0)
        elif stream is None or self.random.random() < 0.3:
            del self.streams[task]
            self.dispatch(e.StreamDropped, task, index)


class SimulatedWorkers(SimulatedDriver):
    """The workers' part of a world."""

    deaths: float  # share of a worker's steps in which it dies
    clock: float
    workers: dict[int, SimulatedWorker]

    # -- the workers ---------------------------------------------------------------------------

    def step_worker(self, worker: SimulatedWorker, calm: bool = False) -> None:
        """Something happens at a worker; when ``calm`` it only does what it has to."""
        if worker.kill_ordered or (not calm and self.random.random() < self.deaths):
            self.die(worker, "killed by SIGKILL")
        elif not worker.ready:
            worker.ready = True
            self.dispatch(e.WorkerReady, worker.number, 1000 + worker.number)
        elif worker.running is None and worker.line:
            worker.running, worker.yielded, worker.interrupted = worker.line.popleft(), 0, False
            worker.known = set(worker.sent.pop(worker.running.spec.task_id))
        elif worker.running is None:
            if worker.stopping:
                self.die(worker, "it was asked to leave")
            else:
                self.release(worker)
        elif not worker.waiting:
            self._step_task(worker, worker.running, calm)
        elif worker.interrupted or (not calm and self.random.random() < 0.2):  # its timeout has come
            request, worker.waiting = worker.waiting, 0
            self.dispatch(e.RequestDropped, worker.number, request)

    def _step_task(self, worker: SimulatedWorker, task: Task, calm: bool) -> None:
        chance = self.random.random()
        streaming = task.spec.options.num_returns == STREAMING
        if worker.interrupted and chance < 0.8:
            self.finish(worker, task, failed=True, cancelled=True)
        elif not calm and chance < 0.15:
            self.submit(worker)
        elif not calm and chance < 0.25:
            self.put(worker)
        elif not calm and chance < 0.45:
            self.wait(worker, task)
        elif not calm and chance < 0.48:
            self.find_lost(worker, task)
        elif streaming and worker.yielded < 3:
            worker.yielded += 1
            value, size = self.value()
            self.dispatch(e.ItemYielded, worker.number, task.spec.task_id, worker.yielded + 1, value, size, ())
        elif not calm and task.spec.actor and chance < 0.47:
            self.dispatch(e.ExitAsked, worker.number)  # from a thread or asyncio task of the actor
        elif not calm and task.spec.actor and chance < 0.49:
            self.finish(worker, task, failed=True, exits=True)
        elif not calm and chance < 0.55:
            self.finish(worker, task, failed=True, retryable=bool(task.spec.options.retry_exceptions))
        else:
            self.finish(worker, task)

    def find_lost(self, worker: SimulatedWorker, task: Task) -> None:
        """The task reads an object (an argument, say) whose bytes are gone, and waits until it is made again."""
        table = self.machine.objects.table
        known = [i for i in sorted(worker.known) if i in table and is_stored(table[i].value)]
        if known:
            identity = self.random.choice(known)
            self.lose_object(table[identity])
            self.ask(worker, task, [identity], False)

    def wait(self, worker: SimulatedWorker, task: Task) -> None:
        """The task waits in `get` or `wait`."""
        known = [i for i in self.some(worker, 3) if i >> 32 not in self.actors]
        if known:
            self.ask(worker, task, known, self.random.random() < 0.4)

    def ask(self, worker: SimulatedWorker, task: Task, known: list[int], is_wait: bool) -> None:
        """Asks for objects as a blocked task; the tasks behind it go back with the request."""
        worker.requests += 1
        worker.waiting = worker.requests
        back: tuple[int, ...] = ()
        if task.spec.actor == 0 and not task.spec.creates_actor:
            back = tuple(other.spec.task_id for other in worker.line)
            worker.line.clear()
        needed = self.random.randrange(1, len(known) + 1) if is_wait else len(known)
        self.dispatch(
            e.Requested,
            worker.number,
            worker.requests,
            task.spec.task_id,
            tuple(known),
            needed,
            is_wait,
            back,
        )

    def finish(
        self,
        worker: SimulatedWorker,
        task: Task,
        *,
        failed: bool = False,
        retryable: bool = False,
        cancelled: bool = False,
        exits: bool = False,
    ) -> None:
        """Ends a worker's task, with a value or an error."""
        spec = task.spec
        if failed:
            values: tuple[Any, ...] = ((("exc", b"error", "E"), 5, ()),)
        elif spec.creates_actor or spec.options.num_returns == STREAMING:
            values = ((b"none", 4, ()),)
        else:
            values = tuple((*self.value(), self.some(worker, 1)) for _ in range(spec.returns))
        worker.running, worker.known = None, set()
        now = self.clock
        flags = exits * ends.EXITS | failed * ends.FAILED | retryable * ends.RETRYABLE | cancelled * ends.CANCELLED
        error = ("E", "e") if failed else ("", "")
        worker.ends.append(Done(spec.task_id, values, flags, error, now - 0.001, now - 0.001, now))
        if worker.line and self.random.random() < 0.4:
            return  # the next one's end goes with it
        self.dispatch_pending()
        if self.random.random() < 0.7:
            self.release(worker)

    def release(self, worker: SimulatedWorker) -> None:
        """The worker gives back what it holds, but for what its next tasks were sent."""
        keep = {
            identity for task in worker.line for identity in worker.sent[task.spec.task_id]
        } | worker.known
        back = tuple((i, n) for i, n in sorted(worker.held.items()) if n > 0 and i not in keep)
        for identity, _ in back:
            del worker.held[identity]
        if back:
            self.dispatch(e.Released, worker.number, back)

    def die(self, worker: SimulatedWorker, reason: str) -> None:
        """Ends a worker: what it had sent is dispatched first, then its death."""
        self.dispatch_pending()
        del self.workers[worker.number]
        self.dispatch(e.WorkerDied, worker.number, reason)
