"""Bytes of an object are gone, and are made again by lineage: what the machine decides (real ones: tests/faults)."""

from __future__ import annotations

import pytest

from raynb.base.ends import Done
from raynb.base.ids import object_id
from raynb.base.spec import TaskOptions
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork, runs

PLACE = ("file", "/gone", 64, (64,))


@pytest.fixture
def clock() -> Clockwork:
    return Clockwork(cpus=1, workers=2)


def replies(orders: list[object]) -> list[c.Reply]:
    return [order for order in orders if isinstance(order, c.Reply)]


def reading(clock: Clockwork, retries: int = 1) -> tuple[int, int, int, int]:
    """A task whose input lies in a file runs; returns (maker, input, reader, its worker)."""
    maker, orders = clock.submit(TaskOptions(name="make", function="make", max_retries=retries))
    clock.finish(runs(orders)[0][0], maker, PLACE)
    lost = object_id(maker, 1)
    reader, orders = clock.submit(TaskOptions(name="read", function="read"), deps=(lost,))
    return maker, lost, reader, runs(orders)[0][0]


def test_the_reader_waits_without_its_cpu_while_the_input_is_made_again(clock: Clockwork) -> None:
    maker, lost, reader, worker = reading(clock)
    clock.dispatch(e.ObjectLost, lost, "it was removed", PLACE)
    orders = clock.dispatch(e.Requested, worker, 1, reader, (lost,), 1, False)
    ((other, again),) = runs(orders)
    assert (again, other != worker) == (maker, True), "one CPU: the reader has given it up"
    (reply,) = replies(clock.finish(other, maker, ("file", "/new", 64, (64,))))
    assert (reply.worker, reply.ids, reply.error) == (worker, (lost,), None)
    clock.finish(worker, reader, b"read")
    assert clock.value(reader) == b"read"


def test_a_loss_found_twice_costs_one_retry(clock: Clockwork) -> None:
    maker, lost, reader, worker = reading(clock)
    clock.dispatch(e.ObjectLost, lost, "it was removed", PLACE)
    clock.dispatch(e.ObjectLost, lost, "it was removed", PLACE)  # while it is being made
    ((other, _),) = runs(clock.dispatch(e.Requested, worker, 1, reader, (lost,), 1, False))
    clock.finish(other, maker, ("file", "/new", 64, (64,)))
    assert not runs(clock.dispatch(e.ObjectLost, lost, "it was removed", PLACE)), "it lies elsewhere by now"
    assert clock.value(maker) == ("file", "/new", 64, (64,))


@pytest.mark.parametrize("retries", [0, 1])
def test_without_retries_every_reader_is_told(clock: Clockwork, retries: int) -> None:
    maker, lost, reader, worker = reading(clock, retries)
    place = PLACE
    for attempt in range(retries + 1):
        clock.dispatch(e.ObjectLost, lost, "it was removed", place)
        orders = clock.dispatch(e.Requested, worker, attempt, reader, (lost,), 1, False)
        if attempt < retries:
            place = ("file", f"/new{attempt}", 64, (64,))
            clock.finish(runs(orders)[0][0], maker, place)
    (reply,) = replies(orders)
    assert reply.ids == (lost,)
    assert clock.value(maker)[:2] == ("err", "ObjectLostError")


def test_an_inline_value_cannot_be_lost(clock: Clockwork) -> None:
    task, orders = clock.submit()
    clock.finish(runs(orders)[0][0], task, b"inline")
    clock.dispatch(e.ObjectLost, object_id(task, 1), "nonsense of a peer")
    assert clock.value(task) == b"inline"


def test_a_lost_object_is_made_again_from_its_lineage(clock: Clockwork) -> None:
    task, orders = clock.submit()
    clock.finish(runs(orders)[0][0], task, ("file", "/gone", 64, (64,)))
    sent = runs(clock.dispatch(e.ObjectLost, object_id(task, 1), "the file is gone"))
    assert [t for _, t in sent] == [task]
    clock.finish(sent[0][0], task, b"again")
    assert clock.value(task) == b"again"


def test_a_small_result_holds_no_argument_of_its_task(clock: Clockwork) -> None:
    """Of a cell `total = frame.sum(); model = fit(frame)`, `total` kept the frame when the model was gone."""
    frame = object_id(1 << 20, 1)
    clock.dispatch(e.ObjectStored, frame, ("shm", 0, 0, 64), 64, (), 0)
    task, orders = clock.submit(deps=(frame,), returns=2)
    total, model = object_id(task, 1), object_id(task, 2)
    end = Done(task, ((b"6", 1, ()), (("shm", 1, 0, 64), 64, ())))
    worker = runs(orders)[0][0]
    clock.dispatch(e.TasksFinished, worker, [end])
    clock.dispatch(e.Released, worker, ((frame, 1),))
    clock.dispatch(e.RefsChanged, [frame])
    assert frame in clock.machine.objects.table  # to make the model again
    clock.dispatch(e.RefsChanged, [model])
    assert frame not in clock.machine.objects.table
    assert total in clock.machine.objects.table
