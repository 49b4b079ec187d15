"""What a cell's time went into: sums, the sentence, the picture, and who was serialised."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raynb.base import scope as scopes
from raynb.base.ids import object_id
from raynb.base.rows import FAILED, FINISHED, RUNNING, ObjectRow, Snapshot, TaskRow
from raynb.jupyter.on_worker.runner import CellJob, CellPayload
from raynb.jupyter.reports.serialisation_log import SerialisationLog, Serialised, largest
from raynb.jupyter.reports.timeline import (
    FUNCTION_COLOURS,
    TASK_LANES,
    Timeline,
    colour,
    joined,
    lanes,
    nice_step,
    stroke,
    tick,
    waiting_steps,
)
from raynb.jupyter.reports.timing import (
    FETCH,
    QUEUE,
    RUN,
    SERIALISE,
    STORE,
    Cut,
    Span,
    cut,
    latest_scope,
    spans,
    strips,
    verdict,
)
from raynb.jupyter.views.view_model import Labels


def task(
    number: int, *times: float, scope: int = 5, state: str = FINISHED, name: str = "fit", worker: int = 1
) -> TaskRow:
    """Times: submitted, started, fetched, ran, ended."""
    row = TaskRow(number, name, state=state, scope=scope, worker=worker)
    row.submitted, row.started, row.fetched, row.ran, row.ended = (*times, *[0.0] * (5 - len(times)))
    return row


def made(tasks: list[TaskRow], entries: list[Serialised] | None = None, now: float = 20.0, **given: Any) -> Cut:
    picture = Snapshot(1, now, 0.0, tasks=tasks, total={"CPU": 2.0}, objects=given.get("objects", []))
    found = cut(picture, 5, "In[5]", entries or [], given.get("labels") or Labels())
    assert found is not None
    return found


def test_phases_of_a_task() -> None:
    seen = [(s.phase, s.begin, s.end) for s in spans(task(1, 1, 2, 3, 5, 6), 9)]
    assert seen == [(QUEUE, 1, 2), (FETCH, 2, 3), (RUN, 3, 5), (STORE, 5, 6)]
    waiting = [(s.phase, s.begin, s.end) for s in spans(task(1, 1, state="PENDING_NODE_ASSIGNMENT"), 9)]
    assert waiting == [(QUEUE, 1, 9)]
    running = [(s.phase, s.begin, s.end) for s in spans(task(1, 1, 2, state=RUNNING), 9)]
    assert running == [(QUEUE, 1, 2), (FETCH, 2, 2), (RUN, 2, 9)]


def test_which_cell() -> None:
    rows = [task(1, 1, scope=5), task(2, 3, scope=4), task(3, 9, scope=0)]
    assert latest_scope(Snapshot(1, 9, 0, tasks=rows)) == 4
    assert latest_scope(Snapshot(1, 9, 0)) == 0
    assert cut(Snapshot(1, 9, 0, tasks=rows), 77, "In[77]", [], Labels()) is None


def test_most_was_serialising() -> None:
    entries = [Serialised("df", 80_000_000, 1.0, 3.5), Serialised("df", 80_000_000, 5.0, 3.6)]
    found = made([task(1, 4.5, 4.6, 5.0, 6.0, 8.6), task(2, 8.6, 8.7, 9.0, 9.6, 9.7)], entries)
    said = verdict(found)
    assert said[0] == "82 % of the time was serialising `df` (80.0 MB, 2 times)."
    assert said[-1] == "Put it into the store once, `df_ref = raynb.put(df)`, and pass the ref."
    assert found.sums[STORE] == pytest.approx(0.1), "the kernel was busy while the first result waited"
    assert found.head() == "In[5]: 2 tasks in 8.7 s on 1 worker"


def test_most_was_running_fetching_or_storing() -> None:
    assert verdict(made([task(1, 1, 1, 2, 12, 12)]))[0] == "91 % of the time was running `fit`."
    assert verdict(made([task(1, 1, 1, 12, 13, 13)]))[0] == "92 % of the time was fetching and unpickling inputs."
    objects = [ObjectRow(object_id(1, 1), 300_000_000, task=1), ObjectRow(object_id(1, 2), 5, task=1)]
    names = Labels(names=lambda i: ["model"] if i == object_id(1, 1) else ["x"])
    stored = verdict(made([task(1, 1, 1, 1, 2, 8)], objects=objects, labels=names))
    assert stored[0] == "86 % of the time was pickling and storing `model` (300 MB)."
    assert "Return arrays" in stored[-1]


def test_how_busy_the_machine_was_and_how_long_tasks_waited() -> None:
    rows = [task(n, 1, n + 1, n + 1, n + 2, n + 2) for n in range(4)]
    said = verdict(made(rows))
    assert said[1:] == [
        "The worker's time: 100 % running, 0 % idle; 1 of 2 CPU slots had nothing to do.",
        "Tasks waited 1.5 s on average, for a free slot or for their inputs.",
    ]
    waiting = verdict(made([task(1, 15, state="PENDING_ARGS_AVAIL")]))
    assert waiting == ["Nothing has run yet; tasks have been waiting 5.0 s on average."]


def test_shares_are_of_the_workers_time_and_add_up() -> None:
    said = verdict(made([task(1, 1, 1, 1, 3, 3), task(2, 1, 1, 1.5, 4, 5, name="load", worker=2)]))
    assert said[0] == "56 % of the time was running, `load` the longest."
    whole = "56 % running (`load` 31 %, `fit` 25 %), 6 % fetching inputs, 13 % storing results, 25 % idle"
    assert said[1] == f"The 2 workers' time: {whole}."


def test_results_that_the_kernel_hears_of_together_were_not_stored_all_the_time() -> None:
    """The worker was at its next tasks by then."""
    rows = [task(n, 1, n, n, n + 0.5, 5) for n in range(1, 5)]
    assert verdict(made(rows))[1].startswith("The worker's time: 50 % running, 50 % storing results, 0 % idle")


def test_a_function_has_the_colour_of_the_live_timeline() -> None:
    live = (Path(__file__).parents[2] / "labextension" / "src" / "ui" / "colours.ts").read_text()
    assert re.findall(r"fill: '(#\w+)'", live) == list(FUNCTION_COLOURS)
    rows = [task(1, 1, 1, 2, 3, 4, name="a"), task(2, 1, 1, 2, 3, 4, name="b")]
    picture = Snapshot(1, 9, 0.0, tasks=rows, groups={"first": {}, "b": {}, "a": {}})
    found = cut(picture, 5, "In[5]", [], Labels())
    assert found is not None
    ran = [one for _, strokes in lanes(found) for one in strokes if one.phase == RUN]
    assert [colour(found, one) for one in ran] == [FUNCTION_COLOURS[2], FUNCTION_COLOURS[1]]


def test_tiny_tasks_are_better_grouped() -> None:
    rows = [task(n, 1, 1 + n * 1e-4, 1 + n * 1e-4, 1.0001 + n * 1e-4, 1.0001 + n * 1e-4) for n in range(1, 100)]
    assert verdict(made(rows))[-1] == "The tasks are tiny (100 µs on average): let each do more (`--chunk auto`)."


class Tags(HTMLParser):
    """Counts tags, and that each that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_lane_for_each_of_few_tasks() -> None:
    rows = [task(1, 1, 2, 3, 5, 6, name="a<b"), task(2, 1, 6, 6.1, 8, 8, state=FAILED)]
    found = made(rows, [Serialised("x<y", 9, 0.5, 0.4)])
    assert [name for name, _ in lanes(found)] == ["kernel", "a<b#1", "fit#2"]
    assert [one.phase for one in lanes(found)[1][1]] == [QUEUE, FETCH, RUN, STORE]
    assert [one.failed for one in lanes(found)[2][1]] == [False, False, True, False]
    shown = Timeline(found)
    tags = Tags(shown._repr_html_())
    assert tags.open == []
    assert tags.count["rect"] == 10  # one marks the failure
    assert "a&lt;b#1 on worker 1: fetching inputs 1.0 s" in shown._repr_html_()
    assert "<code>a&lt;b</code>" in shown._repr_html_()
    text = repr(shown).splitlines()
    assert text[0] == "In[5]: 2 tasks in 7.5 s on 1 worker"
    assert any(line.split() == ["running", "3.9", "s", "52", "%", "#" * 16] for line in text)
    assert text[-1].split() == ["waiting", "in", "the", "queue", "6.0", "s"]


