"""What buttons and magics do, and that bad requests are answered in plain words."""

from __future__ import annotations

import collections
import linecache
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raynb.base.ids import object_id
from raynb.base.process import trace
from raynb.base.process.registry import Registry
from raynb.base.ref import OwnRef
from raynb.base.rows import ALIVE, DEAD, TASK_ENDED, ActorRow, KernelRow, ObjectRow, Output, Snapshot
from raynb.exceptions import RuntimeGoneError
from raynb.jupyter.output.shown import uncounted
from raynb.jupyter.reports import doctor, text_tables
from raynb.jupyter.views import actions, kernels
from raynb.jupyter.views.coalescing import FeedPace, NameChanges
from raynb.jupyter.views.feed import Feed
from raynb.jupyter.views.labels import MAX_AGE_LOOKS, NotebookNames, held_in
from raynb.jupyter.views.view_model import Labels, held_by

from . import pictures
from .fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    picture = pictures.small()
    picture.actors.append(ActorRow(50, "Counter", "hits", state=ALIVE, max_restarts=1))
    picture.actors.append(ActorRow(51, "Loader", state=DEAD))
    return FakeEngine(picture)


def test_cancelling_a_running_task(engine: FakeEngine) -> None:
    assert actions.cancel_task(engine, 2) == "Cancelling slow."
    assert engine.asked == [("cancel_task", 2, False)]


def test_cancelling_what_only_another_process_can_cancel(engine: FakeEngine) -> None:
    engine.elsewhere.add(2)
    with pytest.raises(actions.ActionError, match="slow: that task was submitted by another task"):
        actions.cancel_task(engine, 2)
    with pytest.raises(actions.ActionError, match="slow: that task was submitted by another task"):
        actions.cancel_group(engine, "slow")
    others = len([row for row in engine.picture.tasks if row.state not in TASK_ENDED]) - 1
    assert actions.cancel_all(engine).startswith(f"Cancelling {others} ")


def test_cancelling_what_has_ended_says_so(engine: FakeEngine) -> None:
    assert "already ended" in actions.cancel_task(engine, 1)
    assert engine.asked == []


def test_cancelling_a_group_takes_only_the_unfinished(engine: FakeEngine) -> None:
    assert actions.cancel_group(engine, "slow") == "Cancelling 1 task of slow."
    assert actions.cancel_group(engine, "add") == "No task of add is unfinished."
    assert actions.cancel_group(engine, "slow", scope=99) == "No task of slow is unfinished."


def test_cancelling_a_cell(engine: FakeEngine) -> None:
    assert actions.cancel_cell(engine, 3) == "Cancelled 1 task; 0 had finished."


def test_scaling_and_what_cannot_be_scaled(engine: FakeEngine) -> None:
    refused = actions.answer(engine, {"do": "scale", "n": 1, "cpus": 3})
    assert not refused["ok"]
    assert "only workers of this machine can be scaled" in refused["text"]
    engine.scaling = SimpleNamespace(scale=lambda cpus: engine.asked.append(("scale", cpus)))
    assert actions.answer(engine, {"do": "scale", "n": 2, "cpus": 3})["text"] == "3 CPU slots from now on."
    assert "from 1 to 1,024 CPU slots, got 0" in actions.answer(engine, {"do": "scale", "n": 3, "cpus": 0})["text"]
    assert engine.asked == [("scale", 3)]


