"""Rings of calls that wait for each other, and actors that die again and again: what the machine decides."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.base.ids import object_id
from raynb.base.spec import ActorSpec, TaskOptions, TaskSpec
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork, all_ready, runs

CALL = TaskOptions(name="A.m", function="m", max_retries=0, resources=())


class Deadlocks(Clockwork):
    def actor(self, name: str, **given: Any) -> tuple[int, int]:
        """Returns (actor, its worker)."""
        self.tasks += 1
        number = self.tasks
        spec = ActorSpec(number, name, "a", placement=(("CPU", 10_000),), **given)
        options = TaskOptions(name=f"{name}.__init__", max_retries=0, resources=spec.placement)
        orders = self.dispatch(e.ActorSubmitted, spec, TaskSpec(number, options, creates_actor=True))
        while not runs(orders):
            orders = all_ready(self)
        (worker, _), = runs(orders)  # fmt: skip
        self.finish(worker, number)
        all_ready(self)
        return number, worker

    def call(self, actor: int, **spec: Any) -> int:
        return self.submit(CALL, actor=actor, **spec)[0]

    def task(self, **spec: Any) -> tuple[int, int]:
        """Returns (task, its worker); 0: it waits."""
        number, orders = self.submit(**spec)
        for _ in range(5):
            if runs(orders):
                return number, runs(orders)[0][0]
            orders = all_ready(self)
        return number, 0

    def get(self, worker: int, task: int, *tasks: int) -> str:
        """The text with which the `get` is refused; empty: it waits."""
        wanted = tuple(object_id(number, 1) for number in tasks)
        replies = [o for o in self.dispatch(e.Requested, worker, task, task, wanted, len(wanted), False)
                   if isinstance(o, c.Reply)]  # fmt: skip
        return replies[0].error[2][0] if replies and replies[0].error else ""


@pytest.fixture
def world() -> Deadlocks:
    return Deadlocks(cpus=8, workers=4)


def test_a_ring_through_a_task_is_found_by_the_task(world: Deadlocks) -> None:
    actor, home = world.actor("Left")
    call = world.call(actor)
    task, worker = world.task()
    assert not world.get(home, call, task)
    back = world.call(actor)
    assert "f waits for Left waits for f" in world.get(worker, task, back)


def test_a_ring_through_a_task_is_found_by_the_actor(world: Deadlocks) -> None:
    actor, home = world.actor("Left")
    call = world.call(actor)
    task, worker = world.task()
    back = world.call(actor)
    assert not world.get(worker, task, back)
    assert "Left waits for f waits for Left" in world.get(home, call, task)


def test_a_ring_through_the_argument_of_a_task_is_found(world: Deadlocks) -> None:
    actor, home = world.actor("Left")
    call = world.call(actor)
    back = world.call(actor)
    task, worker = world.task(deps=(object_id(back, 1),))
    assert worker == 0
    assert "Left waits for f waits for Left" in world.get(home, call, task)


def test_a_ring_through_two_actors_and_two_tasks_is_found(world: Deadlocks) -> None:
    (left, left_home), (right, right_home) = world.actor("Left"), world.actor("Right")
    first, second = world.call(left), world.call(right)
    to_right, one = world.task()
    to_left, other = world.task()
    assert not world.get(left_home, first, to_right)
    assert not world.get(one, to_right, world.call(right))
    assert not world.get(right_home, second, to_left)
    assert "Left" in (text := world.get(other, to_left, world.call(left)))
    assert "Right" in text


def test_a_call_of_a_concurrent_actor_that_waits_for_itself_is_found(world: Deadlocks) -> None:
    actor, home = world.actor("Wide", max_concurrency=4)
    call = world.call(actor)
    task, worker = world.task()
    assert not world.get(home, call, task)
    assert "f waits for A.m waits for f" in world.get(worker, task, call)


def test_what_is_no_ring_is_let_wait(world: Deadlocks) -> None:
    actor, home = world.actor("Left")
    wide, _ = world.actor("Wide", max_concurrency=4)
    call = world.call(actor)
    task, worker = world.task()
    assert not world.get(home, call, task)
    assert not world.get(worker, task, world.call(wide))
    assert not world.get(worker, world.task()[0], world.task()[0])


def test_an_actor_that_dies_in_its_calls_comes_back_ever_slower_and_is_told(world: Deadlocks) -> None:
    actor, worker = world.actor("Crasher", max_restarts=-1)
    pauses, told = [], []
    for _ in range(14):
        call = world.call(actor)
        died = world.now
        orders = world.dispatch(e.WorkerDied, worker, "it was ended by SIGSEGV", current=call)
        told += [o.text for o in orders if isinstance(o, c.Warn)]
        while (actor not in {task for _, task in runs(orders)}):
            world.now += 0.02
            orders = world.dispatch(e.Ticked) + all_ready(world)
        worker = next(w for w, task in runs(orders) if task == actor)
        pauses.append(world.now - died)
        world.finish(worker, actor)
        all_ready(world)
    assert max(pauses[:2]) < 0.05 < pauses[3] < pauses[5] < pauses[8]
    assert max(pauses) < 11
    assert len(told) == 2
    assert "Crasher has died 3 times (it was ended by SIGSEGV); it is restarted, less and less often" in told[0]


def test_an_actor_that_is_killed_now_and_then_comes_back_at_once(world: Deadlocks) -> None:
    actor, worker = world.actor("Calm", max_restarts=-1)
    for _ in range(6):
        died = world.now
        orders = world.dispatch(e.WorkerDied, worker, "it was ended by SIGKILL")
        while actor not in {task for _, task in runs(orders)}:
            orders = world.dispatch(e.Ticked) + all_ready(world)
        worker = next(w for w, task in runs(orders) if task == actor)
        assert world.now - died < 0.1
        world.finish(worker, actor)
        all_ready(world)
        world.now += 40
