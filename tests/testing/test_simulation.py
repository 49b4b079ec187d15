"""The machine in a simulated world: whatever happens, everything ends and nothing is left."""

from __future__ import annotations

from collections import Counter

import pytest

from raynb.core.objects.table import Objects
from raynb.core.scheduling.resources import Resources
from raynb.core.vocabulary import events as e
from raynb.testing.simulation import Simulation


@pytest.mark.parametrize("block", range(8))
def test_everything_ends_and_nothing_is_left(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        world = Simulation(seed)
        world.run(400)
        world.drain()


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("deaths", [0.0, 0.2])
def test_with_other_machines(cpus: int, deaths: float) -> None:
    for seed in range(10):
        world = Simulation(seed, cpus=cpus, deaths=deaths)
        world.run(300)
        world.drain()


def test_a_run_is_the_same_each_time() -> None:
    runs = []
    for _ in range(2):
        world = Simulation(11)
        world.run(300)
        runs.append((world.clock, world.done, list(world.machine.history.ring)))
    assert runs[0] == runs[1]


def test_the_world_makes_everything_happen() -> None:
    done: Counter[str] = Counter()
    for seed in range(20):
        world = Simulation(seed)
        world.run(400)
        done += world.done
    kinds = [
        e.Submitted, e.ActorSubmitted, e.ObjectStored, e.TasksFinished, e.ItemYielded, e.ItemConsumed,
        e.StreamDropped, e.WorkerReady, e.WorkerDied, e.Withdrawn, e.Requested, e.RequestDropped, e.Released,
        e.RefsChanged, e.CancelAsked, e.KillAsked, e.FreeAsked, e.ObjectLost, e.ObjectMoved, e.Ticked,
    ]  # fmt: skip
    assert [kind.__name__ for kind in kinds if done[kind.__name__] < 5] == []


def test_a_count_that_is_not_given_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objects, "unpin", lambda self, ids, what: None)
    with pytest.raises(AssertionError):
        for seed in range(20):
            world = Simulation(seed)
            world.run(400)
            world.drain()


def test_resources_that_are_not_given_back_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resources, "give", lambda self, need: None)
    with pytest.raises(AssertionError, match="CPU"):
        for seed in range(20):
            Simulation(seed).run(400)
