"""A ref's end: noted in C, once, whatever Python is in the middle of."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from types import FrameType
from typing import Any

import pytest

from raynb.base.ref import (
    BATCH_MAX_REFS,
    BATCH_MIN_REFS,
    ObjectRef,
    OwnRef,
    UncountedRef,
    changes_in,
    counted,
    logged_in,
    taken_from,
)
from raynb.jupyter.output.shown import ShownRef


class Engine:
    nonce = 7

    def __init__(self) -> None:
        self.ref_log: deque[Any] = deque()
        self.new_ref: type[OwnRef[Any]] = logged_in(self.ref_log)

    def ref(self, number: int) -> Any:
        return self.new_ref(number, self)  # type: ignore[arg-type]


def test_a_ref_that_goes_is_noted_once_and_in_order() -> None:
    engine, other = Engine(), Engine()
    refs = [engine.ref(number) for number in range(5)]
    del refs[3]
    engine.ref_log.append(~9)
    foreign = other.ref(3)
    refs.clear()
    assert changes_in(engine.ref_log, 2) == ([], [3, ~9])
    assert sorted(taken_from(engine.ref_log)) == [0, 1, 2, 4]
    gc.collect()
    assert not engine.ref_log  # those that the log had are gone, and are not noted again
    del foreign
    assert taken_from(other.ref_log) == [3]


def test_a_ref_whose_making_was_interrupted_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    first = engine.ref(1)

    def struck(self: Any, object_id: int, engine: Any) -> None:
        raise TimeoutError  # of a handler of the user's

    with monkeypatch.context() as patch:
        patch.setattr(engine.new_ref, "__init__", struck)
        with pytest.raises(TimeoutError):
            engine.ref(2)
    engine.ref_log.append(~9)
    del first
    assert taken_from(engine.ref_log) == [~9, 1]


@pytest.mark.parametrize("count", [3, BATCH_MIN_REFS])
def test_refs_are_counted_and_made_or_neither_whatever_step_an_exception_falls_into(count: int) -> None:
    engine = Engine()
    wanted = list(range(1, count + 1))
    before, step, steps, refs = sys.gettrace(), 0, 0, []

    def strike(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal step
        if frame.f_code is not counted.__code__:
            return None
        frame.f_trace_opcodes = True
        step -= 1
        if not step:
            raise TimeoutError  # of a handler of the user's
        return strike

    while not refs:
        steps += 1
        step = steps
        sys.settrace(strike)
        try:
            refs = counted(wanted, engine)  # type: ignore[arg-type]
        except TimeoutError:
            pass
        finally:
            sys.settrace(before)
        if not refs:
            changes = taken_from(engine.ref_log)
            assert sorted(~change for change in changes if change < 0) == sorted(one for one in changes if one >= 0)
    assert steps > 20
    assert [ref._id for ref in refs] == wanted
    assert taken_from(engine.ref_log) == [~one for one in wanted]
    del refs
    assert sorted(taken_from(engine.ref_log)) == wanted


@pytest.mark.parametrize("count", [BATCH_MIN_REFS - 1, BATCH_MIN_REFS, BATCH_MAX_REFS, BATCH_MAX_REFS + 1])
def test_refs_that_come_together_are_one_entry_of_the_log_unless_they_are_few_or_very_many(count: int) -> None:
    engine = Engine()
    before = engine.ref(count)
    wanted = list(range(count))
    refs = counted(wanted, engine)  # type: ignore[arg-type]
    batch = BATCH_MIN_REFS <= count <= BATCH_MAX_REFS
    del before
    assert len(engine.ref_log) == (2 if batch else count + 1)
    came, changes = changes_in(engine.ref_log)
    assert came == ([tuple(wanted)] if batch else [])
    assert changes == ([] if batch else [~one for one in wanted]) + [count]
    assert not engine.ref_log
    del refs


def test_batches_between_other_changes_come_first_and_nothing_is_lost() -> None:
    engine = Engine()
    many = list(range(BATCH_MIN_REFS))
    first, second = engine.ref(100), engine.ref(101)
    del first
    refs = counted(many, engine)  # type: ignore[arg-type]
    refs.clear()
    engine.ref_log.append(~9)
    refs = counted(many, engine)  # type: ignore[arg-type]
    del second
    assert changes_in(engine.ref_log) == ([tuple(many), tuple(many)], [100, *reversed(many), ~9, 101])
    assert not engine.ref_log
    del refs
    assert taken_from(engine.ref_log) == list(reversed(many))


def test_a_ref_in_a_cycle_is_noted_once() -> None:
    engine = Engine()
    cycle: list[Any] = [engine.ref(5)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert taken_from(engine.ref_log) == [5]
    gc.collect()
    assert not engine.ref_log


def test_nobody_gets_hold_of_a_ref_that_has_gone() -> None:
    with pytest.raises(TypeError, match="weak reference"):
        weakref.ref(Engine().ref(1))


def test_a_ref_looks_as_users_know_it() -> None:
    ref = Engine().ref(1)
    assert isinstance(ref, ObjectRef)
    assert type(ref).__name__ == type(ref).__qualname__ == "ObjectRef"
    assert type(ref).__doc__ == ObjectRef.__doc__


@pytest.mark.parametrize("kind", [UncountedRef, ShownRef])
def test_what_was_not_counted_is_not_taken_back(kind: Any) -> None:
    engine = Engine()
    ref = kind(1, engine)
    assert ref._id == 1
    del ref
    gc.collect()
    assert not engine.ref_log


def test_an_engine_that_nobody_holds_goes_with_its_refs_and_its_log() -> None:
    engine = Engine()
    watch = weakref.ref(engine)
    kept = [engine.ref(1), engine.ref(2)]
    del kept[0]
    del engine, kept
    gc.collect()
    gc.collect()
    assert watch() is None


def test_a_log_that_is_read_again_while_it_is_read_gives_each_change_once() -> None:
    # A collection or a handler may run what reads it (the inline engine's lock is one that its thread takes again).
    class Log(deque[Any]):
        within: list[int] | None = None

        def __len__(self) -> int:
            length = super().__len__()
            if self.within is None:
                self.within = []
                self.within = taken_from(self)
                self.append(8)  # and one more has gone since
            return length

    log = Log([1, ~2, 3])
    changes = taken_from(log)
    assert log.within == [1, ~2, 3]
    assert changes == [8]
    assert not list(log)