def test_many_tasks_share_the_lanes_of_their_workers() -> None:
    many = 20_000
    starts = [1 + n / 1000 for n in range(many)]
    rows = [task(n, 1, s, s, s + 0.0009, s + 0.0009, worker=n % 3 + 1) for n, s in enumerate(starts)]
    found = made(rows, now=99.0)
    assert [name for name, _ in lanes(found)] == ["worker 1", "worker 2", "worker 3"]
    assert max(count for _, count in waiting_steps(found)) == many - 1
    page = Timeline(found)._repr_html_()
    assert Tags(page).open == []
    assert len(page) < 200_000, "what is too small to see is not written down"
    assert len(rows) > TASK_LANES


def test_strokes_that_touch_are_one() -> None:
    parts = [stroke(Span(RUN, n, n + 0.9), "f", False, "f") for n in range(5)]
    one = joined(parts, 0.5)
    assert [(s.begin, s.end, s.tip) for s in one] == [(0, 4.9, "f: several times")]
    assert len(joined(parts, 0.05)) == 5
    assert len(joined([parts[0], stroke(Span(RUN, 0.9, 2), "f", True, "f")], 0.5)) == 2, "a failure stays visible"


def test_axis() -> None:
    assert [nice_step(x) for x in (0.7, 1.0, 1.3, 0.012, 30)] == [1, 1, 2, 0.02, 50]
    assert [tick(0.5, 0.5), tick(0.02, 0.01), tick(0.0005, 0.0001), tick(4, 2)] == ["0.5 s", "20 ms", "500 µs", "4 s"]


