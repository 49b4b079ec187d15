"""Processes forked ahead: used when one is wanted, replaced when one dies, never missed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import raynb
from raynb.base.engine import current
from raynb.testing import leaks
from raynb.worker import prefork

pytestmark = pytest.mark.raynb(num_cpus=1)


def forked_ahead() -> set[int]:
    """Returns the supervisor's children that are no workers yet."""
    engine: Any = current()
    supervisor = engine.supervised.process.pid
    known = worker_pids()
    return {p.pid for p in leaks.descendants(supervisor).values() if p.parent == supervisor} - known - watchers()


def worker_pids() -> set[int]:
    engine: Any = current()
    return {worker.pid for worker in list(engine.machine.pool.table.values())}


def watchers() -> set[int]:
    """Returns the processes in sessions of their own: the supervisor's watcher."""
    found = set()
    for pid in leaks.descendants():
        try:
            if os.getsid(pid) == pid:
                found.add(pid)
        except ProcessLookupError:
            pass
    return found


def all_there() -> bool:
    return len(forked_ahead()) == prefork.SPARE_PROCESSES


def settled() -> set[int]:
    """Waits until all are there, twice in a row the same: the watcher, just forked, looks like one of them."""
    raynb.get(raynb.remote(lambda: 0).remote())  # a worker that is not ready yet would count as one of them
    found: list[set[int]] = [set(), set()]

    def same() -> bool:
        found[:] = found[1], forked_ahead()
        return found[0] == found[1] and len(found[1]) == prefork.SPARE_PROCESSES

    assert leaks.until(same, interval=0.05)
    return found[1]


class Here:
    def pid(self) -> int:
        return os.getpid()


def test_an_actor_gets_a_process_that_is_there_already(ray: Any) -> None:
    ahead = settled()
    actors = [ray.remote(Here).remote() for _ in range(2)]  # the first takes the idle worker
    pids = set(ray.get([actor.pid.remote() for actor in actors], timeout=60))
    assert len(pids & ahead) == 1
    assert leaks.until(all_there), "the one that was used is replaced"


def test_spares_that_are_killed_are_replaced_and_not_missed(ray: Any) -> None:
    dead = settled()
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    actors = [ray.remote(Here).remote() for _ in range(4)]
    pids = set(ray.get([actor.pid.remote() for actor in actors], timeout=60))
    assert len(pids) == 4
    assert not pids & dead
    assert leaks.until(lambda: all_there() and not forked_ahead() & dead)


def test_a_worker_that_leaves_a_child_behind_takes_no_spare_with_it(ray: Any) -> None:
    ahead = settled()

    @ray.remote(max_retries=0)
    def die() -> None:
        if os.fork() == 0:
            signal.pause()
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die.remote(), timeout=60)
    # One of them has become the worker that replaces the dead one.
    assert leaks.until(all_there)
    assert ahead <= forked_ahead() | worker_pids()
