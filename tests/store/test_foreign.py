"""Other processes' arenas: lent, passed on, and taken over when their owner is dead."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from raynb.store import GuestDiskTier, Ledger, Store, UnknownArena
from tests.store.test_store import equal, lend

MB = 1 << 20


def test_reading_from_another_arena(make_store: Callable[..., Store]) -> None:
    owner, reader = make_store(), make_store()
    location = owner.write(b"s", [b"x" * 1000])
    assert not reader.knows(owner.slot)
    with pytest.raises(UnknownArena, match="arena 0 is not attached in process 1"):
        reader.read(location)
    lend(owner, reader)
    lend(owner, reader)  # twice is fine
    assert reader.knows(owner.slot)
    assert reader.knows(reader.slot)
    assert equal(reader, location, b"s", [b"x" * 1000])
    later = owner.write(b"later", [b"y" * MB])
    assert equal(reader, later, b"later", [b"y" * MB])
    spilled = reader.spill(location)
    assert equal(reader, spilled, b"s", [b"x" * 1000])
    copy = reader.restore(spilled)
    assert copy[1] == reader.slot
    with pytest.raises(UnknownArena, match="only process 0 itself frees"):
        reader.free(location)
    assert reader.stats().arenas == 1
    reader.detach(owner.slot)
    reader.detach(owner.slot)
    assert not reader.knows(owner.slot)


def test_descriptors_are_passed_on(make_store: Callable[..., Store]) -> None:
    owner, broker, reader = make_store(), make_store(), make_store()
    location = owner.write(b"s", [b"x" * 1000])
    lend(owner, broker)
    reader.attach(owner.slot, os.dup(broker.fd_of(owner.slot)))
    second = os.dup(broker.fd_of(owner.slot))
    reader.attach(owner.slot, second)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(second)  # B16: it is not kept
    owner.close()
    assert equal(reader, location, b"s", [b"x" * 1000])
    with pytest.raises(UnknownArena):
        broker.fd_of(99)
    broker.write(b"s")
    assert broker.fd_of(broker.slot) == broker.fd


def test_views_outlive_detach_and_the_owner(make_store: Callable[..., Store]) -> None:
    owner, reader = make_store(), make_store()
    location = owner.write(b"s", [b"x" * MB])
    lend(owner, reader)
    _, (view,) = reader.read(location)
    reader.detach(owner.slot)
    owner.close()
    assert view[MB - 1] == ord("x")


def test_adopting_a_dead_arena(make_store: Callable[..., Store], ledger: Ledger) -> None:
    driver, worker = make_store(), make_store()
    kept = [worker.write(bytes([i]), [bytes([i]) * 100_000]) for i in range(4)]
    lost = worker.write(b"never reported", [bytes(5 * MB)])
    lend(worker, driver)
    assert ledger.get(1) == sum(at[3] for at in [*kept, lost])
    worker.close()
    driver.adopt(1, kept)()
    assert ledger.get(1) == sum(at[3] for at in kept)
    assert os.fstat(driver.fd_of(1)).st_blocks * 512 < MB
    for i, at in enumerate(kept):
        assert equal(driver, at, bytes([i]), [bytes([i]) * 100_000])
    for i in (2, 0, 3):
        driver.free(kept[i])
    assert equal(driver, kept[1], b"\x01", [b"\x01" * 100_000])
    assert ledger.get(1) == kept[1][3]
    driver.free(kept[1])
    assert ledger.get(1) == 0
    assert not driver.knows(1), "an empty arena of a dead process is let go"


def test_adopting_what_held_nothing(make_store: Callable[..., Store], ledger: Ledger) -> None:
    driver, worker = make_store(), make_store()
    worker.write(b"lost")
    driver.adopt(1, [])()  # its descriptor never came
    assert ledger.get(1) == 0
    driver.adopt(2, [])()  # it never wrote
    lend(worker, driver)
    driver.adopt(1, [])()
    assert not driver.knows(1)
    with pytest.raises(UnknownArena, match="not attached"):
        driver.adopt(1, [("shm", 1, 0, 64, (1,))])()


def test_adopting_removes_stray_files(make_store: Callable[..., Store]) -> None:
    driver = make_store()
    assert driver.disk is not None
    guest = GuestDiskTier(driver.disk.home, writer=5)
    kept, lost = guest.write(b"kept", []), guest.write(b"lost", [])
    guest.close()
    driver.adopt(5, [kept])()
    assert os.path.exists(kept[1])
    assert not os.path.exists(lost[1])


def test_a_location_beyond_the_arena(make_store: Callable[..., Store]) -> None:
    owner, reader = make_store(), make_store()
    owner.write(b"s")
    lend(owner, reader)
    with pytest.raises(ValueError, match="beyond its arena"):
        reader.read(("shm", 0, 1 << 40, 64, (1,)))
