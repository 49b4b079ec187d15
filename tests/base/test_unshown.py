"""Results that wait for the output before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import pytest

from raynb.base import unshown


class Stuck:
    """A screen that keeps what is to be done after its output."""

    def __init__(self) -> None:
        self.steps = 0
        self.actions: list[Callable[[], None]] = []

    def show(self, asked: Sequence[int] = ()) -> None: ...

    def after(self, action: Callable[[], None], asked: Sequence[int] = ()) -> None:
        self.actions.append(action)

    def progress(self) -> object:
        return self.steps


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    made = Stuck()
    monkeypatch.setattr(unshown, "_screens", (made,))
    monkeypatch.setattr(unshown, "pending", True)
    monkeypatch.setattr(unshown, "_lost_at", None)
    unshown._kept_back.clear()
    unshown.look(0.0)
    return made


def test_a_result_waits_for_a_stream_as_long_as_that_gets_on(screen: Stuck) -> None:
    """The stream may want a lock of the thread that waits in ``future.result()``."""
    ran: list[str] = []
    unshown.then(lambda: ran.append("first"))
    for now in range(0, 60, 4):
        screen.steps += 1
        unshown.look(float(now))
    assert not ran
    unshown.look(62.0)
    assert ran == ["first"]
    screen.actions.pop()()  # the stream has got on after all
    assert ran == ["first"]


def test_patience_is_lost_once_and_comes_back_when_the_stream_gets_on(screen: Stuck) -> None:
    ran: list[str] = []
    unshown.then(lambda: ran.append("first"))
    unshown.look(1.0)
    unshown.look(7.0)
    unshown.look(8.0)
    unshown.then(lambda: ran.append("second"))
    unshown.look(8.1)
    assert ran == ["first", "second"]
    screen.steps += 1
    unshown.then(lambda: ran.append("third"))
    unshown.look(100.0)
    assert ran == ["first", "second"]
    screen.actions.pop()()
    assert ran == ["first", "second", "third"]
    unshown.look(200.0)
    assert not unshown._kept_back


def test_another_thread_may_drop_what_has_run_while_one_looks(screen: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    class Raced(deque[list[Callable[[], None]]]):
        def __bool__(self) -> bool:
            full = len(self) > 0
            if looked and full:  # the other thread runs it, and drops it, just now
                unshown._run(self[0])
                self.popleft()
            return full

    class Told(Stuck):
        def progress(self) -> object:
            looked.append(True)
            return 0

    looked: list[bool] = []
    ran: list[str] = []
    monkeypatch.setattr(unshown, "_kept_back", Raced())
    unshown.then(lambda: ran.append("first"))
    monkeypatch.setattr(unshown, "_screens", (Told(),))
    monkeypatch.setattr(unshown, "_lost_at", [0])
    unshown.look(0.0)
    assert ran == ["first"]
    assert not len(unshown._kept_back)
