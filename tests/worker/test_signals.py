"""Signals that a worker holds until the user's code runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.worker import user_code
from raynb.worker.signals import CANCEL, Signals

ONE = signal.SIGUSR1


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in (ONE, signal.SIGINT, CANCEL)}
    worker: Any = SimpleNamespace(link=SimpleNamespace(wake_main=lambda: None, nudge=lambda: None))
    made = Signals(worker)
    made.install()
    yield made
    signal.signal, signal.getsignal = made._set, made._get
    for number, handler in before.items():
        signal.signal(number, handler)


def look_again(signals: Signals) -> None:
    """The control thread has the main thread look, which runs the user's code."""
    thread = threading.Thread(target=signals.again)

    def users() -> None:
        thread.start()
        thread.join(60)

    user_code.call(users)


def test_a_held_signal_is_handled_once_and_never_by_the_system(signals: Signals) -> None:
    seen: list[int] = []
    signal.signal(ONE, lambda number, frame: seen.append(number))
    signal.raise_signal(ONE)  # no code of the user's runs
    assert (seen, list(signals.held)) == ([], [ONE])
    look_again(signals)
    assert (seen, signals.pending) == ([ONE], False)
    signal.raise_signal(ONE)
    signal.signal(ONE, signal.SIG_DFL)  # which would end this process
    look_again(signals)
    assert (seen, signals.pending) == ([ONE], False)
