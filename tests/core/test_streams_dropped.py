"""A generator that is dropped before its end: its task stops, unless somebody has a use for it."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.base.ids import object_id
from raynb.base.spec import STREAMING, TaskOptions
from raynb.core.objects.streams import UNREAD_SECONDS
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e

from .test_machine import Clockwork


@pytest.mark.parametrize(
    ("had_items", "held", "stops"),
    [(True, False, True), (True, True, False), (False, False, False)],
    ids=["read", "its end is waited for", "called for what else it does"],
)
def test_a_dropped_generator_s_task_stops(had_items: bool, held: bool, stops: bool) -> None:
    clock = Clockwork()
    task, _ = clock.submit(TaskOptions(name="g", function="g", num_returns=STREAMING))
    worker = clock.machine.tasks.table[task].worker
    before = clock.now
    clock.now += 1
    clock.dispatch(e.ItemYielded, worker, task, 2, b"v", 1, ())
    clock.dispatch(e.StreamDropped, task, 2, clock.now if had_items else before)
    if not held:
        clock.dispatch(e.RefsChanged, [object_id(task, 1)])
    clock.now += UNREAD_SECONDS
    orders: list[Any] = clock.dispatch(e.Ticked)
    assert (c.Interrupt(worker, task) in orders) == stops
