"""What the card says runs here."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import raynb
from raynb.base import engine as engines
from raynb.base.config import Config
from raynb.jupyter.config import Raynb
from raynb.jupyter.reports.card import Card

from .fake_engine import FakeEngine
from .pictures import small


def card(starting: Any = None, **settings: Any) -> str:
    return repr(Card(SimpleNamespace(config=Raynb(**settings), starting=starting, start_error=None)))  # type: ignore[arg-type]


@pytest.fixture
def shown_engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Stands for a running engine."""
    engine = FakeEngine(small())
    monkeypatch.setattr(engines, "peek", lambda: engine)
    return engine


def test_nothing_runs_yet() -> None:
    assert "this machine, embedded; stopped; start it with %raynb start" in card()
    assert "this machine, embedded; starting" in card(starting=threading.current_thread(), address="local")
    assert "3 CPU slots" in card(num_cpus=3)
    one = card(address="ray://head:10001")
    assert "Ray cluster at ray://head:10001" in one
    assert "slots" not in one, "nobody has asked the cluster yet"
    assert "shared memory" not in one


def test_local_mode_is_the_kernel_itself() -> None:
    raynb.init(local_mode=True)
    try:
        text = card()  # started by hand: the settings know nothing of it
    finally:
        raynb.shutdown()
    assert "this kernel itself (local mode); running" in text
    assert "none: tasks run at once" in text
    assert "shared memory" not in text


def test_a_cluster_says_what_auto_has_found(shown_engine: Any) -> None:
    shown_engine.config = Config(address="auto")
    shown_engine.address = "10.0.0.7:6379"
    text = card()
    assert "Ray cluster at 10.0.0.7:6379 (auto); running" in text
    assert "2 CPU slots" in text
    assert "shared memory" not in text
    shown_engine.picture = replace(shown_engine.picture, total={})
    assert "slots" not in card(), "the cluster has not answered yet"


def test_what_runs_counts_more_than_what_is_set(shown_engine: Any) -> None:
    shown_engine.config = Config()
    text = card(address="auto")
    assert "this machine, embedded; running" in text
    assert "shared memory" in text
