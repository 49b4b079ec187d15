"""Checks on a real Ray cluster: surroundings, ends and failures of tasks. Run by `cluster_checks.py`."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import threading
import time
from typing import Any

from cluster_tools import WAIT, In, check, engine, printed, raised, until

import raynb
from raynb.api.surroundings import marked, packed
from raynb.base.ids import task_of
from raynb.base.process import surroundings
from raynb.base.rows import FAILED
from raynb.engine.cluster import bridge


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
def a_task_whose_worker_is_ended_by_ray_has_not_exited_by_itself() -> None:
    tried = tempfile.mktemp()

    @raynb.remote(max_retries=1)
    def terminated() -> str:
        with open(tried, "a") as file:
            file.write("x")
        with open(tried) as file:
            if file.read() == "x":
                os.kill(os.getpid(), signal.SIGTERM)  # as Ray does, if the node or the placement group goes
                time.sleep(WAIT)
        return "again"

    assert raynb.get(terminated.remote(), timeout=WAIT) == "again"


@check
def a_death_says_in_a_sentence_which_task_of_which_cell_it_was() -> None:
    @raynb.remote(max_retries=0)
    def dies() -> None:
        os._exit(3)

    @raynb.remote
    def nested() -> Any:
        return raynb.get(dies.remote())

    @raynb.remote
    def lives() -> int:
        return 1

    with In(221):
        error = raised(lambda: raynb.get([lives.remote(), dies.remote(), lives.remote()], timeout=WAIT))
        inside = raised(lambda: raynb.get(nested.remote(), timeout=WAIT))
    assert type(error) is raynb.exceptions.WorkerCrashedError
    assert "dies of cell 221" in str(error), error
    assert "log files" not in str(error), error
    assert len(str(error)) < 300
    for kind in (raynb.exceptions.RayTaskError, raynb.exceptions.WorkerCrashedError):
        assert isinstance(inside, kind), inside
    assert "in nested" in str(inside), inside
    text = (
        "Failed to retrieve object 0a0b. To see information about where this ObjectRef was created in Python, set the "
        "environment variable RAY_record_ref_creation_sites=1 during `ray start` and `ray.init()`.\n\n"
        "All copies of 0a0b have been lost due to node failure. Check cluster logs (`/tmp/x`) for more information."
    )
    assert bridge.object_loss(text) == (
        "Failed to retrieve object 0a0b. All copies of 0a0b have been lost due to node failure."
    )
    text = "Failed to retrieve object 0a0b. It was created at: f\n\n[OBJECT_LOST] It was made by put. Return it."
    assert bridge.object_loss(text) == "Failed to retrieve object 0a0b. It was made by put. Return it."


@check
def an_actor_that_cannot_be_made_is_told_of_in_the_users_frames_only() -> None:
    class Bad:
        def __init__(self) -> None:
            raise ValueError("no start")

        def call(self) -> None:
            """Never runs."""

    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown), In(222):
        made = raynb.remote(num_cpus=0)(Bad).remote()
        error = raised(lambda: raynb.get(made.call.remote(), timeout=WAIT))
        assert isinstance(error, raynb.exceptions.ActorDiedError)
    assert "no start" in str(error)
    assert "creation task:" not in shown.getvalue(), shown.getvalue()


@check
def a_failure_that_nobody_asks_about_is_told_once_in_its_cell() -> None:
    @raynb.remote
    def fails(text: str) -> None:
        raise ValueError(text)

    with In(18):
        for text in ("caught", "future"):
            ref = fails.remote(text)
            error = raised(lambda ref=ref: raynb.get(ref)) if text == "caught" else ref.future().exception()  # type: ignore[misc]
            assert isinstance(error, ValueError)
        ref = fails.remote("held")
        raynb.wait([ref])
        fails.remote("dropped")
        until(lambda: "dropped" in printed(18, "stderr"), "the dropped one")
        del ref
        until(lambda: "held" in printed(18, "stderr"), "the held one")
    lines = sorted(printed(18, "stderr").splitlines())
    assert lines == [f"raynb: fails failed, and nobody has asked for its result: ValueError: {text}"
                     for text in ("dropped", "held")]  # fmt: skip
    # Its last ref goes between the count of its refs and the entry of its failure.
    box: list[Any] = []
    unasked = engine()._failures._unasked
    enter = unasked.task_failed

    def meanwhile(row: Any, objects: int) -> None:
        if row.scope == 19:
            until(lambda: box, "the ref")
            box.clear()
            engine().drain_log()
        enter(row, objects)

    unasked.task_failed = meanwhile
    try:
        with In(19):
            box.append(fails.remote("meanwhile"))
        until(lambda: "meanwhile" in printed(19, "stderr"), "the one that was dropped meanwhile")
    finally:
        del unasked.task_failed


@check
def a_failure_is_told_in_the_same_words_before_its_worker_has_reported_it() -> None:
    @raynb.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("bad")

    listener, gate = engine()._listener, threading.Lock()
    take = listener._ends

    def later(*told: Any) -> None:
        with gate:
            take(*told)

    listener._ends = later
    try:
        with gate, In(24):
            ref = bad.remote()
            raynb.wait([ref], timeout=WAIT)

            def swept() -> Any:
                engine()._sweeper._end_silent(task_of(ref._id), engine().native(ref), stored=False)
                return [row for row in engine().rows(tasks=[task_of(ref._id)]).tasks if row.state == FAILED]

            (row,) = until(swept, "its end")
    finally:
        listener._ends = take
    assert row.error_type == "ValueError", row
    assert row.error.endswith("ValueError: bad"), row
