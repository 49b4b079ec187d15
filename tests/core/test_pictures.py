"""What views are given of the machine."""

from __future__ import annotations

from raynb.core import snapshot
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork, actor


def test_an_actor_that_ran_out_of_memory_is_shown_with_the_reason(clock: Clockwork) -> None:
    """Every later picture failed: no dashboard, no state API."""
    number, worker = actor(clock)
    clock.machine.pool.table[worker].kill_reason = ("OutOfMemoryError", "A used 9 MiB, and may use 1 MiB")
    clock.dispatch(e.WorkerDied, worker, "SIGKILL")
    (row,) = snapshot.picture(clock.machine, clock.now, 0.0, 0, 0).actors
    assert (row.id, row.state) == (number, "DEAD")
    assert row.death_cause == "A used 9 MiB, and may use 1 MiB"
