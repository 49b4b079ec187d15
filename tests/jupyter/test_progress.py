"""Bars: what is counted, what the last text says, how times are written."""

from __future__ import annotations

import pytest

from raynb.jupyter.formatting import format_seconds
from raynb.jupyter.progress.bar import Count, line_bundle


def test_a_bar_that_ends_early_says_so() -> None:
    count = Count(6, began=0.0, done=2)
    assert count.text(4.0) == "2/6 · 0.5/s · 8.0 s left"
    assert count.text(4.0, "interrupted") == "2/6 · 0.5/s · interrupted after 4.0 s"
    assert Count(6, began=0.0).text(8.2, "interrupted") == "0/6 · interrupted after 8.2 s"
    assert Count(2, began=0.0, done=1, failed=1).text(2.0, "stopped") == "2/2 · 1/s · 1 failed · took 2.0 s"


def test_a_bar_is_red_where_some_failed() -> None:
    assert "accent-color:#d32f2f" in line_bundle("1/2", 0.5, "", failed=True)["data"]["text/html"]
    assert "accent-color" not in line_bundle("1/2", 0.5, "")["data"]["text/html"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.00002, "20 µs"), (0.0024, "2.4 ms"), (0.0123, "12 ms"), (0.5, "500 ms"), (4.2, "4.2 s"),
     (42, "42 s"), (60, "1 min"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_times_are_written_as_the_views_write_them(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words
