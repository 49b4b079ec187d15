"""Which breakpoints a cell is told of, and what %debug says where no frames are left."""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base.rows import Breakpoint
from raynb.exceptions import ActorDiedError, RayError, RayTaskError
from raynb.jupyter.inspection import post_mortem
from raynb.jupyter.inspection.post_mortem import PostMortems
from raynb.jupyter.inspection.prompt import Breakpoints
from raynb.jupyter.progress.waits import Waits

POINT = Breakpoint(1, 1, 7, 1, "task", "file.py", 3, "task", 0.0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Breakpoints, "_place", lambda self, point: "In[3]")
    return []


@pytest.fixture
def breakpoints(shown: list[str]) -> Breakpoints:
    notebook: Any = SimpleNamespace(
        cells=SimpleNamespace(running=lambda: None), waits=None,
        router=SimpleNamespace(cell=lambda scope: None, show_text=lambda scope, stream, text: shown.append(text)),
    )  # fmt: skip
    return Breakpoints(notebook)


def test_a_new_runtime_counts_its_sessions_from_one_again(breakpoints: Breakpoints, shown: list[str]) -> None:
    for _ in range(2):
        breakpoints.paused(POINT)
        breakpoints.look()  # it is told of once
        breakpoints.engine_changed(None)
    assert len(shown) == 2
    assert "waits at a breakpoint, In[3]; `%raynb debug` opens it" in shown[0]


def test_a_task_that_was_let_go_stops_on_no_other_worker(
    breakpoints: Breakpoints, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(Breakpoints, "_command", lambda self, point, what: said.append((point.worker, what)))
    breakpoints._let_go.add(POINT.task)
    breakpoints.paused(replace(POINT, worker=2))  # where it is tried again
    assert said == [(2, "release")]
    assert not shown


def test_after_a_cells_end_it_is_looked_once_more_whether_a_task_has_stopped() -> None:
    looked = threading.Event()
    ended: Any = SimpleNamespace(
        cells=SimpleNamespace(running=lambda: None), breakpoints=SimpleNamespace(look=looked.set)
    )
    waits = Waits(ended)
    thread = threading.Thread(target=waits._serve, daemon=True)
    thread.start()
    waits._cell_begins(None)  # it was over before the thread has looked
    assert looked.wait(60)
    waits._stopped = True
    waits._cell_begins(None)
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("constructor", "remedy"),
    [(False, "Run the cell again and then %debug"), (True, "breakpoint() into the constructor")],
)
def test_of_frames_that_are_gone_it_is_said_why_and_what_to_do(
    constructor: bool, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(post_mortem, "_can_ask", lambda: True)
    monkeypatch.setattr(PostMortems, "_enter", lambda self, failure, where: False)  # no worker has them
    notebook: Any = SimpleNamespace()
    debugs, own = PostMortems(notebook), list[str]()
    debugs._debug = own.append
    failed = RayTaskError("work", "", ZeroDivisionError(), pid=1, task_id="07")
    error: RayError = failed
    if constructor:
        error = ActorDiedError(failed)
        error.__cause__ = failed
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    debugs.debug("")
    assert re.search(f"{re.escape(remedy)}.*; here are the notebook's own frames", capsys.readouterr().out)
    assert own == [""]  # IPython's
    debugs._failed(3, error)  # a cell has shown it
    debugs.debug("")
    assert remedy in capsys.readouterr().out
    assert own == [""]
