"""Bars, tables and descriptions: text made from rows."""

from __future__ import annotations

from dataclasses import replace

from raynb.base.rows import (
    ACTOR_TASK,
    CANCELLED,
    FAILED,
    FINISHED,
    RUNNING,
    ActorRow,
    ObjectRow,
    Output,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)
from raynb.jupyter.formatting import at, bundle_of, describe, describe_actor, format_number, format_seconds
from raynb.jupyter.output.registry import UNNUMBERED, cell_name
from raynb.jupyter.progress.bar import Count, line_bundle
from raynb.jupyter.reports import text_tables
from raynb.jupyter.views.view_model import Labels

from .pictures import some_nodes


def test_a_count_in_words() -> None:
    count = Count(total=100, began=10.0)
    assert count.text(12.0) == "0/100 · 2.0 s so far"
    count.done, count.failed = 40, 2
    assert count.text(20.0) == "42/100 · 4.2/s · 2 failed · 14 s left"
    assert count.share() == 0.42
    count.done, count.cancelled = 90, 8
    assert count.text(30.0) == "100/100 · 5/s · 2 failed · 8 cancelled · took 20 s"
    assert count.text(99.0).endswith("took 20 s"), "the time stands still once all have ended"
    assert Count(0, 0.0).share() == 1.0


def test_times_and_figures() -> None:
    assert [format_seconds(s) for s in (0.0, 0.00008, 0.0241, 0.0996, 9.94, 59.2, 60, 125, 4000)] == [
        "0 s", "80 µs", "24 ms", "100 ms", "9.9 s", "59 s", "1 min", "2 min 5 s", "1 h 6 min",
    ]  # fmt: skip
    assert [format_number(n) for n in (1234.5, 99.4, 3.14, 0.25)] == ["1,234", "99", "3.1", "0.25"]


def test_a_bar_has_a_text_form_and_is_labelled() -> None:
    bundle = line_bundle("5/10 <x>", 0.5, "id")
    assert bundle["data"]["text/plain"] == "[############............] 5/10 <x>"
    assert "&lt;x&gt;" in bundle["data"]["text/html"]
    assert "aria-label" in bundle["data"]["text/html"]
    assert bundle["transient"] == {"display_id": "id"}


def test_a_ref_in_words() -> None:
    stored = ObjectRow(1, size=8_000_000, where="shared")
    task = TaskRow(7, "fit", state=RUNNING, submitted=1.0, started=2.0)
    assert describe(task, stored, 5.5, 0.0).endswith("3.5 s")
    assert describe(task, stored, 5.5, 0.0).startswith("fit#7 running since ")
    task.state, task.ended = FINISHED, 3.5
    assert describe(task, stored, 9.0, 0.0) == "fit#7 finished in 1.5 s, 8.0 MB"
    assert describe(task, None, 9.0, 0.0) == "fit#7 finished in 1.5 s, freed"
    task.state, task.error_type, task.error = FAILED, "ValueError", "ValueError: no\nmore"
    assert describe(task, stored, 9.0, 0.0) == "fit#7 failed after 1.5 s: ValueError: no"
    task.state = CANCELLED
    assert describe(task, stored, 9.0, 0.0) == "fit#7 was cancelled"
    assert describe(None, stored, 9.0, 0.0) == "stored, 8.0 MB"
    assert describe(None, None, 9.0, 0.0) == "freed"
    task.state = "PENDING_ARGS_AVAIL"
    assert "waiting for its inputs since" in describe(task, stored, 9.0, 0.0)
    assert bundle_of("a<b", RUNNING, "00ff")["text/html"].count("&lt;") == 1


def test_a_ref_of_old_code_says_so() -> None:
    task = TaskRow(7, "fit", state=FINISHED, started=1.0, ended=2.0, function="k1")
    renewed = {"k1": "fit", "c1": "Model"}.get
    old = describe(task, None, 9.0, 0.0, lambda key: renewed(key, ""))
    assert old.endswith("; the function fit was redefined since, this is the old code's")
    task.function = "predict"  # a call of an actor names its method
    assert "redefined" not in describe(task, None, 9.0, 0.0, lambda key: renewed(key, ""))
    assert "the class Model was redefined" in describe(task, None, 9.0, 0.0, lambda key: renewed(key, ""), "c1")


