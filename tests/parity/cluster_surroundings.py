"""Checks on a real Ray cluster: surroundings, ends and failures of tasks. Run by `cluster_checks.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from cluster_tools import WAIT, In, check, printed, raised, until

import raynb
from raynb.api.surroundings import marked, packed
from raynb.base.process import surroundings


@check
def surroundings_follow_to_rays_workers() -> None:
    @raynb.remote
    def around() -> Any:
        return os.environ.get("FOLLOWS"), "/from/the/notebook" in sys.path

    @raynb.remote
    class Around:
        def look(self) -> Any:
            return os.environ.get("FOLLOWS")

    def holding(value: str) -> surroundings.Mark:
        return marked({"path": packed([*sys.path, "/from/the/notebook"]), "env": packed({"FOLLOWS": value})})

    now = [holding("one")]
    surroundings.look = lambda engine: now[0]
    try:
        first, actor = around.remote(), Around.remote()
        now[0] = holding("two")
        assert raynb.get([first, around.remote()], timeout=WAIT) == [("one", True), ("two", True)]
        assert raynb.get(actor.look.remote(), timeout=WAIT) == "one"
        now[0] = marked({"env": packed({"FOLLOWS": None})})
        assert raynb.get(around.remote(), timeout=WAIT)[0] is None
    finally:
        surroundings.look = None


@check
def a_task_that_exits_by_itself_is_not_tried_again() -> None:
    tried = tempfile.mktemp()

    @raynb.remote(max_retries=3)
    def leave() -> None:
        with open(tried, "a") as file:
            file.write("x")
        sys.exit(3)

    error = raised(lambda: raynb.get(leave.remote(), timeout=WAIT))
    assert isinstance(error, raynb.exceptions.WorkerCrashedError), error
    assert "sys.exit(3)" in str(error)
    with open(tried) as file:
        assert file.read() == "x"


@check
def a_failure_that_nobody_asks_about_is_told_once_in_its_cell() -> None:
    @raynb.remote
    def fails(text: str) -> None:
        raise ValueError(text)

    with In(14):
        for text in ("caught", "future"):
            ref = fails.remote(text)
            error = raised(lambda ref=ref: raynb.get(ref)) if text == "caught" else ref.future().exception()  # type: ignore[misc]
            assert isinstance(error, ValueError)
        ref = fails.remote("held")
        raynb.wait([ref])
        fails.remote("dropped")
        until(lambda: "dropped" in printed(14, "stderr"), "the dropped one")
        del ref
        until(lambda: "held" in printed(14, "stderr"), "the held one")
    lines = sorted(printed(14, "stderr").splitlines())
    assert lines == [f"raynb: fails failed, and nobody has asked for its result: ValueError: {text}"
                     for text in ("dropped", "held")]  # fmt: skip
