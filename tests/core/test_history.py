"""What changed since a version, and when that is too much to tell."""

from __future__ import annotations

from raynb.core import history
from raynb.core.history import History


def test_each_id_that_changed_is_named_once() -> None:
    told = History(kept=10)
    for number in range(6):
        told.note(float(number), "task" if number % 2 else "object", number // 4, "x")
    assert told.changed_since(3) == {"task": {0, 1}, "object": {1}}
    assert told.changed_since(6) == {}
    assert told.changed_since(1 << 60) == {}
    assert told.changed_since(0) == {"task": {0, 1}, "object": {0, 1}}


def test_too_much_or_too_long_ago_is_not_told() -> None:
    told = History(kept=10)
    for number in range(history.MOST_CHANGES + 1):
        told.note(0.0, "task", number, "x")
    assert told.changed_since(0) is None
    assert len((told.changed_since(1) or {})["task"]) == history.MOST_CHANGES
    for number in range(history.RING):
        told.note(0.0, "task", number, "x")
    assert told.changed_since(5) is None
