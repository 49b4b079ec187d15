"""`CausalOrder`: reports of several workers, in the order of their causes."""

from __future__ import annotations

import random
from typing import Any

from raynb.engine.causal import AFTER, CausalOrder


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.order = CausalOrder(lambda reporter, events, about: self.heard.extend(one[1] for one in events), 5.0)


def test_a_nested_task_speaks_between_what_its_caller_says() -> None:
    one = Listener()
    # The inner task's report arrives first, then the rest of the outer's, then its beginning, late.
    one.order.add("inner", 0, [(AFTER, "outer", 1), ("out", "inside")], None, 0.0)
    assert one.heard == []
    one.order.add("outer", 0, [("out", "before"), (AFTER, "inner", 2), ("out", "after")], None, 0.1)
    assert one.heard == ["before", "inside", "after"]
    assert one.order.has(("outer", 3))
    assert not one.order.has(("outer", 4))
    assert one.order.has(None)


def test_every_arrival_of_two_that_call_each_other_gives_one_order() -> None:
    a = [("out", 1), (AFTER, "b", 2), ("out", 3), (AFTER, "b", 4), ("out", 5)]
    b = [(AFTER, "a", 1), ("out", 2), (AFTER, "a", 3), ("out", 4)]
    rng = random.Random(1)
    for _ in range(50):
        one = Listener()
        rows = {"a": a, "b": b}
        done = {"a": 0, "b": 0}
        while rows:
            name = rng.choice(sorted(rows))
            count = rng.randint(1, len(rows[name]))
            one.order.add(name, done[name], rows[name][:count], None, 0.0)
            done[name] += count
            rows[name] = rows[name][count:]
            if not rows[name]:
                del rows[name]
        assert one.heard == [1, 2, 3, 4, 5]


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    one = Listener()
    one.order.add("a", 0, [("out", 1), (AFTER, "gone", 7), ("out", 2)], None, 0.0)
    one.order.add("a", 3, [("out", 3)], None, 1.0)
    one.order.look(4.9)
    assert one.heard == [1]
    one.order.look(5.0)
    assert one.heard == [1, 2, 3]
    one.order.add("b", 0, [(AFTER, "gone", 7), ("out", 4)], None, 6.0)
    one.order.give_up()
    assert one.heard == [1, 2, 3, 4]


def test_a_batch_that_was_lost_leaves_a_gap_and_one_said_again_is_taken_once() -> None:
    one = Listener()
    one.order.add("a", 0, [("out", 1)], None, 0.0)
    one.order.add("a", 0, [("out", 1)], None, 0.0)
    one.order.add("a", 5, [("out", 6)], None, 0.0)
    assert one.heard == [1, 6]
    assert one.order.has(("a", 6))
