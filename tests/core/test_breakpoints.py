"""A task at a breakpoint: its timeout stands still."""

from __future__ import annotations

from typing import Any

from raynb.base.spec import TaskOptions
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork


def killed(orders: list[Any]) -> bool:
    return any(isinstance(order, c.KillWorker) for order in orders)


def at(clock: Clockwork, now: float, event: Any = e.Ticked, *facts: Any) -> list[Any]:
    clock.now = now
    return clock.dispatch(event, *facts)


def test_a_timeout_that_ends_at_a_breakpoint_has_its_rest_after_it() -> None:
    clock = Clockwork()
    task, _ = clock.submit(TaskOptions(name="f", function="f", timeout=10.0))
    assert not killed(at(clock, 4, e.TaskPaused, task))  # six seconds are left
    assert not killed(at(clock, 10.01))
    assert not killed(at(clock, 60))
    assert not killed(at(clock, 100, e.TaskResumed, task))
    assert not killed(at(clock, 105.9))
    assert killed(at(clock, 106.1))


def test_a_breakpoint_before_the_end_of_a_timeout_lengthens_it() -> None:
    clock = Clockwork()
    task, _ = clock.submit(TaskOptions(name="f", function="f", timeout=10.0))
    at(clock, 2, e.TaskPaused, task)
    at(clock, 5, e.TaskResumed, task)
    at(clock, 6, e.TaskPaused, task)
    at(clock, 7, e.TaskResumed, task)
    assert not killed(at(clock, 10.01))
    assert not killed(at(clock, 13.9))
    assert killed(at(clock, 14.1))


def test_a_task_that_ends_at_a_breakpoint_leaves_nothing() -> None:
    clock = Clockwork()
    task, orders = clock.submit(TaskOptions(name="f", function="f", timeout=10.0))
    worker = next(o.worker for o in orders if isinstance(o, c.Run))
    at(clock, 2, e.TaskPaused, task)
    clock.finish(worker, task)
    at(clock, 3, e.TaskResumed, task)
    at(clock, 20)
    cancelling = clock.machine.cancelling
    assert not cancelling.paused
    assert not cancelling._lent
    assert not cancelling._overdue
