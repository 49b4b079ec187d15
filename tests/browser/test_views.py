"""The views in Chromium, without Jupyter: the test is the kernel.

Pushed messages are made by the real view model from rows like the engine's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import expect

from raynb.base.rows import FAILED, FINISHED, Snapshot, TaskRow
from raynb.jupyter.lineage.drawing import Picture
from raynb.jupyter.lineage.record import FRESH, STALE
from raynb.jupyter.views.messages import VERSION
from raynb.jupyter.views.view_model import Labels, message, no_runtime
from raynb.lineage.layout import CellNode, Graph
from tests.jupyter import pictures

from .lab import AXE, click_sure, say_sure, wait_said

pytestmark = pytest.mark.timeout(600)  # a step may take `PATIENCE_MS`

TABS = ("overview", "tasks", "actors", "objects", "workers", "timeline", "history")

LABELS = Labels(
    cell=lambda scope: f"In[{scope}]", names=lambda identity: ["xs"] if identity >> 32 == 1 else []
)


#: What `raynb.jupyter.views.kernels` tells of two notebooks, one of which has borrowed slots.
KERNELS: dict[str, Any] = {
    "v": VERSION, "kind": "reply", "do": "kernels", "ok": True, "text": "", "cores": 8, "memory_total": 32 * 10**9,
    "memory_available": 19 * 10**9, "kernels": [
        {"key": key, "name": name, "kernel": "", "own": own, "pid": 41, "cpus": cpus, "base": 4, "busy": 2.5,
         "unfinished": 12, "memory": 10**9, "store": 6 * 10**9, "store_used": 2 * 10**9, "spilled": 0,
         "share": "fair", "started": 1.0}
        for key, name, own, cpus in (("a", "train-on-all-of-the-data.ipynb", True, 8), ("b", "rest.ipynb", False, 4))
    ],
}  # fmt: skip


#: What views ask the kernel for, as the test answers it: request → (the view, answer).
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "kernels": ("all kernels", KERNELS),
    "history": ("history", KERNELS | {
        "do": "history", "wall": 1.0, "memory_limit": 10**9, "times": [1.0, 2.0, 3.0],
        **{name: [0.5, 1.0, 0.0] for name in ("cpu", "workers_cpu", "busy", "rate")},
        **{name: [10**6, 10**8, 10**7] for name in ("memory", "workers_memory", "store", "spilled")},
    }),
    "graph": ("cells", KERNELS | {"do": "graph", "markup": Picture(Graph(
        {1: CellNode(1, "raw = load()", FRESH, cell_id="a"), 2: CellNode(2, "sum(raw)", STALE, "why", "b", row=1)},
        {(1, 2): ["raw"]},
    ))._repr_html_()}),
}  # fmt: skip


def small() -> dict[str, Any]:
    return message(pictures.small(), LABELS)


def test_it_says_hello_and_shows_the_overview(views: Any, page: Any) -> None:
    board = views()
    board.wait_sent("hello")
    board.push(small())
    expect(page.get_by_role("img", name="1 of 2 CPU slots busy")).to_be_visible()
    expect(page.get_by_label("Running now")).to_contain_text("slow")
    expect(page.get_by_label("Running now")).to_contain_text("In[3]")
    expect(page.get_by_label("Worker memory")).to_contain_text("120 MB")
    expect(page.get_by_label("Object store")).to_contain_text("100 MB of 1.0 GB")


def test_changes_are_laid_over_the_picture(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(small())
    row = page.get_by_role("treegrid", name="Tasks").get_by_role("row").filter(has_text="slow")
    expect(row).to_contain_text("running")
    change = pictures.small(version=2, since=1)
    slow = replace(change.tasks[1], state=FINISHED, ended=11.7)
    named = replace(LABELS, title=lambda task: "slow depth=7")
    board.push(message(replace(change, tasks=[slow], groups={"add": {FINISHED: 1}, "slow": {FINISHED: 1}}), named))
    expect(row).to_contain_text("slow depth=7")
    expect(row).to_contain_text("finished")
    expect(row).to_contain_text("2.0 s")
    expect(page.get_by_role("treegrid", name="Tasks").get_by_role("row").filter(has_text="add")).to_be_visible()


def test_cancel_sends_the_request_and_shows_the_answer(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(small())
    page.get_by_title("Cancel this task of slow").click()
    request = board.wait_sent("cancel_task")
    assert request["task"] == "2"
    board.push({"v": VERSION, "kind": "reply", "n": request["n"], "ok": True, "text": "Cancelling slow."})
    wait_said(page, "Cancelling slow.")


def test_a_kernel_that_does_not_answer_is_said_to_be_busy(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(small())
    page.get_by_title("Cancel the 1 unfinished task of slow").click()
    request = board.wait_sent("cancel_group")
    assert request["name"] == "slow"
    expect(page.get_by_text("The kernel is busy")).to_be_visible()
    board.push({"v": VERSION, "kind": "reply", "n": request["n"], "ok": False, "text": "slow has already ended."})
    wait_said(page, "slow has already ended.")
    expect(page.get_by_text("The kernel is busy")).to_be_hidden()


def test_cancelling_a_cell_by_the_filter(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(small())
    page.get_by_label("Cell").select_option("In[3]")
    page.get_by_role("button", name="Cancel In[3]").click()
    assert board.wait_sent("cancel_cell")["scope"] == 3


def test_filtering_tasks(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(message(pictures.many(400), LABELS))
    table = page.get_by_role("treegrid", name="Tasks")
    page.get_by_label("Filter tasks").fill("valueerror")
    expect(table.get_by_role("row").filter(has_text="failed").first).to_be_visible()
    expect(table.get_by_role("row").filter(has_text="finished")).to_have_count(0)
    page.get_by_label("Filter tasks").fill("no such thing")
    page.get_by_role("button", name="Show all").click()
    expect(table.get_by_role("row").filter(has_text="running").first).to_be_visible()
    page.get_by_label("Tasks by function").get_by_role("button", name="tokenize", exact=True).click()
    expect(table.get_by_role("row").filter(has_text="load_page")).to_have_count(0)


def test_error_and_output_in_place(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    picture = pictures.small()
    bad = TaskRow(3, "bad", state=FAILED, submitted=9, started=9.1, fetched=9.1, ran=9.2, ended=9.3)
    picture.tasks.append(replace(bad, error_type="ValueError", error="ValueError: no"))
    board.push(message(picture, LABELS))
    page.get_by_role("row").filter(has_text="bad").click()
    request = board.wait_sent("detail")
    assert request["task"] == "3"
    board.push({
        "v": VERSION, "kind": "reply", "n": request["n"], "ok": True, "text": "", "task": "3", "cut": 0,
        "error": "In[4], line 2\nValueError: no", "log": "before the fall\n", "story": [[9.0, "submitted"]],
    })  # fmt: skip
    expect(page.get_by_text("In[4], line 2")).to_be_visible()
    expect(page.get_by_text("before the fall")).to_be_visible()


def test_the_output_of_a_task_that_runs_is_followed(views: Any, page: Any) -> None:
    page.clock.install()
    board = views(tab="tasks")
    board.push(small())
    page.get_by_role("row").filter(has_text="slow").click()
    reply = {"v": VERSION, "kind": "reply", "ok": True, "text": "", "task": "2", "cut": 0, "error": "", "story": []}
    for number, log in enumerate(("one\n", "one\ntwo\n")):
        page.wait_for_function("n => window.sent.filter(m => m.do === 'detail').length > n", arg=number)
        board.push(reply | {"n": board.sent("detail")[number]["n"], "log": log})
        expect(page.locator(".rn-detail pre")).to_have_text(log)
        page.clock.run_for(2_100)


def flame(label: str, wall: float, *children: dict[str, Any], kind: str = "user") -> dict[str, Any]:
    return {"label": label, "kind": kind, "wall": wall, "cpu": wall / 2, "children": list(children)}


@pytest.mark.parametrize(("width", "theme"), [(250, "dark"), (900, "light")])
def test_stack_profile_and_breakpoints_of_what_runs(views: Any, page: Any, width: int, theme: str) -> None:
    board = views(tab="tasks", width=width, theme=theme, fill=True)
    picture = pictures.small()
    board.push(message(replace(picture, paused=[2]), LABELS))
    row = page.get_by_role("row").filter(has_text="slow")
    expect(row).to_contain_text("at a breakpoint")
    board.push(message(pictures.small(version=2, since=1), LABELS))
    expect(row).to_contain_text("running")
    if width > 460:
        row.get_by_role("button", name="Stack").click()  # opens the detail, and asks
    else:
        row.click()
        page.locator(".rn-detail").get_by_role("button", name="Stack").click()
    request = board.wait_sent("stack")
    assert request["task"] == "2"
    reply = {"v": VERSION, "kind": "reply", "ok": True, "text": "", "do": "stack"}
    board.push(reply | {"n": request["n"], "stack": "slow, worker 2\n  Cell In[3], line 4, in slow"})
    expect(page.get_by_label("Stack of slow")).to_contain_text("Cell In[3], line 4")
    page.locator(".rn-detail").get_by_role("button", name="Profile").click()
    request = board.wait_sent("profile")
    root = flame("Profile", 4.0, flame("slow, In[3] line 4", 3.0, flame("merge (pandas)", 2.0, kind="library")))
    board.push(reply | {"n": request["n"], "text": "50 % in pandas", "summary": "", "root": root, "do": "profile"})
    graph = page.locator(".rn-flame")
    expect(graph).to_contain_text("50 % in pandas")
    graph.get_by_label("Search the flame graph").fill("pandas")
    expect(graph).to_contain_text("50.0 % match")
    graph.get_by_title("slow, In[3] line 4").click()
    merge = graph.get_by_title("merge (pandas)")
    expect(merge).to_be_visible()
    share = "node => node.offsetWidth / node.parentElement.clientWidth"
    assert merge.evaluate(share) == pytest.approx(2 / 3, abs=0.01)
    assert page.evaluate("() => document.getElementById('view').scrollWidth") <= width
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("async () => (await axe.run('#view')).violations.map(one => [one.id, one.nodes[0].html])")
    assert found == []
    graph.get_by_role("button", name="Zoom out").click()
    expect(graph.get_by_title("slow, In[3] line 4")).to_be_visible()


def test_the_runtimes_buttons(views: Any, page: Any) -> None:
    board = views()
    board.push(small())
    page.get_by_role("button", name="One CPU slot more").click()
    assert board.wait_sent("scale")["cpus"] == 3
    slots = page.get_by_label("CPU slots").first
    stop = slots.get_by_role("button", name="Stop").element_handle()
    stop.click()
    assert board.sent("stop") == []
    say_sure(stop)
    board.wait_sent("stop")
    board.push(no_runtime())
    page.get_by_role("button", name="Start the runtime").click()
    board.wait_sent("start")


def test_by_keyboard_alone(views: Any, page: Any) -> None:
    board = views()
    picture = pictures.many(300)
    board.push(message(picture, LABELS))
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Tasks")).to_be_focused()
    expect(page.get_by_role("tab", name="Tasks")).to_have_attribute("aria-selected", "true")
    board.settle()  # rows that are drawn anew would lose the focus
    table = page.get_by_role("treegrid", name="Tasks")
    table.locator("[data-at]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(table.get_by_role("row", expanded=True)).to_have_attribute("aria-rowindex", "3")
    page.keyboard.press("Escape")
    expect(table.get_by_role("row", expanded=True)).to_have_count(0)
    page.keyboard.press("End")
    last = table.locator("[role=row]:focus")
    expect(last).to_have_attribute("aria-rowindex", str(1 + 300 + 4 + 92))
    page.keyboard.press("Home")
    # The button that has the focus goes with what it is about: the focus stays in the table.
    button = page.get_by_title("Cancel this task of Counter.add")
    button.focus()
    done = [replace(row, state=FINISHED, ended=picture.now) for row in picture.tasks if row.name == "Counter.add"]
    running = [row for row in picture.running if row.name != "Counter.add"]
    later = replace(picture, version=picture.version + 1, since=picture.version, tasks=done, running=running)
    board.push(message(later, LABELS))
    expect(button).to_have_count(0)
    expect(table.locator("[role=row]:focus")).to_have_count(1)


def test_killing_asks_once_more(views: Any, page: Any) -> None:
    board = views(tab="actors")
    board.push(message(pictures.many(10), LABELS))
    row = page.get_by_role("row").filter(has_text="Counter")
    expect(row).to_contain_text("alive")
    kill = row.get_by_role("button", name="Kill").element_handle()
    kill.click()
    assert board.sent("kill_actor") == []
    say_sure(kill)
    assert board.wait_sent("kill_actor")["actor"] == f"{900:x}"
    expect(page.get_by_role("row").filter(has_text="Loader").get_by_role("button")).to_have_count(0)


def test_objects_by_their_names_with_their_holders(views: Any, page: Any) -> None:
    board = views(tab="objects")
    board.push(message(pictures.many(50), LABELS))
    page.get_by_label("Filter objects").fill("xs")
    row = page.get_by_role("row").filter(has_text="xs").first
    expect(row).to_contain_text("argument of 1 task")
    page.get_by_label("Filter objects").fill("actor hits")
    expect(page.get_by_role("row").filter(has_text="actor hits").first).to_be_visible()
    page.get_by_label("Filter objects").fill("xs")
    click_sure(row.get_by_role("button", name="Free"))
    assert board.wait_sent("free")["object"] == f"{(1 << 32) | 1:x}"


def test_workers_with_what_they_do(views: Any, page: Any) -> None:
    board = views(tab="workers")
    picture = pictures.small()
    picture.workers[0].exit = "killed by signal 9"
    board.push(message(picture, LABELS))
    expect(page.get_by_role("row").filter(has_text="102")).to_contain_text("slow")
    expect(page.get_by_role("row").filter(has_text="101")).to_contain_text("killed by signal 9")


def test_the_timeline_zooms_and_tells(views: Any, page: Any) -> None:
    board = views(tab="timeline")
    board.push(message(pictures.many(400), LABELS))
    canvas = page.get_by_role("img", name="Timeline of 5 workers")
    expect(canvas).to_be_visible()
    # It is painted some time after it is there.
    painted = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 8"
    page.wait_for_function(painted, arg=canvas.element_handle())
    everything = page.get_by_role("button", name="Everything")
    expect(everything).to_have_attribute("aria-pressed", "true")
    before = canvas.evaluate("c => c.toDataURL()")
    canvas.focus()
    page.keyboard.press("+")
    expect(everything).to_have_attribute("aria-pressed", "false")
    page.wait_for_function("([c, before]) => c.toDataURL() !== before", arg=[canvas.element_handle(), before])
    page.keyboard.press("0")
    expect(everything).to_have_attribute("aria-pressed", "true")
    canvas.hover(position={"x": 300, "y": 12})
    expect(page.locator(".rn-tip")).to_contain_text("running")


def test_no_runtime_and_its_return(views: Any, page: Any) -> None:
    board = views()
    board.push(small())
    board.push(no_runtime())
    expect(page.get_by_text("No runtime is running")).to_be_visible()
    expect(page.get_by_text("%raynb start")).to_be_visible()
    board.push(small())
    expect(page.get_by_text("No runtime is running")).to_be_hidden()
    board.push(no_runtime("failed", "The feed of the views stopped: KeyError: 'x'"))
    expect(page.get_by_text("KeyError: 'x'")).to_be_visible()


def test_silence_of_the_kernel_is_told(views: Any, page: Any) -> None:
    page.clock.install()
    board = views()
    board.push(small())
    expect(page.get_by_label("CPU slots").first).to_be_visible()
    page.clock.run_for(15_000)
    expect(page.get_by_text("No news from the kernel")).to_be_visible()
    board.push({"v": VERSION, "kind": "beat"})
    page.clock.run_for(1_100)
    expect(page.get_by_text("No news from the kernel")).to_be_hidden()


def test_a_newer_kernel_is_told_apart(views: Any, page: Any) -> None:
    board = views()
    board.push(small() | {"v": VERSION + 1})
    expect(page.get_by_text(f"version {VERSION + 1} of the view messages")).to_be_visible()


def test_empty_views_say_what_to_do(views: Any, page: Any) -> None:
    board = views()
    board.push(message(Snapshot(1, 1.0, 0.0, total={"CPU": 2.0}, available={"CPU": 2.0})))
    for tab, said in {
        "tasks": "no tasks yet",
        "actors": "no actors yet",
        "objects": "no objects yet",
        "workers": "no workers yet",
        "timeline": "nothing has run yet",
        "overview": "nothing is running",
    }.items():
        board.tab(tab)
        expect(page.get_by_text(said)).to_be_visible()


def test_leaving_says_bye_and_keys_stay_inside(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    board.push(small())
    assert page.locator("#view").get_attribute("data-lm-suppress-shortcuts") == "true"
    page.evaluate("() => window.leave()")
    board.wait_sent("bye")
    expect(page.get_by_role("tab")).to_have_count(0)


def pictures_of(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Returns a message with each number of tasks."""
    empty = Snapshot(1, 1.0, 0.0, total={"CPU": 2.0}, available={"CPU": 2.0})
    made = {0: lambda: empty, 12: lambda: pictures.many(12)}
    return [message(made.get(size, lambda size=size: pictures.many(size - 96))(), LABELS) for size in sizes]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(views: Any, page: Any, theme: str) -> None:
    """Every view at 250 and 1,200 px, with 0, 12 and 10,000 tasks, closed and with a row open."""
    page.set_viewport_size({"width": 1240, "height": 800})
    for width, fill in ((250, True), (1200, False)):
        board = views(width=width, theme=theme, fill=fill)
        page.add_script_tag(path=str(AXE))
        for size, picture in zip((0, 12, 10_000), pictures_of((0, 12, 10_000)), strict=True):
            board.push(picture)
            if size == 12:
                board.push(message(replace(pictures.many(12), nodes=pictures.some_nodes()), LABELS) | {"graph": 1})
            for tab in (*TABS, *(("nodes", "cells", "all kernels") if size == 12 else ())):
                asked = {do: len(board.sent(do)) for do, (view, _) in ANSWERS.items() if view == tab and size == 12}
                board.tab(tab)
                for do, count in asked.items():
                    page.wait_for_function(
                        "([name, n]) => window.sent.filter(m => m.do === name).length > n", arg=[do, count]
                    )
                    board.push(ANSWERS[do][1] | {"n": board.sent(do)[-1]["n"]})
                    expect(page.locator(".rn-chart, .rn-cells svg, [data-at]").first).to_be_visible()
                if size == 12 and tab in ("tasks", "actors", "objects", "workers", "nodes", "all kernels"):
                    page.locator("[data-at]").first.click()
                    expect(page.locator(".rn-detail")).to_be_visible()
                found = page.evaluate("""async () => (await axe.run('#view', {resultTypes: ['violations']})).violations
                    .map(one => [one.id, one.nodes.length, one.nodes[0].html, one.nodes[0].failureSummary])""")
                assert found == [], (theme, width, size, tab, found)