def test_what_took_long_has_the_notebooks_name() -> None:
    big, small = b"x" * 5000, [1]
    assert largest((small, big), sys._getframe(), {})[0] == "big"
    assert largest((b"y" * 9000,), None, {"_hidden": 1}) == ("a bytes", 9000)
    held = [0] * 999
    assert largest((held,), None, {"table": held})[0] == "table"
    payload = CellPayload(CellJob("", "", ""), {"k": 1, "frame": b"z" * 7000})
    assert largest((payload, 3), None, {})[0] == "frame"
    assert largest((), None, {}) == ("its arguments", 0)
    space: dict[str, Any] = {"arr": bytes(8000)}
    exec("def use():\n    return len(arr)", space)
    assert largest((space["use"],), None, {})[0] == "arr", "a global that a function takes along"
    assert largest((Timeline,), None, {})[0] == "Timeline and what it uses"


def test_the_serialisation_log_keeps_cells_apart() -> None:
    log = SerialisationLog({})
    token = scopes.enter(7)
    try:
        log.record((b"x" * 100,), 1.0, 0.5)
    finally:
        scopes.leave(token)
    assert [(entry.began, entry.took) for entry in log.of(7)] == [(1.0, 0.5)]
    assert log.of(8) == []
    for _ in range(3_000):
        log.record((b"",), 1.0, 1.0)
    entries = log.of(scopes.current_scope())
    assert len(entries) == 2_000
    assert sum(entry.took for entry in entries) == 3_000


def test_sums_name_every_phase() -> None:
    found = made([task(1, 1, 2, 3, 5, 6)], [Serialised("a", 1, 0.0, 1.0)])
    assert found.sums == {SERIALISE: 1.0, QUEUE: 1, FETCH: 1, RUN: 2, STORE: 1}
    assert (found.work, found.wall) == (5.0, 6.0)


CASES = json.loads((Path(__file__).parents[2] / "labextension/src/ui/lanes.cases.json").read_text(encoding="utf-8"))
#: What a task of a case has unless it says otherwise, as in `lanes.test.ts`.
USUAL = {"worker": 1, "submitted": 1, "started": 2, "fetched": 3, "ran": 6, "ended": 7}


def of_case(change: dict[str, Any]) -> TaskRow:
    given = USUAL | change
    row = TaskRow(1, given.pop("id", "x"))
    for name, value in given.items():
        setattr(row, name, value)
    return row


def test_tasks_lie_as_in_the_live_timeline() -> None:
    for case in CASES["spans"]:
        found = spans(of_case(case["task"]), 10)
        assert " ".join(f"{one.phase} {one.begin:g}-{one.end:g}" for one in found) == case["spans"], case["what"]
    for case in CASES["strips"]:
        found = strips(map(of_case, case["tasks"]))
        named = [f"{one.worker}/{one.part} {','.join(row.name for row in one.tasks)}" for one in found]
        assert named == case["strips"], case["what"]
