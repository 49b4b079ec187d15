"""More slots and fewer, while tasks run."""

from __future__ import annotations

from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork


def test_slots_are_added_and_taken_away_while_tasks_run() -> None:
    clock = Clockwork()
    tasks = [clock.submit()[0] for _ in range(5)]
    running = lambda: [task for task in tasks if clock.state(task) == "RUNNING"]
    assert len(running()) == 2
    orders = clock.dispatch(e.CpusChanged, 40_000)
    for order in [o for o in orders if isinstance(o, c.StartWorker)]:
        clock.dispatch(e.WorkerReady, order.worker, 100 + order.worker)
    assert len(running()) == 4
    clock.dispatch(e.CpusChanged, 10_000)
    assert len(running()) == 4  # what runs goes on
    for left in (3, 2, 1, 1, 0):  # the fifth has its turn when there is a slot again
        task = running()[0]
        clock.finish(clock.machine.tasks.table[task].worker, task)
        assert len(running()) == left
    clock.now += 10
    stopped = {o.worker for o in clock.dispatch(e.Ticked) if isinstance(o, c.StopWorker)}
    assert len(stopped) == 3
