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


def test_the_end_of_the_ring_can_be_read_without_its_beginning() -> None:
    told = History(kept=10)
    told.note(1.0, "object", 7, "x")
    for number in range(history.RING + 10):  # one event after the other of the same kind and time
        told.add(1.0, history.FREED, number)
    assert told.changed_since(told.version - 2) == {"object": {history.RING + 8, history.RING + 9}}
    assert told.story(history.RING + 9) == [(1.0, "object freed")]
    assert told.story(7) == []


def test_a_story_has_times_and_what_happened_in_order() -> None:
    told = History(kept=10)
    told.add(1.0, history.SUBMITTED, 5)
    told.add(1.0, history.MOVED["RUNNING"], 5)
    told.add(2.0, history.MOVED["RUNNING"], 6)
    told.note(2.5, "task", 5, "retry 1: why")
    told.add(2.5, history.MOVED["FINISHED"], 5)
    assert told.story(5) == [
        (1.0, "task submitted"), (1.0, "task RUNNING"), (2.5, "task retry 1: why"), (2.5, "task FINISHED"),
    ]  # fmt: skip
    assert told.story(6) == [(2.0, "task RUNNING")]
