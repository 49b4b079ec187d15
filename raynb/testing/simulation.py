"""A simulated world for `raynb.core`: workers, a driver and a clock that exist only in memory.

The world plays everybody whom the machine talks to. At each step it picks, by a seed, something
that could happen next: the driver submits, drops or cancels; a worker starts, yields, submits,
waits, fails, dies. `invariants.check` runs after every event. When the driver has let go of
everything, nothing may be left: no task, no object, no byte, no resource taken::

    world = Simulation(seed=7)
    world.run(500)
    world.drain()      # AssertionError names what is left, with its story

A run depends on nothing but its seed, so a failure can be had again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from raynb.base.config import Config
from raynb.base.ids import IdSource
from raynb.base.rows import DEAD
from raynb.base.spec import STREAMING, TaskOptions, TaskSpec, Value
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.core.objects.table import is_stored
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.testing.simulated_processes import SimulatedWorker, SimulatedWorkers

DRAIN_ROUNDS = 500  # rounds of 0.2 s until `drain` kills actors


class Simulation(SimulatedWorkers):
    """Plays driver, workers and clock for one `Machine`.

    Args:
        seed: decides everything that happens.
        cpus: how many the machine has.
        deaths: share of a worker's steps in which it dies.
        gpus: how many it has; tasks and actors then take whole ones and shares.
    """

    def __init__(self, seed: int, cpus: int = 2, deaths: float = 0.03, gpus: int = 0) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.deaths = deaths
        self.machine = Machine(Config(validate=True), {"CPU": cpus * 10_000, "GPU": gpus * 10_000})
        self.clock = 1.0
        self.ids = IdSource(0)
        self.workers: dict[int, SimulatedWorker] = {}
        self.refs: Counter[int] = Counter()  # the driver's
        self.actors: list[int] = []
        self.streams: dict[int, int] = {}  # task → index of the next item to take
        self.stored: set[Value] = set()  # bytes that exist
        self.pending: list[TaskSpec] = []  # submitted by the driver, not dispatched yet
        self._places = 0
        self.options = [
            TaskOptions(
                name=f"f{n}",
                function=f"f{n}",
                num_returns=returns,
                max_retries=retries,
                resources=(("CPU", cpu),) if cpu else (),
                retry_exceptions=n % 2 == 0,
            )
            for n, (returns, retries, cpu) in enumerate(
                [
                    (1, 3, 10_000),
                    (2, 0, 10_000),
                    (1, 1, 5_000),
                    (0, 3, 0),
                    (1, -1, 10_000),
                    (STREAMING, 2, 10_000),
                ]
            )
        ]
        #: What tasks and actors may need of the GPUs.
        self.shares = [(("GPU", share),) for share in (10_000, 5_000, 3_000, 20_000) if share <= gpus * 10_000]
        for n, share in enumerate(self.shares):
            need = (("CPU", 5_000), *share) if n % 2 else share
            self.options.append(TaskOptions(name=f"g{n}", function=f"g{n}", max_retries=n, resources=need))
        self._orders: dict[type, Callable[[Any], None]] = {
            c.StartWorker: self._start,
            c.StopWorker: self._stop,
            c.KillWorker: self._kill_worker,
            c.Run: self._run,
            c.Withdraw: self._withdraw,
            c.Interrupt: self._interrupt,
            c.Reply: self._reply,
            c.Free: self._free,
        }
        self.done: Counter[str] = Counter()  # what happened, to see that a run is not idle

    # -- the clock and the machine -------------------------------------------------------------

    def dispatch(self, make: Callable[..., object], *facts: object, **named: object) -> None:
        """Gives the machine an event, after what waits; carries out its orders, checks that all is well."""
        self.dispatch_pending()
        self._dispatch(make, *facts, **named)

    def dispatch_pending(self) -> None:
        """Applies the submissions and the ends of tasks that go together."""
        pending, self.pending = self.pending, []
        if pending:
            self._dispatch(e.Submitted, pending)
        for worker in list(self.workers.values()):
            ends, worker.ends = worker.ends, []
            if ends:
                self._dispatch(e.TasksFinished, worker.number, ends)

    def _dispatch(self, make: Callable[..., object], *facts: object, **named: object) -> None:
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
            self.dispatch(e.Ticked)
        self.clock = max(self.clock, end)

    # -- orders --------------------------------------------------------------------------------

    def _start(self, order: c.StartWorker) -> None:
        self.workers[order.worker] = SimulatedWorker(order.worker, IdSource(order.worker))

    def _stop(self, order: c.StopWorker) -> None:
        if order.worker in self.workers:
            self.workers[order.worker].stopping = True

    def _kill_worker(self, order: c.KillWorker) -> None:
        if order.worker in self.workers:
            self.workers[order.worker].kill_ordered = True

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
            assert order.value in self.stored, f"{order.value!r} is given back twice (object {order.id})"
            self.stored.remove(order.value)

    def _later(self, make: Callable[..., object], worker: SimulatedWorker, *facts: object) -> None:
        """An answer given inside an order: it reaches the machine when the orders are done."""
        self._answers.append((make, worker, facts))

    @property
    def _answers(self) -> list[tuple[Callable[..., Any], SimulatedWorker, tuple[Any, ...]]]:
        return self.__dict__.setdefault("_answer_list", [])  # type: ignore[no-any-return]

    def _deliver_answers(self) -> None:
        while self._answers:
            make, worker, facts = self._answers.pop(0)
            if worker.number in self.workers:
                self.dispatch(make, worker.number, *facts)

    # -- runs ----------------------------------------------------------------------------------

    def step(self) -> None:
        """Lets one thing happen."""
        if self.workers and self.random.random() < 0.6:
            self.step_worker(self.random.choice(list(self.workers.values())))
        else:
            steps = (
                [self.submit] * 6
                + [self.put] * 2
                + [self.call_actor] * 4
                + [self.drop] * 7
                + [
                    self.make_actor,
                    self.copy,
                    self.cancel,
                    self.kill_actor,
                    self.free,
                    self.lose,
                    self.spill,
                    self.take_item,
                    self.take_item,
                    lambda: self.dispatch(e.CpusChanged, self.random.choice((1, 2, 4)) * 10_000),
                    lambda: self.sleep(self.random.choice((0.01, 0.5, 3.0))),
                ]
            )
            self.random.choice(steps)()
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
            self.dispatch(e.StreamDropped, task, index)
        for identity, count in sorted(self.refs.items()):
            for _ in range(count):
                self.dispatch(e.RefsChanged, [identity])
        self.refs.clear()
        for number in range(rounds):
            if not m.tasks.table:
                break
            self._calm_round()
            if number == DRAIN_ROUNDS:  # actors may hold every CPU: whoever wrote that has to kill them
                for actor in self.actors:
                    self.dispatch(e.KillAsked, actor, True)
        assert not m.tasks.table, self._stories("tasks never ended", m.tasks.table)
        for _ in range(50):  # actors without handles end, and workers let go
            self._calm_round()
        assert not m.objects.table, self._stories("objects were never freed", m.objects.table)
        assert all(actor.state == DEAD for actor in m.actors.table.values())
        assert m.resources.available == m.resources.total, (m.resources.available, m.resources.total)
        assert not self.stored, f"bytes that nobody gave back: {sorted(map(str, self.stored))}"

    def _calm_round(self) -> None:
        self.dispatch_pending()
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
