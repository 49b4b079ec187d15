"""A machine with a virtual clock, and what its orders mean: what the tests of its decisions are built of."""

from __future__ import annotations

from typing import Any

from raynb.base.config import Config
from raynb.base.ends import Done
from raynb.base.ids import object_id
from raynb.base.spec import ActorSpec, TaskOptions, TaskSpec
from raynb.core import invariants
from raynb.core.machine import Machine
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e


def plain() -> TaskOptions:
    return TaskOptions(name="f", function="f")


class Clockwork:
    """A machine, its time, and the orders that it gave."""

    def __init__(self, cpus: int = 2, workers: int = 2, **config: Any) -> None:
        self.machine = Machine(Config(**config), {"CPU": cpus * 10_000})
        self.now = 0.0
        self.tasks = 0
        self.dispatch(e.Started, workers)
        for worker in range(1, workers + 1):
            self.dispatch(e.WorkerReady, worker, 100 + worker)

    def dispatch(self, event: Any, *facts: Any, **named: Any) -> list[Any]:
        self.now += 0.001
        orders = self.machine.handle(event(self.now, *facts, **named))
        invariants.check(self.machine)
        return orders

    def submit(self, options: TaskOptions | None = None, **spec: Any) -> tuple[int, list[Any]]:
        self.tasks += 1
        return self.tasks, self.dispatch(e.Submitted, [TaskSpec(self.tasks, options or plain(), **spec)])

    def finish(self, worker: int, task: int, value: Any = b"v", seconds: float = 0.0, **named: Any) -> list[Any]:
        times = (self.now - seconds, self.now - seconds, self.now) if seconds else (0.0, 0.0, 0.0)
        names = ("started", "fetched", "ran")
        end = Done(task, ((value, 1, ()),), **dict(zip(names, times, strict=True)), **named)
        return self.dispatch(e.TasksFinished, worker, [end])

    def state(self, task: int) -> str:
        found = self.machine.tasks.table.get(task)
        if found is not None:
            return found.state
        return next(state for identity, state, *_ in self.machine.history.finished if identity == task)

    def value(self, task: int) -> Any:
        return self.machine.objects.table[object_id(task, 1)].value


def runs(orders: list[Any]) -> list[tuple[int, int]]:
    return [(o.worker, o.task.spec.task_id) for o in orders if isinstance(o, c.Run)]


def all_ready(clock: Clockwork) -> list[Any]:
    """The workers that are starting are ready; returns the orders."""
    orders: list[Any] = []
    for worker in [w for w in clock.machine.pool.table.values() if w.state == "STARTING"]:
        orders += clock.dispatch(e.WorkerReady, worker.id, 500 + worker.id)
    return orders


def actor(clock: Clockwork, **spec: Any) -> tuple[int, int]:
    clock.tasks += 1
    number = clock.tasks
    creation = TaskSpec(number, TaskOptions(name="A", function="a"), creates_actor=True)
    orders = clock.dispatch(e.ActorSubmitted, ActorSpec(number, "A", "a", **spec), creation)
    worker = runs(orders)[0][0]
    clock.finish(worker, number)
    return number, worker
