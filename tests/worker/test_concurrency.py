"""Threads of a threaded actor: as many as are needed, and no more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from raynb.testing import leaks
from raynb.worker.concurrency import Threads


class Host:
    """Runs a call by calling it."""

    def __init__(self) -> None:
        self.brief = False  # whether calls are taken for such
        self.done = 0
        self.threads: set[int] = set()
        self.lock = threading.Lock()

    def is_brief(self, run: Any) -> bool:
        return self.brief

    def run_in_thread(self, run: Any, running: Any) -> None:
        run()
        with self.lock:
            self.done += 1
            self.threads.add(threading.get_ident())


@pytest.fixture
def made() -> Iterator[tuple[Host, Threads]]:
    before = leaks.Held.now()
    host: Any = Host()
    group = Threads(host, "", 8)
    yield host, group
    group.close()
    leaks.check(before)


def test_calls_that_block_run_beside_each_other(made: tuple[Host, Threads]) -> None:
    host, group = made
    together = threading.Barrier(8, timeout=60)
    for _ in range(16):  # twice as many as may run at once
        group.start(together.wait, None)  # type: ignore[arg-type]
    assert leaks.until(lambda: host.done == 16)
    assert len(host.threads) == 8


def test_calls_that_block_although_they_were_brief_get_company(made: tuple[Host, Threads]) -> None:
    host, group = made
    host.brief = True
    together = threading.Barrier(8, timeout=60)
    for _ in range(16):
        group.start(together.wait, None)  # type: ignore[arg-type]

    def look() -> bool:
        group.relieve()
        return host.done == 16

    assert leaks.until(look)
    assert not group.waiting()
    assert len(host.threads) == 8


def test_brief_calls_are_done_by_the_thread_that_is_awake(made: tuple[Host, Threads]) -> None:
    host, group = made
    host.brief = True
    held = threading.Event()
    group.start(lambda: held.wait(60), None)  # type: ignore[arg-type,return-value]
    assert leaks.until(lambda: group._brief == 1)
    for _ in range(50):
        group.start(lambda: None, None)  # type: ignore[arg-type]
    assert group.waiting()
    assert group._started == 1
    held.set()
    assert leaks.until(lambda: host.done == 51)
    assert len(host.threads) == 1
    assert leaks.until(lambda: len(group._parked) == 1)
    assert group._brief == 0


@pytest.mark.parametrize("brief", [False, True])
def test_every_call_runs_once(made: tuple[Host, Threads], brief: bool) -> None:
    host, group = made
    host.brief = brief
    numbers = iter(range(3000))
    ran: list[int] = []

    def call() -> None:
        ran.append(next(numbers))

    def submit() -> None:
        for _ in range(1000):
            group.start(call, None)  # type: ignore[arg-type]

    callers = [threading.Thread(target=submit) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert leaks.until(lambda: host.done == 3000)
    assert sorted(ran) == list(range(3000))


def test_one_call_at_a_time_needs_one_thread(made: tuple[Host, Threads]) -> None:
    host, group = made
    for number in range(1, 51):
        group.start(lambda: None, None)  # type: ignore[arg-type]
        assert leaks.until(lambda: host.done == number and len(group._parked) == group._started)
    assert len(host.threads) == 1


def test_nobody_looks_after_calls_that_no_further_thread_can_take(made: tuple[Host, Threads]) -> None:
    """B16: the main thread of such a worker was woken 300 times a second."""
    host, group = made
    held = threading.Event()
    for _ in range(20):
        group.start(lambda: held.wait(60), None)  # type: ignore[arg-type,return-value]
    assert leaks.until(lambda: group._taken == 8)
    assert not group.waiting()
    held.set()
    assert leaks.until(lambda: host.done == 20)
