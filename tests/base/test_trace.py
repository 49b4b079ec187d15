"""Errors that were survived are logged, by a thread that nobody waits for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from raynb.base.process import trace
from raynb.testing.leaks import until


class Handler(logging.Handler):
    """Wants a lock, and raises what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = threading.RLock()
        self.records: list[tuple[int, str, str]] = []
        self.error: BaseException | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("here"):
            return False  # of another test
        with self.wanted:
            self.records.append((record.levelno, record.getMessage(), threading.current_thread().name))
            if self.error is not None:
                raise self.error
        return True


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    trace.log.addHandler(handler)
    yield handler
    trace.log.removeHandler(handler)


def test_a_handler_that_wants_a_lock_of_who_logs_stops_nobody(handler: Handler) -> None:
    with handler.wanted:
        for number in range(3):
            trace.swallowed(f"here {number}", ValueError("odd"))
        trace.swallowed("here, which nobody wants to know", ValueError("odd"), logging.DEBUG)
        assert {"here 0", "here 2"} <= {error.where for error in list(trace.ring)}
        assert not handler.records
    assert until(lambda: len(handler.records) == 3)
    assert handler.records == [(logging.WARNING, f"here {number}: ValueError: odd", "raynb-log") for number in range(3)]


@pytest.mark.parametrize("error", [ZeroDivisionError("its own"), SystemExit(1)])
def test_a_handler_that_raises_stops_nobody_and_is_told(handler: Handler, error: BaseException) -> None:
    handler.error = error
    trace.swallowed("here", ValueError("odd"))
    said = f"{type(error).__name__} of a handler or filter"
    assert until(lambda: said in [kept.error for kept in list(trace.ring)])
    handler.error = None
    trace.swallowed("here again", ValueError("odd"))
    assert until(lambda: len(handler.records) == 2)


def test_a_handler_that_takes_nothing_is_not_waited_for_with_all_errors_in_hand(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert until(lambda: not trace._unlogged)
    monkeypatch.setattr(trace, "MAX_UNLOGGED", 5)
    with handler.wanted:
        for number in range(20):
            trace.swallowed(f"here {number}", ValueError("odd"))
        assert len(trace._unlogged) <= 5
        assert "here 19" in {error.where for error in list(trace.ring)}
    assert until(lambda: len(handler.records) >= 5)
    assert handler.records[0][1].startswith("here 0:")


def test_where_no_thread_or_lock_can_be_made_an_error_is_logged_with_the_next_one(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert until(lambda: not trace._unlogged and trace._thread is None)
    for error in (RuntimeError("can't allocate lock"), MemoryError()):
        with monkeypatch.context() as short:
            short.setattr(trace.threading, "Thread", Mock(side_effect=error))
            trace.swallowed("here first", ValueError("odd"))
    trace.swallowed("here then", ValueError("odd"))
    assert until(lambda: len(handler.records) == 3)