def test_the_runtimes_of_a_user(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYNB_RUNTIME_DIR", str(tmp_path / "runtimes"))
    assert text_tables.kernels() == "No runtime of yours is running on this machine."
    mine, other = Registry(), Registry()
    for place, row in (
        (mine, KernelRow("mine", os.getpid(), 1.0, "/home/me/train.ipynb", "id-1", 2, 2)),
        (other, KernelRow("other", 1, 2.0, "/home/me/rest.ipynb", cpus=4, base=3, busy=4, unfinished=9, store=80)),
    ):
        place.join(row.key)
        place.publish(row)
    reply = actions.answer(engine, {"do": "kernels", "n": 1})
    assert [(one["name"], one["own"]) for one in reply["kernels"]] == [("train.ipynb", True), ("rest.ipynb", False)]
    table = text_tables.kernels()
    assert "train.ipynb (this one)" in table
    assert "4 of 4 (1 borrowed)" in table
    assert "1 other runtime of yours here: rest.ipynb 4 of 4 (1 borrowed) CPUs" in actions.status_text(engine)
    assert doctor.others().found.startswith("1 other runtime")
    refused = [actions.answer(None, {"do": "stop_kernel", "key": key}) for key in ("mine", "nobody")]
    assert [r["ok"] for r in refused] == [False, False]
    assert "this notebook's own" in refused[0]["text"]
    assert actions.answer(None, {"do": "stop_kernel", "key": "other"})["text"].startswith("Asked rest.ipynb to stop")
    assert other.asked_to_stop()
    with pytest.raises(ValueError, match=r"there is none\. The others: rest\.ipynb \(1\)\."):
        kernels.named("train.ipynb")
    assert kernels.named("rest.ipynb").key == "other"
    mine.leave()
    other.leave()


def test_actors(engine: FakeEngine) -> None:
    assert actions.kill_actor(engine, 50) == "Killed actor Counter 'hits'."
    assert actions.restart_actor(engine, 50) == "Restarting actor Counter 'hits'."
    assert engine.asked == [("kill", 50, True), ("kill", 50, False)]
    assert "dead already" in actions.kill_actor(engine, 51)
    with pytest.raises(actions.ActionError, match="create it again"):
        actions.restart_actor(engine, 51)
    engine.picture.actors[0] = replace(engine.picture.actors[0], restarts=1)
    with pytest.raises(actions.ActionError, match="no restart left"):
        actions.restart_actor(engine, 50)


def test_freeing(engine: FakeEngine) -> None:
    assert actions.free_object(engine, object_id(1, 1)) == "Freed 8 B."
    assert engine.asked == [("free", [object_id(1, 1)])]
    with pytest.raises(actions.ActionError, match="gone already"):
        actions.free_object(engine, 12345)


def test_the_closer_look_has_error_output_and_story(engine: FakeEngine) -> None:
    engine.output = [Output("stdout", 2, 3, 2, 102, "slow", text=part) for part in ("a\n", "b\n")]
    engine.output.append(Output("display", 2, 3, 2, 102, "slow", bundle={}))
    detail = actions.task_detail(engine, 2)
    assert detail["log"] == "a\nb\n"
    assert detail["story"] == [[9.0, "submitted"], [9.1, "started"]]
    engine.output = [Output("stdout", 2, 3, 2, 102, "slow", text="x" * (actions.LOG_CHARS + 5))]
    assert actions.task_detail(engine, 2)["cut"] == 5


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "dance"}, "doesn't know the request 'dance'"),
        ({}, "doesn't know the request None"),
        ({"do": "cancel_task"}, "lacks 'task'"),
        ({"do": "cancel_task", "task": "no id"}, "'no id' is not an id"),
        ({"do": "cancel_task", "task": "fff"}, "not known any more"),
        ({"do": "kill_actor", "actor": "fff"}, "not known any more"),
        ({"do": "cancel_cell", "scope": None}, "int()"),
    ],
)
def test_a_bad_request_is_answered(engine: FakeEngine, request_: dict, said: str) -> None:
    reply = actions.answer(engine, request_ | {"n": 3})
    assert (reply["ok"], reply["n"], reply["kind"]) == (False, 3, "reply")
    assert said in reply["text"]
    assert engine.asked == []


def test_a_click_on_a_row_of_a_former_runtime_does_nothing(engine: FakeEngine) -> None:
    click = {"do": "cancel_task", "task": "2", "n": 1}
    refused = actions.answer(engine, click | {"runtime": f"{engine.nonce + 1:x}"})
    assert not refused["ok"]
    assert "was restarted while you looked" in refused["text"]
    assert engine.asked == []
    assert actions.answer(engine, click | {"runtime": f"{engine.nonce:x}"})["ok"]
    assert engine.asked == [("cancel_task", 2, False)]


def test_requests_without_a_runtime(engine: FakeEngine) -> None:
    assert "No runtime" in actions.answer(None, {"do": "cancel_all"})["text"]
    engine.alive = False
    assert "No runtime" in actions.answer(engine, {"do": "cancel_all"})["text"]
    engine.alive = True

    def gone() -> None:
        raise RuntimeGoneError("The runtime was shut down.")

    engine.snapshot = gone  # type: ignore[assignment]
    assert actions.answer(engine, {"do": "cancel_all"})["text"] == "The runtime was shut down."


