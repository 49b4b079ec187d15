"""GPUs are handed out by number: whoever runs has those that it asked for."""

from __future__ import annotations

from raynb.base.rows import PENDING_NODE_ASSIGNMENT, RUNNING
from raynb.base.spec import TaskOptions
from raynb.core import invariants
from raynb.testing.simulation import Simulation

from .test_machine import Clockwork, runs


def needs(units: int) -> TaskOptions:
    return TaskOptions(name="g", function=f"g{units}", resources=(("GPU", units),))


def test_halves_left_of_two_gpus_are_no_whole_one() -> None:
    clock = Clockwork(cpus=2, workers=4)
    clock.machine.resources.add({"GPU": 20_000})
    clock.machine.resources.gpus = [10_000, 10_000]
    workers, tasks = {}, []
    for _ in range(3):  # two on the first, one on the second
        task, orders = clock.submit(needs(5_000))
        tasks.append(task)
        workers[task] = runs(orders)[0][0]
    clock.finish(workers[tasks[0]], tasks[0])
    assert clock.machine.resources.gpus == [5_000, 5_000]
    whole, orders = clock.submit(needs(10_000))
    most, _ = clock.submit(needs(7_000))
    assert clock.state(whole) == clock.state(most) == PENDING_NODE_ASSIGNMENT
    clock.finish(workers[tasks[2]], tasks[2])
    assert clock.state(whole) == RUNNING
    assert clock.machine.tasks.table[whole].gpus == (1,)
    invariants.check(clock.machine)


def test_in_every_run_each_task_and_actor_has_its_gpus() -> None:
    for seed in range(25):
        world = Simulation(seed, cpus=2 + seed % 3, gpus=1 + seed % 3)
        world.run(300)  # not to the end: a task that holds a GPU and waits for one that needs it waits for ever
