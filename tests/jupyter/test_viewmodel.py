"""The messages of the views: shape, ids, holders, limits."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from raynb.base.ids import object_id
from raynb.base.rows import FAILED, FINISHED, RUNNING, ObjectRow, StoreRow, TaskRow
from raynb.jupyter.formatting import ERROR_CHARS, short_error
from raynb.jupyter.views import messages, view_model
from raynb.jupyter.views.view_model import COLUMNS, Labels, held_by, message, worth_showing

from . import pictures

ROWS = {"tasks": TaskRow, "objects": ObjectRow}


def as_dicts(sent: dict, kind: str) -> list[dict]:
    return [dict(zip(sent["columns"][kind], row, strict=True)) for row in sent[kind]]


def test_full_pictures_and_changes_have_the_same_shape() -> None:
    full = message(pictures.small())
    change = message(pictures.small(version=2, since=1))
    assert (full["kind"], change["kind"]) == ("full", "change")
    assert full.keys() == change.keys()
    assert full["v"] == messages.VERSION


def test_every_row_is_as_long_as_its_columns() -> None:
    sent = message(replace(pictures.many(50), nodes=pictures.some_nodes()))
    for kind, columns in COLUMNS.items():
        assert sent[kind], kind
        assert {len(row) for row in sent[kind]} == {len(columns)}


def test_rows_say_what_the_snapshot_says() -> None:
    labels = Labels(cell=lambda scope: f"In[{scope}]", title=lambda task: {2: "slow depth=7"}.get(task, ""))
    sent = message(pictures.small(), labels)
    done, slow = as_dicts(sent, "tasks")
    assert (done["title"], slow["title"]) == ("", "slow depth=7")
    assert (done["name"], done["state"], done["worker"], done["size"]) == ("add", FINISHED, 1, 8)
    assert (slow["state"], slow["ended"]) == (RUNNING, 0)
    assert sent["cells"] == {"2": "In[2]", "3": "In[3]"}
    assert sent["groups"] == {"add": {FINISHED: 1}, "slow": {RUNNING: 1}}
    assert set(sent["store"]) == {field.name for field in fields(StoreRow)}


def test_ids_survive_the_way_through_json() -> None:
    task = (1 << 40) | 7
    picture = pictures.small()
    picture.objects[0] = replace(picture.objects[0], id=object_id(task, 1), task=task)
    sent = json.loads(json.dumps(message(picture)))
    row = as_dicts(sent, "objects")[0]
    assert view_model.from_key(row["id"]) == object_id(task, 1)
    assert view_model.from_key(row["task"]) == task


def test_what_is_no_id_is_named() -> None:
    with pytest.raises(ValueError, match="'zz' is not an id"):
        view_model.from_key("zz")


def test_gone_ids_are_spelled_as_in_the_rows() -> None:
    picture = replace(pictures.small(2, 1), gone={"tasks": [255], "workers": [3], "objects": []})
    assert message(picture)["gone"] == {"tasks": ["ff"], "workers": [3]}


@pytest.mark.parametrize(
    ("row", "names", "said"),
    [
        (ObjectRow(1, local_refs=2), ["xs", "Out[5]"], ["xs", "Out[5]"]),
        (ObjectRow(1, local_refs=3), ["xs"], ["xs", "2 other refs in the kernel"]),
        (ObjectRow(1, local_refs=1), [], ["1 ref in the kernel"]),
        (ObjectRow(1, views=1), [], ["1 array view"]),
        (ObjectRow(1, pending_args=2, containers=1), [], ["argument of 2 tasks", "inside 1 stored object"]),
        (ObjectRow(1, borrowers=(4, 5)), [], ["worker 4", "actor hits"]),
        (ObjectRow(1), [], []),
    ],
)
def test_holders_in_plain_words(row: ObjectRow, names: list[str], said: list[str]) -> None:
    assert held_by(row, names, {5: "actor hits"}) == said


def test_a_row_carries_only_the_line_that_names_the_error() -> None:
    assert short_error("Traceback\n  a\nValueError: no\n") == "ValueError: no"
    assert short_error("") == ""
    assert len(short_error("x" * 10_000)) == ERROR_CHARS


def test_of_too_many_tasks_the_running_and_the_latest_stay() -> None:
    ended = [TaskRow(i, "f", state=FINISHED if i % 2 else FAILED) for i in range(100)]
    waiting = [TaskRow(1000 + i, "f") for i in range(100)]
    running = [TaskRow(2000 + i, "f", state=RUNNING) for i in range(4)]
    shown = worth_showing(ended + running + waiting, 24)
    assert len(shown) == 24
    assert {row.id for row in shown} == {*range(90, 100), *range(2000, 2004), *range(1000, 1010)}
    assert len(worth_showing(ended + running, 24)) == 24
    assert worth_showing(running, 24) == running


def test_ten_thousand_tasks_are_about_a_megabyte() -> None:
    size = len(json.dumps(message(pictures.many(10_000))))
    assert size < 2_000_000


def test_a_put_was_made_by_no_task() -> None:
    picture = pictures.small()
    picture.objects = [ObjectRow(object_id(5, 0), task=5), ObjectRow(object_id(5, 1), task=5)]
    assert [row["task"] for row in as_dicts(message(picture), "objects")] == ["", "5"]


def test_objects_say_their_own_names_and_holders_also_among_many_alike() -> None:
    rows = [ObjectRow(object_id(i, 1), task=i, local_refs=1) for i in range(1, 7)]
    rows[1].borrowers = rows[2].borrowers = (4,)
    rows[3].local_refs = 0
    named = {rows[4].id: (["xs"], ["_"]), rows[5].id: ([], ["_"])}
    labels = Labels(
        names=lambda identity: named.get(identity, ([], []))[0],
        holders=lambda identity: (named[identity][1], 1) if identity in named else ([], 0),
    )
    sent = as_dicts(message(replace(pictures.small(), objects=rows), labels), "objects")
    in_kernel = "1 ref in the kernel"
    assert [row["names"] for row in sent] == [[], [], [], [], ["xs"], []]
    assert [row["held"] for row in sent] == [
        [in_kernel], [in_kernel, "worker 4"], [in_kernel, "worker 4"], [], ["xs", "_"], ["_"],
    ]  # fmt: skip


def test_times_are_rounded_to_microseconds() -> None:
    times = (0.0, 12.3456784, 98765.4321096, 9876543.2109876, 5.0)
    picture = replace(pictures.small(), tasks=[TaskRow(1, "f", submitted=times[0], started=times[1],
                                                       fetched=times[2], ran=times[3], ended=times[4])])  # fmt: skip
    (row,) = as_dicts(message(picture), "tasks")
    assert [row[name] for name in ("submitted", "started", "fetched", "ran", "ended")] == [round(t, 6) for t in times]