def test_status_in_words(engine: FakeEngine) -> None:
    text = actions.status_text(engine)
    assert "1 of 2 busy" in text
    assert "1 running, 0 waiting, 1 finished" in text
    assert "100 MB of 1.0 GB in 1 object" in text
    engine.picture.available["CPU"] = -1.0
    assert "2 of 2 busy, 1 more resumed" in actions.status_text(engine)
    assert "no runtime" in actions.status_text(None)



def test_names_of_the_notebook(engine: FakeEngine) -> None:
    ref, other = OwnRef(7, engine), OwnRef(8, engine)  # type: ignore[arg-type]
    space = {
        "x": ref, "_": other, "_5": other, "xs": [other, 3, ref], "d": {"k": ref}, "n": 3,
        "Out": {5: other, 6: 1}, "huge": [other] * 5000, "_own": ref,
    }  # fmt: skip
    found = held_in(space)
    assert found[7].names == ["x", "xs[2]", "d['k']", "_own"]
    assert (found[8].names, found[8].holders) == (["xs[0]", "Out[5]"], ["_"])
    assert [len(found[i].refs) for i in (7, 8)] == [1, 1]
    names = NotebookNames(lambda: space)
    assert names(7) == []
    names.refresh()
    assert names(7)[0] == "x"
    assert names.holders(8) == (["_"], 1)


def test_names_in_long_containers(engine: FakeEngine) -> None:
    refs: list[Any] = [OwnRef(i, engine) for i in range(1, 3001)]  # type: ignore[arg-type]
    shown = uncounted(refs[0])
    space: dict[str, Any] = {
        "x": refs[4], "rs": refs, "d": dict(zip(range(3000), refs[:3000], strict=True)), "ns": [shown] * 2000,
        "vast": [refs[0]] * 100_000,
    }  # fmt: skip
    names = NotebookNames(lambda: space)
    names.refresh()
    assert names(5) == ["x", "rs[4]", "d[4]"]
    assert names.holders(5) == ([], 1)
    assert names(1) == ["rs[0]", "d[0]"]
    refs[4] = OwnRef(4711, engine)  # type: ignore[arg-type]  # as long as before: seen some looks later
    for _ in range(MAX_AGE_LOOKS + 1):
        names.refresh()
    assert (names(4711), names(5)) == (["rs[4]"], ["x", "d[4]"])
    refs.pop()
    names.refresh()
    assert names(3000) == ["d[2999]"]
    counts = {id(ref): sys.getrefcount(ref) for ref in refs[:2]}
    names.refresh()
    assert counts == {id(ref): sys.getrefcount(ref) for ref in refs[:2]}
    space.clear()
    names.refresh()
    assert names(5) == []


def test_writing_the_keys_of_dicts_runs_no_code_of_the_users(engine: FakeEngine) -> None:
    class Key:
        def __repr__(self) -> str:
            raise ValueError("not written")

    ref = OwnRef(7, engine)  # type: ignore[arg-type]
    keys = [Key(), "a" * 10**6, 10**5000, ("x", (1, Key())), np.int64(3), None]
    short = held_in({"d": dict.fromkeys(keys, ref)})[7].names
    assert short[:4] == ["d[Key]", f"d['{'a' * 39}]", "d[int]", "d[('x', (1, Key))]"]
    assert short[4:] == [f"d[{np.int64(3)!r}]", "d[None]"]
    space: dict[str, Any] = {"d": {**dict.fromkeys(range(2000), ref), Key(): ref}}
    names = NotebookNames(lambda: space)
    names.refresh()
    assert names(7) == ["d[Key]"]


def test_names_of_many_objects_are_looked_at_in_turn() -> None:
    named = NameChanges(interval=1.0, most=2)
    named.record(Snapshot(1, 1.0, 0.0, objects=[ObjectRow(i) for i in range(1, 6)]))
    look = lambda identity: ["xs"]
    assert [[row.id for row in named.renamed(look, now=t)] for t in (0.0, 1.0, 2.0, 3.0)] == [[1, 2], [3, 4], [5], []]
    named.record(Snapshot(2, 2.0, 0.0, since=1, objects=[ObjectRow(6)]))
    assert [row.id for second in range(4, 9) for row in named.renamed(look, now=float(second))] == [6]


