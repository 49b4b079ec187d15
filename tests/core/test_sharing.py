"""What a runtime may use beside others: slots, and memory for its store."""

from __future__ import annotations

import pytest

from raynb.base.rows import KernelRow
from raynb.core.scheduling import sharing
from raynb.core.vocabulary import events as e
from tests.core.clockwork import Clockwork


def rows(*facts: tuple[float, float, bool, str]) -> list[KernelRow]:
    """Returns runtimes of (slots, wanted, whether somebody chose them, share), the first one the oldest."""
    return [
        KernelRow(f"{i}", i, float(i), cpus=base, base=base, chosen=chosen, share=share, wanted=wanted)
        for i, (base, wanted, chosen, share) in enumerate(facts)
    ]


def usable(found: list[KernelRow], cores: int) -> list[int]:
    return [sharing.usable(row, [one for one in found if one is not row], cores) for row in found]


CHOSEN, DEFAULT = (True, "fair"), (False, "fair")


@pytest.mark.parametrize(
    ("facts", "cores", "expected"),
    [
        ([(2.5, 9, True, "off")], 8, [2]),  # alone, and not sharing: its own
        ([(2, 9, *CHOSEN)], 8, [2]),  # nobody to borrow from
        ([(4, 0, *CHOSEN), (4, 99, *CHOSEN)], 8, [4, 8]),  # an idle one's slots are used, and stay its own
        ([(4, 3, *CHOSEN), (4, 99, *CHOSEN)], 8, [4, 5]),
        ([(4, 99, *CHOSEN), (4, 99, *CHOSEN)], 8, [4, 4]),  # given back when it has work
        ([(4, 0, *CHOSEN), (4, 99, *CHOSEN), (4, 99, *CHOSEN)], 8, [4, 6, 6]),  # equal parts
        ([(4, 0, *CHOSEN), (4, 5, *CHOSEN), (4, 99, *CHOSEN)], 8, [4, 5, 7]),
        ([(8, 99, *DEFAULT), (8, 99, *DEFAULT)], 8, [4, 4]),  # nobody has asked: the cores once for all
        ([(8, 0, *DEFAULT), (8, 99, *DEFAULT)], 8, [4, 8]),
        ([(3, 99, *DEFAULT), (3, 99, *DEFAULT)], 3, [2, 1]),  # the rest goes to the older one
        ([(1, 99, *DEFAULT), (1, 99, *DEFAULT)], 1, [1, 1]),  # never none
        ([(4, 0, True, "off"), (4, 99, *CHOSEN)], 8, [4, 4]),  # who does not share lends nothing
        ([(2, 1.5, *CHOSEN), (2, 2.5, *CHOSEN)], 8, [2, 2]),  # half a slot is no slot to lend
    ],
)
def test_slots_beside_others(facts: list[tuple[float, float, bool, str]], cores: int, expected: list[int]) -> None:
    found = rows(*facts)
    assert usable(found, cores) == expected
    assert usable(found[::-1], cores) == expected[::-1]  # whoever computes it


def test_what_others_promise_to_their_stores_is_not_offered_again() -> None:
    others = [KernelRow("a", store=40, store_used=10), KernelRow("b", store=20, store_used=20)]
    assert sharing.memory_left(100, others) == 70  # what they hold is missing from the 100 already
    assert sharing.memory_left(20, others) == 0


def test_what_a_runtime_wants_is_what_could_run_at_once() -> None:
    clock = Clockwork()
    tasks = [clock.submit()[0] for _ in range(5)]
    assert sharing.wanted(clock.machine) == 5
    clock.dispatch(e.CpusChanged, 10_000)  # two run and one may: still five that could
    assert sharing.wanted(clock.machine) == 5
    while running := [task for task in tasks if clock.state(task) == "RUNNING"]:
        clock.finish(clock.machine.tasks.table[running[0]].worker, running[0])
    assert sharing.wanted(clock.machine) == 0
