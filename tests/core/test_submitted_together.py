"""Submissions that come in one event have the effect of the same ones by themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from raynb.base.ids import object_id
from raynb.base.spec import TaskOptions, TaskSpec
from raynb.core.machine import TOGETHER_MAX_TASKS
from raynb.core.vocabulary import events as e

from .clockwork import Clockwork, actor, plain, runs

METHOD = TaskOptions(name="A.m", function="m", resources=())


def _programme(seed: int, actors: tuple[int, int]) -> list[Any]:
    """Returns tasks, calls of an actor that lives and of one that is dead, and puts, with refs to one another."""
    chance = random.Random(seed)
    made: list[int] = []
    events: list[Any] = []
    for at in range(chance.choice((1, 5, 30, TOGETHER_MAX_TASKS, TOGETHER_MAX_TASKS + 7))):
        number = 100 + at
        some = tuple(chance.sample(made, min(len(made), chance.choice((0, 0, 0, 1, 2)))))
        if chance.random() < 0.15:
            made.append(object_id(number, 0))
            events.append(e.ObjectStored(0.0, made[-1], b"v", 1, some, 0, 0))
            continue
        called = chance.choice((0, 0, *actors))
        deps, contained = (some, ()) if chance.random() < 0.5 else ((), some)
        made.append(object_id(number, 1))
        events.append(TaskSpec(number, METHOD if called else plain(), deps=deps, contained=contained, actor=called))
    return events


def _after(seed: int, together: bool) -> tuple[Any, ...]:
    clock = Clockwork(cpus=4, workers=4)
    alive, _ = actor(clock)
    dead, _ = actor(clock)
    clock.dispatch(e.KillAsked, dead, True)
    clock.dispatch(e.WorkerDied, clock.machine.actors.table[dead].worker, "killed")
    specs = _programme(seed, (alive, dead))
    orders: list[Any] = []
    for batch in [specs] if together else [[spec] for spec in specs]:
        orders += clock.dispatch(e.Submitted, batch)
    machine = clock.machine
    return (
        runs(orders),
        {number: (task.state, task.waiting, task.worker) for number, task in machine.tasks.table.items()},
        [(number, state) for number, state, *_ in machine.history.finished],
        {obj.id: (obj.state, obj.value, obj.refs, obj.args, obj.containers) for obj in machine.objects.table.values()},
        {number: (row.pending, [*row.inflight]) for number, row in machine.actors.table.items()},
    )


@pytest.mark.parametrize("seed", range(40))
def test_submissions_of_one_event_end_up_as_those_of_many(seed: int) -> None:
    assert _after(seed, together=True) == _after(seed, together=False)


def test_a_call_that_fails_at_once_fails_the_task_behind_it_that_takes_its_result(clock: Clockwork) -> None:
    dead, worker = actor(clock)
    clock.dispatch(e.KillAsked, dead, True)
    clock.dispatch(e.WorkerDied, worker, "killed")
    call, task = 100, 101
    clock.dispatch(e.Submitted, [
        TaskSpec(call, METHOD, actor=dead), TaskSpec(task, plain(), deps=(object_id(call, 1),)),
    ])  # fmt: skip
    assert [clock.state(number) for number in (call, task)] == ["FAILED", "FAILED"]
    assert clock.machine.actors.table[dead].pending == 0


def test_the_history_says_once_that_tasks_were_submitted(clock: Clockwork) -> None:
    clock.dispatch(e.Submitted, [TaskSpec(number, plain()) for number in range(100, 110)])
    entries = list(clock.machine.history.ring)
    assert entries.count(("task", "submitted")) == 1
    assert [what for _, what in clock.machine.story(109)][:2] == ["task submitted", "task PENDING_NODE_ASSIGNMENT"]