@pytest.mark.parametrize("width", [240, 250, 320, 420, 560, 900])
def test_nothing_sticks_out_and_states_keep_their_words(views: Any, page: Any, width: int) -> None:
    board = views(width=width, fill=True)
    board.push(message(pictures.many(200), LABELS))
    for tab in TABS:
        board.tab(tab)
        board.settle()  # what has measured itself is drawn anew, and may measure itself once more
        wide = "() => document.getElementById('view').scrollWidth"
        assert page.evaluate(wide) <= width, tab
        if tab == "tasks":
            state = page.locator(".rn-body .rn-state").first
            expect(state).to_have_text("running")
            expect(page.get_by_title("Cancel this task of Counter.add")).to_be_in_viewport(ratio=1)
        # Boxes that clip what is too wide for them would hide a button.
        cut = """() => [...document.querySelectorAll('.rn-row, .rn-group, .rn-now li, .rn-tabs, .rn-card, .rn-act')]
            .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.className)"""
        assert page.evaluate(cut) == [], tab


def test_ten_thousand_tasks_are_a_screenful_of_rows_and_stay_smooth(views: Any, page: Any) -> None:
    board = views(tab="tasks")
    big = pictures.many(10_000)
    board.push(message(big, LABELS))
    table = page.get_by_role("treegrid", name="Tasks")
    expect(table).to_have_attribute("aria-rowcount", str(10_000 + 1))
    assert table.get_by_role("row").count() < 40
    table.locator(".rn-body").evaluate("body => { body.scrollTop = body.scrollHeight / 2 }")
    page.wait_for_function(
        "() => Number(document.querySelectorAll('.rn-body [role=row]')[5]?.ariaRowIndex) > 4000"
    )
    # A change is laid over what is there: 200 rows are new, the others stay.
    renamed = [replace(row, name="renamed") for row in big.tasks[5000:5200]]
    change = replace(big, version=big.version + 1, since=big.version, tasks=renamed, objects=[])
    board.push(message(change, LABELS))
    page.get_by_label("Filter tasks").fill("renamed")
    expect(table).to_have_attribute("aria-rowcount", str(200 + 1))
    page.get_by_label("Filter tasks").fill("")
    expect(table).to_have_attribute("aria-rowcount", str(10_000 + 1))