def test_an_actor_in_words() -> None:
    row = ActorRow(9, "Counter", "hits", state="ALIVE", pending=3, pid=77, restarts=1, max_restarts=-1)
    say = lambda row, key="": describe_actor(row, "Counter", lambda k: key)
    assert say(row) == "Counter 'hits' alive, 3 calls pending, 1 of ∞ restarts, pid 77"
    assert say(row, "Counter").endswith("; the class Counter was redefined since, this actor has the old code")
    row.state, row.pending = "RESTARTING", 1
    assert say(row).startswith("Counter 'hits' restarting, 1 call pending")
    row.name, row.state, row.death_cause = "", "DEAD", "killed by signal 9\nmore"
    assert say(row) == "Counter is dead after 1 restart: killed by signal 9"
    row.restarts, row.max_restarts, row.state = 0, 0, "PENDING_CREATION"
    assert say(row) == "Counter starting, 1 call pending, 0 restarts"
    assert say(None) == "Counter has ended"
    assert at("x", 0.0).startswith("x (at ")
    assert bundle_of("a<b", "ALIVE", "00ff", "Actor")["text/plain"] == "Actor(a<b)"


PICTURE = Snapshot(
    version=3,
    now=10.0,
    wall=0.0,
    tasks=[
        TaskRow(1, "f", state=FINISHED, started=1.0, ended=3.0, scope=5, worker=2),
        TaskRow(2, "Counter.add", kind=ACTOR_TASK, state=RUNNING, started=6.0, scope=6, actor=9),
        TaskRow(3, "g", state=FAILED, started=1.0, ended=1.5, error_type="ValueError", error="ValueError: x\ny"),
    ],
    actors=[ActorRow(9, "Counter", name="c", state="ALIVE", pid=77, pending=4)],
    objects=[
        ObjectRow(1 << 32 | 1, 5_000, "memory", task=1, scope=5, local_refs=2, pending_args=1),
        ObjectRow(4 << 32, 9_000_000, "shared", task=4, local_refs=1, views=2),
    ],
    workers=[
        WorkerRow(2, 77, "ACTOR", rss=50_000_000, finished=1_200),
        WorkerRow(1, 76, exit="killed by signal 9"),
    ],
    store=StoreRow(),
)


def test_tables() -> None:
    lines = text_tables.tasks(PICTURE).splitlines()
    assert lines[1].split()[:3] == ["Counter.add#2", "running", "4.0"]
    assert lines[3].split()[:3] == ["f#1", "finished", "2.0"]
    assert "ValueError: x" in lines[2]
    assert text_tables.tasks(PICTURE, "f").count("\n") == 1
    assert text_tables.tasks(PICTURE, "h") == "There are no tasks of 'h'."
    assert "Counter#9" in text_tables.actors(PICTURE)
    assert "ended" in text_tables.workers(PICTURE)
    assert "one machine" in text_tables.nodes(PICTURE)
    cluster = replace(PICTURE, nodes=some_nodes(), workers=[WorkerRow(5, 9, node=2)])
    rows = text_tables.nodes(cluster).splitlines()
    assert [row.split()[0] for row in rows] == ["node", "a1a1a1a1", "b2b2b2b2", "c3c3c3c3"]
    assert "(head) (this kernel)" in rows[1]
    assert "disk: 2" in rows[2]
    assert "DEAD" in rows[3]
    assert text_tables.workers(cluster).splitlines()[1].endswith("gpu-0")
    labels = Labels(names=lambda i: ["frame"] if i == 4 << 32 else [])
    objects = text_tables.objects(PICTURE, labels).splitlines()
    assert objects[1].startswith("frame")
    assert objects[1].rstrip().endswith("frame, 2 array views")
    assert objects[2].rstrip().endswith("2 refs in the kernel, argument of 1 task")
    many = Snapshot(1, 0.0, 0.0, tasks=[TaskRow(n, "f") for n in range(120)])
    assert text_tables.tasks(many).splitlines()[-1] == "… 70 more"


def test_logs() -> None:
    def said(text: str, task: int = 1, scope: int = 5, kind: str = "stdout") -> Output:
        return Output(kind, task, scope, 1, 1, "f", text=text)

    outputs = [said("a"), said("b1\n", 2), said("1\nrest"), said("x\n", 3, 6), said("", kind="display")]
    assert text_tables.logs(outputs) == "f#2 b1\nf#1 a1\nf#3 x\nf#1 [display]\nf#1 rest"
    assert text_tables.logs(outputs, 6) == "f#3 x"
    assert text_tables.logs(outputs, None, "b") == "f#2 b1"
    assert text_tables.logs([], 4) == "Nothing was printed."


def test_names_of_cells() -> None:
    assert [cell_name(n) for n in (0, 5, UNNUMBERED + 3)] == ["outside cells", "In[5]", "In[ ]"]
