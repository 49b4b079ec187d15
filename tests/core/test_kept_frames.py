"""A worker whose task has failed is kept for the frames of the failure, for a post-mortem."""

from __future__ import annotations

from raynb.base import ends
from raynb.base.spec import TaskOptions
from raynb.core.scheduling.frames import MAX_WORKERS
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork

SECONDS = 900.0
WORKERS = MAX_WORKERS + 4


def failed(clock: Clockwork) -> list[int]:
    """All workers run a task; all but the last two of them fail. Returns the workers in the order of the ends."""
    tasks = [clock.submit()[0] for _ in range(WORKERS)]
    workers = [clock.machine.tasks.table[task].worker for task in tasks]
    for number, (worker, task) in enumerate(zip(workers, tasks, strict=True)):
        if number < WORKERS - 2:
            clock.finish(worker, task, ("exc", b""), flags=ends.FAILED, error=("ValueError", "no"))
        else:
            clock.finish(worker, task)
    clock.dispatch(e.CpusChanged, 10_000)
    return workers


def stopped(clock: Clockwork, later: float) -> set[int]:
    clock.now += later
    return {order.worker for order in clock.dispatch(e.Ticked) if isinstance(order, c.StopWorker)}


def test_the_latest_workers_with_frames_are_kept() -> None:
    clock = Clockwork(cpus=WORKERS, workers=WORKERS)
    clock.dispatch(e.FramesKept, SECONDS)
    workers = failed(clock)
    kept = set(workers[2:-2])
    assert stopped(clock, 10) == set(workers) - kept
    assert clock.machine.next_tick() is None  # nothing is to be looked at for so long
    assert stopped(clock, SECONDS - 60) == set()
    assert stopped(clock, 60) == kept


def test_a_worker_is_kept_for_an_error_among_several_returns() -> None:
    for failing in (0, 1):
        clock = Clockwork(cpus=2, workers=2)
        clock.dispatch(e.FramesKept, SECONDS)
        tasks = [clock.submit(TaskOptions(name="f", function="f", num_returns=2))[0] for _ in range(2)]
        workers = [clock.machine.tasks.table[task].worker for task in tasks]
        for number, (worker, task) in enumerate(zip(workers, tasks, strict=True)):
            second = ("exc", b"") if number == failing else b"v"
            clock.dispatch(e.TasksFinished, worker, [ends.Done(task, ((b"v", 1, ()), (second, 0, ())))])
        clock.dispatch(e.CpusChanged, 10_000)
        assert stopped(clock, 10) == {workers[1 - failing]}


def test_no_worker_is_kept_for_frames_that_are_gone_or_not_wanted() -> None:
    for seconds, again in ((0.0, False), (SECONDS, True)):
        clock = Clockwork(cpus=WORKERS, workers=WORKERS)
        clock.dispatch(e.FramesKept, seconds)
        failed(clock)
        if again:
            clock.dispatch(e.FramesKept, seconds)  # the frames were released
        assert len(stopped(clock, 10)) == WORKERS - 1
