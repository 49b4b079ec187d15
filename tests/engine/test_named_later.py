"""Calls that went out without their number."""

from __future__ import annotations

import threading

from raynb.engine.named_later import MAX_OVER, NamedLater


def test_a_call_is_known_while_it_runs_and_for_a_while_afterwards() -> None:
    table = NamedLater()
    for number in range(-1, -MAX_OVER - 3, -1):
        table.add(number, -number, 7)
        assert table.find(number) == (-number, 7)
        assert table.number_of(number) == table.number_of(-number) == -number
        table.over(number)
    assert len(table) == MAX_OVER
    assert (table.find(-1), table.find(-3)) == ((0, 0), (3, 7))
    table.over(-1)  # unknown by now


def test_whoever_asks_too_early_waits_for_the_submission() -> None:
    table = NamedLater()
    found = []
    asks = threading.Thread(target=lambda: found.append(table.find(-5)))
    with table.lock:
        asks.start()
        table.add(-5, 50, 1)
    asks.join()
    assert found == [(50, 1)]