def test_what_the_feed_owes_has_an_end(engine: FakeEngine) -> None:
    pace = FeedPace()
    pace.rest(3600.0)  # such as after a machine that was suspended
    assert sum(pace.rest(0.0) == 4.0 for _ in range(100)) < 20
    pace.rest(3600.0)
    sent = threading.Event()
    feed = Feed(peek=lambda: engine, pace=pace)
    feed.watch(lambda message: sent.set())
    assert sent.wait(60)
    feed.close(timeout=60)
    assert pace._owed < 0.9  # it began afresh


def test_what_was_only_shown_holds_nothing(engine: FakeEngine) -> None:
    ref = OwnRef(7, engine)  # type: ignore[arg-type]
    assert held_in({"Out": {5: uncounted(ref)}}) == {}


def test_attributes_and_the_last_error_hold_refs(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("Model", (), {"__module__": "__main__"})
    model: Any = kind()
    model.weights = OwnRef(7, engine)  # type: ignore[arg-type]

    def fails() -> None:
        local = OwnRef(8, engine)  # type: ignore[arg-type]
        raise ValueError(f"with {local}")

    try:
        fails()
    except ValueError as error:
        monkeypatch.setattr(sys, "last_value", error, raising=False)
    found = held_in({"model": model})
    assert found[7].names == ["model.weights"]
    assert found[8].names == []
    assert found[8].holders == ["the traceback of ValueError (sys.last_value)"]
    row = ObjectRow(8, local_refs=3)
    assert held_by(row, [], {}, (found[8].holders, 1)) == [*found[8].holders, "2 other refs in the kernel"]


def test_a_traceback_speaks_of_cells() -> None:
    labels = Labels(place=lambda file: "Cell In[5]" if file == "/tmp/k/1.py" else "")
    linecache.cache["/tmp/k/1.py"] = (3, None, ["a\n", "b / 0\n"], "/tmp/k/1.py")
    frames = '  File "/tmp/k/1.py", line 2, in f\n  File "/work.py", line 7, in g\n    x()\n'
    text = f"Traceback (most recent call last):\n{frames}ZeroDivisionError: no"
    assert actions.in_cells(text, labels).splitlines() == [
        "Traceback (most recent call last):", "  Cell In[5], line 2, in f", "    b / 0",
        '  File "/work.py", line 7, in g', "    x()", "ZeroDivisionError: no",
    ]  # fmt: skip
    del linecache.cache["/tmp/k/1.py"]


def test_the_doctor_names_what_a_node_of_a_cluster_lacks() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    node = {"host": "far", "python": python, "raynb": "", "modules": {"pytest": "0.1", "nowhere": "1.0"},
            "disk": {"/tmp": 5_000_000_000}, "shm": 1 << 30}  # fmt: skip
    names = ("pytest", "nowhere")
    finding = doctor._node("node 1", node, names)
    assert (finding.verdict, "raynb sent there" in finding.found) == (doctor.NOTE, True)
    assert f"other versions: pytest 0.1 (here {pytest.__version__})" in finding.found
    finding = doctor._node("node 1", {**node, "modules": {"pytest": None}}, names)
    assert (finding.verdict, finding.found.endswith("without pytest, nowhere")) == (doctor.BAD, True), finding.found
    finding = doctor._node("node 1", {**node, "python": "2.7.18"}, ())
    assert (finding.verdict, f"This kernel is Python {python}" in finding.remedy) == (doctor.BAD, True)
    assert doctor._node("node 1", {**node, "disk": {"/tmp": 5}}, ()).verdict == doctor.NOTE
    assert "--shm-size" in doctor._node("node 1", {**node, "shm": 64 << 20}, ()).remedy
    assert doctor._node("node 1", node, ()).verdict == doctor.GOOD


def test_the_doctor_shows_the_errors_that_raynb_went_on_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "ring", collections.deque())
    assert [finding.verdict for finding in doctor.survived()] == [doctor.GOOD]
    for number in range(7):
        trace.swallowed(f"step {number}", ValueError("\x1b]0;odd"))
    found = doctor.survived()
    assert [finding.verdict for finding in found] == [doctor.NOTE] * 5
    assert "step 2: ValueError: " in found[0].found
    assert "and 2 before it" in found[0].found
    assert "step 6" in found[-1].found
    assert "\x1b" not in found[-1].found
    assert "getLogger('raynb')" in found[-1].remedy
