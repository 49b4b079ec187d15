"""A Ctrl-C where Python would print and lose its exception comes a moment later instead."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from raynb.base import interrupts
from raynb.testing.leaks import until


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    with interrupts.Critical():
        pass  # the handler is put in the place of Python's at the first critical section
    yield
    interrupts.restore()


def wait_for_the_interrupt() -> None:
    while True:
        time.sleep(0.01)  # not `Event.wait`: one that falls in there may come out as a RuntimeError of its lock


def test_in_a_callback_of_the_garbage_collector() -> None:
    sent = []

    def callback(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and not sent:
            sent.append(1)
            signal.raise_signal(signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            gc.callbacks.append(callback)  # inside: from here on any allocation may call it
            gc.collect()
            wait_for_the_interrupt()
    finally:
        gc.callbacks.remove(callback)
    assert sent


def test_in_what_a_weak_collection_does_when_an_item_dies() -> None:
    class Item:
        pass

    class Interrupted(set):  # type: ignore[type-arg]
        def discard(self, item: object) -> None:
            signal.raise_signal(signal.SIGINT)  # a function called from the callback
            super().discard(item)

    collection: weakref.WeakSet[Item] = weakref.WeakSet()
    collection.data = Interrupted()  # type: ignore[attr-defined]
    item = Item()
    collection.add(item)
    with pytest.raises(KeyboardInterrupt):
        del item
        wait_for_the_interrupt()
    assert not collection.data  # type: ignore[attr-defined]


def test_the_collector_can_be_turned_on_again_after_the_runtime_in_which_it_was_turned_off() -> None:
    interrupts.share_collector()
    try:
        gc.disable()
        interrupts.restore()
        gc.enable()
        with interrupts.Critical():  # others than the runtime have such locks
            assert not interrupts._gc_isenabled()
        assert gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_pauses_in_critical_sections_and_stays_as_the_user_sets_it() -> None:
    """A destructor that waits for whoever waits for raynb would wait for ever there."""
    interrupts.share_collector()
    one, other = interrupts.Critical(), interrupts.Critical()
    really = interrupts._gc_isenabled
    try:
        with one:
            assert not really()
            with other:
                assert gc.isenabled()
            assert not really()
            gc.disable()
            assert not gc.isenabled()
        assert not gc.isenabled()
        assert not really()
        with one:
            gc.enable()
            assert gc.isenabled()
            assert not really()
        assert really()
        with one:
            interrupts.resume_collector()  # as a runtime does that breaks down, and a fork
            assert really()
        with one:
            assert not really()
        assert really()
    finally:
        interrupts.resume_collector()
        gc.enable()


def test_the_collector_pauses_while_a_thread_waits_to_enter() -> None:
    """Python 3.12 would collect just after it has got the lock: others make objects while it waits."""
    interrupts.share_collector()
    one = interrupts.Critical()
    entered = threading.Event()

    def enter() -> None:
        with one:
            entered.set()

    one.acquire_raw()
    thread = threading.Thread(target=enter)
    try:
        assert until(interrupts._gc_isenabled)
        thread.start()
        assert until(lambda: not interrupts._gc_isenabled())
        assert not entered.is_set()
    finally:
        one.release_raw()
        thread.join(60)
    assert entered.is_set()
    assert until(interrupts._gc_isenabled)


@pytest.mark.parametrize("patience", [None, 60.0])
def test_while_a_thread_has_its_turn_the_collector_goes_on_and_ctrl_c_ends_a_wait_for_it(patience: Any) -> None:
    turn = interrupts.Turn()
    begun, go_on, refused = threading.Event(), threading.Event(), []
    main = threading.get_ident()

    def block() -> None:
        refused.append(turn.take(wait_for_the_interrupt))
        begun.set()
        go_on.wait(60)

    def press() -> None:
        frame = None
        while frame is None:  # it may be pressed just before the wait begins
            frame = sys._current_frames()[main]
            while frame is not None and frame.f_code is not interrupts.Turn.take.__code__:
                frame = frame.f_back
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=lambda: turn.take(block))
    thread.start()
    try:
        assert begun.wait(60)
        assert until(interrupts._gc_isenabled)
        pressing = threading.Thread(target=press, daemon=True)
        with pytest.raises(KeyboardInterrupt):
            pressing.start()
            turn.take(lambda: None, patience)
        pressing.join(60)
        assert not turn.take(lambda: None, 0.0)
    finally:
        go_on.set()
        thread.join(60)
    assert refused == [False]  # the thread that has it
    assert not turn.is_taken()
    assert turn.take(lambda: None, patience)
    with pytest.raises(ZeroDivisionError):
        turn.take(lambda: 1 // 0, patience)
    assert not turn.is_taken()


@pytest.mark.parametrize("patience", [None, 60.0])
def test_a_handler_that_wants_the_turn_its_thread_has_just_got_is_refused(patience: Any) -> None:
    """It prints, say, in the moment between having the lock and saying so."""
    turn = interrupts.Turn()
    real, refused, worked = turn._lock, [], []

    class Lock:
        release, locked, __exit__ = real.release, real.locked, real.__exit__

        def acquire(self, *how: Any) -> bool:
            got = real.acquire(*how)
            signal.raise_signal(signal.SIGUSR1)
            return got

    def handler(number: int, frame: object) -> None:
        refused.append((turn.take(lambda: None, patience), turn.is_mine()))

    turn._lock = Lock()  # type: ignore[assignment]
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert turn.take(lambda: worked.append(1), patience)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert refused == [(False, True)]
    assert worked == [1]
    assert not turn.is_taken()
    assert not turn.is_mine()


@pytest.mark.parametrize("how", [sys.settrace, sys.setprofile])
def test_what_a_trace_function_raises_in_a_turn_leaves_it_free(how: Any) -> None:
    """At whatever step, the last ones included. In a thread of its own: pytest may trace this one."""
    inside = {interrupts.Turn.take.__code__, interrupts.Turn._take.__code__}
    turn = interrupts.Turn()
    outcomes: list[str] = []

    def strike_at(step: int) -> str:
        left = step

        def strike(frame: Any, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code in inside:
                left -= 1
                if left < 0:
                    raise ZeroDivisionError
            return strike

        how(strike)
        try:
            turn.take(list)
        except ZeroDivisionError:
            return "struck"
        finally:
            how(None)
        return "through"

    def run() -> None:
        while outcomes[-1:] != ["through"]:
            outcomes.append(strike_at(len(outcomes)))
            if turn.is_mine() or turn.is_taken() or not turn.take(list):
                outcomes.append("kept")
                return

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert set(outcomes[:-1]) == {"struck"}
    assert outcomes[-1] == "through"
