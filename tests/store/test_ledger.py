"""The account book, from one process and from several at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from raynb.store.pages.ledger import SLOTS, Ledger


def test_an_empty_book(ledger: Ledger) -> None:
    assert (ledger.total(), ledger.resident(), ledger.get(0), ledger.get(SLOTS - 1)) == (0, 0, 0, 0)


def test_slots_add_up(ledger: Ledger) -> None:
    ledger.set(0, 5, 4096)
    ledger.set(SLOTS - 1, 1 << 50, 1 << 51)
    ledger.set(63, 7)
    ledger.set(64, 11)
    assert ledger.total() == (1 << 50) + 23
    assert ledger.resident() == (1 << 51) + 4096
    ledger.set(SLOTS - 1, 0)
    assert (ledger.total(), ledger.resident()) == (23, 4096)
    assert [ledger.get(slot) for slot in (0, 63, 64, 65)] == [5, 7, 11, 0]
    assert ledger.resident_of(0) == 4096


def test_sums_of_many(ledger: Ledger) -> None:
    rnd = random.Random(7)
    model: dict[int, tuple[int, int]] = {}
    for _ in range(500):
        slot = rnd.choice([rnd.randrange(300), rnd.randrange(SLOTS)])
        model[slot] = (rnd.randrange(1 << 40), rnd.randrange(1 << 40))
        ledger.set(slot, *model[slot])
    assert ledger.total() == sum(used for used, _ in model.values())
    assert ledger.resident() == sum(resident for _, resident in model.values())


@pytest.mark.parametrize("slot", [-1, SLOTS, 1 << 40])
def test_a_slot_that_does_not_exist(ledger: Ledger, slot: int) -> None:
    with pytest.raises(ValueError, match=rf"slot {slot} is not in 0\.\.65535: too many processes"):
        ledger.set(slot, 1)


def test_attaching_something_else(tmp_path: object) -> None:
    fd = os.open(os.path.join(str(tmp_path), "x"), os.O_RDWR | os.O_CREAT)
    with pytest.raises(ValueError, match="isn't a ledger: 0 bytes instead of"):
        Ledger.attach(fd)
    os.close(fd)


def test_two_mappings_of_one_book(ledger: Ledger) -> None:
    other = Ledger.attach(os.dup(ledger.fd))
    ledger.set(3, 30)
    other.set(4, 40)
    assert (ledger.total(), other.total()) == (70, 70)
    other.close()
    assert ledger.get(4) == 40


WRITER = """
import os, sys
from raynb.store.pages.ledger import Ledger
book, slot = Ledger.attach(int(sys.argv[1])), int(sys.argv[2])
for n in range(20_000):
    book.set(slot, 1_000_003 if n % 2 else 0x7F00FF00FF00FF, n)
book.set(slot, slot, slot)
"""


def test_processes_write_at_once_and_nothing_is_torn(ledger: Ledger) -> None:
    slots = (1, 2, 200)
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(ledger.fd), str(slot)], pass_fds=[ledger.fd])
        for slot in slots
    ]
    seen = set()
    while any(child.poll() is None for child in children):
        seen.update(ledger.get(slot) for slot in slots)
    assert [child.returncode for child in children] == [0, 0, 0]
    assert seen <= {0, 1_000_003, 0x7F00FF00FF00FF, *slots}
    assert ledger.total() == ledger.resident() == sum(slots)
