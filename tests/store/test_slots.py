"""Workers come and go without end; what they took of the ledger and of others' descriptors comes back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raynb
from raynb.base import ids
from raynb.exceptions import TaskCancelledError, WorkerCrashedError
from raynb.store import Ledger, Slots, Store
from raynb.store.pages import ledger as ledgers
from raynb.testing import faults, leaks

MB = 1 << 20


def test_the_lowest_free_slot_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "SLOTS", 5)
    slots = Slots()
    assert [slots.take() for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="too many processes"):
        slots.take()
    slots.give(3)
    slots.give(2)
    assert [slots.take(), slots.take()] == [2, 3]


def test_a_number_of_its_own_and_a_slot_used_again(make_store: Callable[..., Store], ledger: Ledger) -> None:
    driver = make_store()
    settled: list[int] = []
    for number in range(70_000, 70_003):  # more than there are slots
        worker = Store(number, 64 * MB, ledger, None, row=7)
        kept = worker.write(b"", [bytes(2 * MB)])
        worker.write(b"", [bytes(3 * MB)])  # never reported
        driver.attach(number, os.dup(worker.fd or -1))
        worker.close()
        finish = driver.adopt(number, [kept], 7, lambda number=number: settled.append(number))  # type: ignore[misc]
        assert driver.total() == kept[3]
        assert ledger.resident_of(7) > 4 * MB, "pages are given back later, outside of every lock"
        finish()
        assert ledger.resident_of(7) == kept[3]
        assert number not in settled
        with pytest.raises(ValueError, match="twice"):
            driver.free(("shm", number, kept[2] + 64, 64, (64,)))
        driver.free(kept)
        assert settled[-1] == number
        assert (driver.total(), ledger.resident_of(7)) == (0, 0)
        assert not driver.knows(number)


@pytest.mark.raynb(num_cpus=1)
def test_slots_don_t_grow_with_restarts(raynb_runtime: Any) -> None:
    engine = raynb_runtime.engine

    @raynb.remote(max_retries=0)
    def die() -> None:
        raynb.put(np.zeros(MB))
        os.kill(os.getpid(), 9)

    for _ in range(12):
        with pytest.raises(WorkerCrashedError):
            raynb.get(die.remote(), timeout=60)
        # What it left is given back by another thread, and only then its slot.
        assert leaks.until(lambda: engine.store.total() == 0 and not engine.store.stats().arenas)
    assert engine.pages.slots._next < 8


@pytest.mark.raynb(num_cpus=1, cancel_grace=60.0)  # a worker that is killed for its slowness has no row any more
def test_a_row_used_again_tells_of_its_new_worker_only(raynb_runtime: Any, tmp_path: Path) -> None:
    engine = raynb_runtime.engine
    gate = faults.Gate(tmp_path)

    @raynb.remote(max_retries=0)
    def hold(name: str) -> None:
        gate.pass_through(name)

    def peers() -> list[Any]:
        with engine.loop.lock:  # another thread adds and removes them
            return list(engine.effects.peers.values())

    rows = []
    for name in "abc":
        ref = hold.remote(name)
        (pid,) = gate.wait_for(name)
        (row,) = [peer.row for peer in peers() if peer.pid == pid]
        assert engine.pages.board.interrupts(row) == 0
        assert ids.task_of(ref._id) == engine.pages.board.running(row)
        rows.append(row)
        raynb.cancel(ref)
        with pytest.raises(TaskCancelledError):
            raynb.get(ref, timeout=60)
        assert engine.pages.board.interrupts(row) == 1
        faults.kill(pid)
        assert leaks.until(lambda pid=pid: pid not in [peer.pid for peer in peers()])  # type: ignore[misc]
        assert engine.pages.board.running(row) == 0
    assert max(rows) < 6


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what another process has open")
@pytest.mark.raynb(num_cpus=1, object_store_memory=64 * MB)
def test_readers_let_go_of_the_arenas_of_the_dead(raynb_runtime: Any) -> None:
    class Reader:
        def read(self, value: Any) -> tuple[int, float]:
            return os.getpid(), float(value[0])

    @raynb.remote
    def make(n: int) -> tuple[int, Any]:
        return os.getpid(), np.full(MB // 8, n)

    @raynb.remote
    def second(pair: tuple[int, Any]) -> Any:
        return pair[1]

    reader = raynb.remote(num_cpus=0)(Reader).remote()

    def arenas(pid: int) -> int:
        return sum("raynb" in what for what in leaks.descriptors(pid).values())

    for n in range(5):  # without letting go, it would have one more each time
        made = make.remote(n)
        pid, number = raynb.get(reader.read.remote(second.remote(made)))
        assert number == n
        worker = raynb.get(made)[0]
        del made
        faults.kill(worker)
        assert leaks.until(lambda: raynb_runtime.engine.store.total() == 0)
        assert leaks.until(lambda pid=pid: arenas(pid) <= 3), arenas(pid)  # type: ignore[misc]
