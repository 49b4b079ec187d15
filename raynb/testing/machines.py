"""A simulated world for `raynb.core`: workers, a driver and a clock that exist only in memory.

The world plays everybody whom the machine talks to. At each step it picks, by a seed, something
that could happen next: the driver submits, drops or cancels; a worker starts, yields, submits,
waits, fails, dies. `invariants.check` runs after every event. When the driver has let go of
everything, nothing may be left: no task, no object, no byte, no resource taken::

    world = World(seed=7)
    world.run(500)
    world.drain()      # AssertionError names what is left, with its story

A run depends on nothing but its seed, so a failure can be had again.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raynb.base.config import Config
from raynb.base.ids import IdSource, object_id
from raynb.base.rows import DEAD
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions, TaskSpec, Value
from raynb.core import commands as c
from raynb.core import events as e
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.core.objects import is_stored
from raynb.core.records import Task

PATIENCE = 500  # rounds of 0.2 s until `drain` kills actors


@dataclass(slots=True, eq=False)
class Worker:
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
    doomed: bool = False
    requests: int = 0


class World:
    """Plays driver, workers and clock for one `Machine`.

    Args:
        seed: decides everything that happens.
        cpus: how many the machine has.
        deaths: share of a worker's steps in which it dies.
    """

    def __init__(self, seed: int, cpus: int = 2, deaths: float = 0.03) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.deaths = deaths
        self.machine = Machine(Config(validate=True), {"CPU": cpus * 10_000})
        self.clock = 1.0
        self.ids = IdSource(0)
        self.workers: dict[int, Worker] = {}
        self.refs: Counter[int] = Counter()  # the driver's
        self.actors: list[int] = []
        self.streams: dict[int, int] = {}  # task → index of the next item to take
        self.stored: set[Value] = set()  # bytes that exist
        self._places = 0
        self.options = [
            TaskOptions(name=f"f{n}", function=f"f{n}", num_returns=returns, max_retries=retries,
                        resources=(("CPU", cpu),) if cpu else (), retry_exceptions=n % 2 == 0)
            for n, (returns, retries, cpu) in enumerate(
                [(1, 3, 10_000), (2, 0, 10_000), (1, 1, 5_000), (0, 3, 0), (1, -1, 10_000), (STREAMING, 2, 10_000)]
            )
        ]  # fmt: skip
        self._orders: dict[type, Callable[[Any], None]] = {
            c.StartWorker: self._start, c.StopWorker: self._stop, c.KillWorker: self._doom, c.Run: self._run,
            c.Withdraw: self._withdraw, c.Interrupt: self._interrupt, c.Reply: self._reply, c.Free: self._free,
        }  # fmt: skip
        self.done: Counter[str] = Counter()  # what happened, to see that a run is not idle

    # -- the clock and the machine -------------------------------------------------------------

    def tell(self, make: Callable[..., Any], *facts: Any, **named: Any) -> None:
        """Gives the machine an event, carries out its orders, checks that all is well."""
        self.clock += self.random.choice((0.0, 0.0001, 0.003))
        self.done[make.__name__] += 1
        for order in self.machine.handle(make(self.clock, *facts, **named)):
            carry_out = self._orders.get(type(order))
            if carry_out is not None:
                carry_out(order)
        invariants.check(self.machine)

    def sleep(self, seconds: float) -> None:
        """Lets time pass, with the ticks that fall due."""
        end = self.clock + seconds
        while True:
            due = self.machine.next_tick()
            if due is None or due > end:
                break
            self.clock = max(self.clock, due) + 1e-6
            self.tell(e.Ticked)
        self.clock = max(self.clock, end)

    # -- orders --------------------------------------------------------------------------------

    def _start(self, order: c.StartWorker) -> None:
        self.workers[order.worker] = Worker(order.worker, IdSource(order.worker))

    def _stop(self, order: c.StopWorker) -> None:
        if order.worker in self.workers:
            self.workers[order.worker].stopping = True

    def _doom(self, order: c.KillWorker) -> None:
        if order.worker in self.workers:
            self.workers[order.worker].doomed = True

    def _run(self, order: c.Run) -> None:
        worker = self.workers[order.worker]
        worker.held.update(order.lent)
        worker.sent[order.task.spec.task_id] = order.lent
        worker.line.append(order.task)

    def _withdraw(self, order: c.Withdraw) -> None:
        worker = self.workers.get(order.worker)
        if worker is None:
            return
        back = [task for task in worker.line if task.spec.task_id in order.tasks]
        for task in back:
            worker.line.remove(task)
        self._later(e.Withdrawn, worker, tuple(task.spec.task_id for task in back))

    def _interrupt(self, order: c.Interrupt) -> None:
        worker = self.workers.get(order.worker)
        if worker is None:
            return
        if worker.running is not None and worker.running.spec.task_id == order.task:
            worker.interrupted = True
            return
        for task in list(worker.line):
            if task.spec.task_id == order.task:
                worker.line.remove(task)
                self._later(e.Withdrawn, worker, (order.task,))

    def _reply(self, order: c.Reply) -> None:
        worker = self.workers.get(order.worker)
        if worker is None:
            return
        worker.held.update(order.lent)
        worker.known.update(order.lent)
        if worker.waiting == order.request:
            worker.waiting = 0

    def _free(self, order: c.Free) -> None:
        if is_stored(order.value):
            assert order.value in self.stored, f"{order.value} is given back twice (object {order.id})"
            self.stored.remove(order.value)

    def _later(self, make: Callable[..., Any], worker: Worker, *facts: Any) -> None:
        """An answer given inside an order: it reaches the machine when the orders are done."""
        self._answers.append((make, worker, facts))

    @property
    def _answers(self) -> list[tuple[Callable[..., Any], Worker, tuple[Any, ...]]]:
        return self.__dict__.setdefault("_answer_list", [])  # type: ignore[no-any-return]

    def _deliver_answers(self) -> None:
        while self._answers:
            make, worker, facts = self._answers.pop(0)
            if worker.number in self.workers:
                self.tell(make, worker.number, *facts)

    # -- values --------------------------------------------------------------------------------

    def value(self) -> tuple[Value, int]:
        """Makes a value: small, or in shared memory."""
        if self.random.random() < 0.5:
            return b"small", 5
        self._places += 1
        stored = ("shm", 0, self._places, 1000, (1000,))
        self.stored.add(stored)
        return stored, 1000

    def some(self, holder: Worker | None, most: int) -> tuple[int, ...]:
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

    def submit(self, caller: Worker | None = None) -> None:
        """The driver, or a worker inside its task, submits a task."""
        options = self.random.choice(self.options[: 5 if caller else 6])
        ids, held = (self.ids, self.refs) if caller is None else (caller.ids, caller.held)
        # A handle travels inside arguments, never as an argument that is waited for.
        deps = tuple(i for i in self.some(caller, 2) if i >> 24 not in self.actors)
        contained = self.some(caller, 1)
        returns = 1 if options.num_returns == STREAMING else options.num_returns
        spec = TaskSpec(ids.next_task(), options, b"", deps, contained, scope=self.random.randrange(3), returns=returns)
        if caller is not None:
            spec.caller = caller.number
            spec.parent = caller.running.spec.task_id if caller.running else 0
        for index in range(1, returns + 1):
            held[object_id(spec.task_id, index)] += 1
            if caller is not None:
                caller.known.add(object_id(spec.task_id, index))
        if options.num_returns == STREAMING:
            self.streams[spec.task_id] = 2
        self.tell(e.Submitted, spec)

    def put(self, caller: Worker | None = None) -> None:
        """The driver, or a worker, stores a value that may contain refs."""
        ids, held = (self.ids, self.refs) if caller is None else (caller.ids, caller.held)
        contained = self.some(caller, 2)
        identity = ids.next_put()
        value, size = self.value()
        held[identity] += 1
        if caller is not None:
            caller.known.add(identity)
        self.tell(e.ObjectStored, identity, value, size, contained, caller.number if caller else 0)

    def make_actor(self) -> None:
        task_id = self.ids.next_task()
        restarts = self.random.choice((0, 1, -1))
        spec = ActorSpec(task_id, "A", "a", max_restarts=restarts, max_concurrency=self.random.choice((1, 1, 3)),
                         placement=(("CPU", 10_000),), held=self.random.choice(((), (("CPU", 5_000),))))  # fmt: skip
        options = TaskOptions(name="A.__init__", max_retries=0, resources=spec.placement)
        creation = TaskSpec(task_id, options, b"", self.some(None, 1), creates_actor=True)
        self.actors.append(task_id)
        self.refs[object_id(task_id, 1)] += 1
        self.tell(e.ActorSubmitted, spec, creation)

    def call_actor(self) -> None:
        held = [actor for actor in self.actors if self.refs[object_id(actor, 1)]]
        if not held:
            return
        actor = self.random.choice(held)
        options = TaskOptions(name="A.m", max_retries=self.random.choice((0, 2)), resources=())
        task_id = self.ids.next_task()
        deps = tuple(i for i in self.some(None, 1) if i >> 24 not in self.actors)
        self.refs[object_id(task_id, 1)] += 1
        self.tell(e.Submitted, TaskSpec(task_id, options, b"", deps, actor=actor))

    def drop(self) -> None:
        identity = self.random.choice(self.some(None, 3) or (0,))
        if identity:
            self.refs[identity] -= 1
            self.tell(e.RefsChanged, [identity])

    def copy(self) -> None:
        for identity in self.some(None, 1):
            self.refs[identity] += 1
            self.tell(e.RefsChanged, [~identity])

    def cancel(self) -> None:
        tasks = sorted(self.machine.tasks.table)
        if tasks:
            flags = self.random.random() < 0.2, self.random.random() < 0.5
            self.tell(e.CancelAsked, self.random.choice(tasks), *flags)

    def kill_actor(self) -> None:
        if self.actors:
            self.tell(e.KillAsked, self.random.choice(self.actors), self.random.random() < 0.5)

    def free(self) -> None:
        self.tell(e.FreeAsked, self.some(None, 1))

    def lose(self) -> None:
        """The bytes of an object that is in shared memory are gone."""
        lost = [obj for obj in self.machine.objects.table.values() if is_stored(obj.value)]
        if lost:
            obj = self.random.choice(lost)
            self.stored.discard(obj.value)  # type: ignore[arg-type]
            self.tell(e.ObjectLost, obj.id, "the disk is broken")

    def spill(self) -> None:
        """An object is moved to disk: its bytes in memory are given back."""
        there = [obj for obj in self.machine.objects.table.values() if is_stored(obj.value)]
        if there:
            self._places += 1
            value = ("file", f"/spill/{self._places}", 1000, (1000,))
            self.stored.add(value)
            self.tell(e.ObjectMoved, self.random.choice(there).id, value)

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
            self.tell(e.ItemConsumed, task, index, 0)
        elif stream is None or self.random.random() < 0.3:
            del self.streams[task]
            self.tell(e.StreamDropped, task, index)

    # -- the workers ---------------------------------------------------------------------------

    def step_worker(self, worker: Worker, calm: bool = False) -> None:
        """Something happens at a worker; when ``calm`` it only does what it has to."""
        if worker.doomed or (not calm and self.random.random() < self.deaths):
            self.die(worker, "killed by SIGKILL")
        elif not worker.ready:
            worker.ready = True
            self.tell(e.WorkerReady, worker.number, 1000 + worker.number)
        elif worker.running is None and worker.line:
            worker.running, worker.yielded, worker.interrupted = worker.line.popleft(), 0, False
            worker.known = set(worker.sent.pop(worker.running.spec.task_id))
        elif worker.running is None:
            if worker.stopping:
                self.die(worker, "it was asked to leave", 0)
            else:
                self.release(worker)
        elif not worker.waiting:
            self._step_task(worker, worker.running, calm)
        elif worker.interrupted or (not calm and self.random.random() < 0.2):  # its timeout has come
            request, worker.waiting = worker.waiting, 0
            self.tell(e.RequestDropped, worker.number, request)

    def _step_task(self, worker: Worker, task: Task, calm: bool) -> None:
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
        elif streaming and worker.yielded < 3:
            worker.yielded += 1
            value, size = self.value()
            self.tell(e.ItemYielded, worker.number, task.spec.task_id, worker.yielded + 1, value, size, ())
        elif not calm and chance < 0.55:
            self.finish(worker, task, failed=True, retryable=bool(task.spec.options.retry_exceptions))
        else:
            self.finish(worker, task)

    def wait(self, worker: Worker, task: Task) -> None:
        """The task waits in `get` or `wait`. What stands behind it goes back with the request."""
        known = [i for i in self.some(worker, 3) if i >> 24 not in self.actors]
        if not known:
            return
        is_wait = self.random.random() < 0.4
        worker.requests += 1
        worker.waiting = worker.requests
        back: tuple[int, ...] = ()
        if task.spec.actor == 0 and not task.spec.creates_actor:
            back = tuple(other.spec.task_id for other in worker.line)
            worker.line.clear()
        needed = self.random.randrange(1, len(known) + 1) if is_wait else len(known)
        self.tell(e.Requested, worker.number, worker.requests, task.spec.task_id, tuple(known), needed, is_wait, back)

    def finish(self, worker: Worker, task: Task, *, failed: bool = False, retryable: bool = False,
               cancelled: bool = False) -> None:  # fmt: skip
        spec = task.spec
        if failed:
            values: tuple[Any, ...] = ((("exc", b"error", "E"), 5, ()),)
        elif spec.creates_actor or spec.options.num_returns == STREAMING:
            values = ((b"none", 4, ()),)
        else:
            values = tuple((*self.value(), self.some(worker, 1)) for _ in range(spec.returns))
        worker.running, worker.known = None, set()
        now = self.clock
        self.tell(e.TaskFinished, worker.number, spec.task_id, values, failed, retryable, ("E", "e") if failed else
                  ("", ""), cancelled, (now - 0.001, now - 0.001, now))  # fmt: skip
        if self.random.random() < 0.7:
            self.release(worker)

    def release(self, worker: Worker) -> None:
        """The worker gives back what it holds, but for what its next tasks were sent."""
        keep = {identity for task in worker.line for identity in worker.sent[task.spec.task_id]} | worker.known
        back = tuple((i, n) for i, n in sorted(worker.held.items()) if n > 0 and i not in keep)
        for identity, _ in back:
            del worker.held[identity]
        if back:
            self.tell(e.Released, worker.number, back)

    def die(self, worker: Worker, reason: str, code: int | None = None) -> None:
        del self.workers[worker.number]
        self.tell(e.WorkerDied, worker.number, reason, exited=code)

    # -- runs ----------------------------------------------------------------------------------

    def step(self) -> None:
        """Lets one thing happen."""
        if self.workers and self.random.random() < 0.6:
            self.step_worker(self.random.choice(list(self.workers.values())))
        else:
            deeds = [self.submit] * 6 + [self.put] * 2 + [self.call_actor] * 4 + [self.drop] * 7 + [
                self.make_actor, self.copy, self.cancel, self.kill_actor, self.free, self.lose, self.spill,
                self.take_item, self.take_item, lambda: self.sleep(self.random.choice((0.01, 0.5, 3.0))),
            ]  # fmt: skip
            self.random.choice(deeds)()
        self._deliver_answers()

    def run(self, steps: int) -> None:
        """Lets ``steps`` things happen, one after another."""
        for _ in range(steps):
            self.step()

    def drain(self, rounds: int = 5_000) -> None:
        """Lets everything come to its end, lets go of everything, and looks at what is left.

        Raises:
            AssertionError: a task never ended, or something is still counted.
        """
        m = self.machine
        for task, index in self.streams.items():
            self.tell(e.StreamDropped, task, index)
        for identity, count in sorted(self.refs.items()):
            for _ in range(count):
                self.tell(e.RefsChanged, [identity])
        self.refs.clear()
        for number in range(rounds):
            if not m.tasks.table:
                break
            self._calm_round()
            if number == PATIENCE:  # actors may hold every CPU: whoever wrote that has to kill them
                for actor in self.actors:
                    self.tell(e.KillAsked, actor, True)
        assert not m.tasks.table, self._stories("tasks never ended", m.tasks.table)
        for _ in range(50):  # actors without handles end, and workers let go
            self._calm_round()
        assert not m.objects.table, self._stories("objects were never freed", m.objects.table)
        assert all(actor.state == DEAD for actor in m.actors.table.values())
        assert m.resources.available == m.resources.total, (m.resources.available, m.resources.total)
        assert not self.stored, f"bytes that nobody gave back: {sorted(map(str, self.stored))}"

    def _calm_round(self) -> None:
        for worker in list(self.workers.values()):
            if worker.number in self.workers:
                self.step_worker(worker, calm=True)
                self._deliver_answers()
        self.sleep(0.2)

    def _stories(self, what: str, ids: Any) -> str:
        lines = [f"seed {self.seed}: {what}:"]
        for identity in sorted(ids)[:3]:
            lines.append(f"  {identity}:")
            lines += [f"    {now:.4f} {text}" for now, text in self.machine.story(identity)]
        return "\n".join(lines)
