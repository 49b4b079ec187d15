"""The whole stack: engine, kernel, comms, JupyterLab, Chromium.

Tasks wait for files that the test makes, so nothing depends on how fast the machine is.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .lab import CURRENT, Lab, click_sure, wait_said

pytestmark = pytest.mark.timeout(600)  # a step may take `PATIENCE_MS`

SETUP = """\
import os, time
get_ipython().config.Raynb.num_cpus = 2
%load_ext raynb
import raynb as ray

@ray.remote(max_retries=0)
def gated(name):
    while not os.path.exists(name):
        time.sleep(0.01)
    return name

@ray.remote
def quick(x):
    return x
"""

DASHBOARD = """\
from raynb.jupyter.views.dashboard import Dashboard
Dashboard()
"""

#: Keeps the kernel's main thread busy in plain Python until the file is there.
BUSY = """\
refs = [gated.remote('a-{name}'), gated.remote('b-{name}')]
while not os.path.exists('done-{name}'):
    time.sleep(0.01)
print(ray.get(refs))
"""


#: Waits for a task that nobody but Cancel will end.
WAITS = """\
try:
    ray.get(gated.remote('never'))
except ray.exceptions.TaskCancelledError:
    print('cancelled')
"""


def overview(place: Any, label: str) -> Any:
    return place.get_by_role("region", name=label).or_(place.locator(f"section[aria-label='{label}']")).first


def make(lab: Lab, *names: str) -> None:
    """Makes the files that tasks and cells wait for."""
    for name in names:
        (lab.server.work / name).touch()


def test_the_dashboard_is_live_while_a_cell_computes(lab: Lab) -> None:
    lab.open("live.ipynb", [SETUP, DASHBOARD, BUSY.format(name="live"), "ray.shutdown()"])
    lab.run(0)
    lab.run(1)
    board = lab.output(1)
    expect(board.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.start(2)
    expect(board.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    expect(overview(board, "Running now")).to_contain_text("gated")
    expect(overview(board, "Running now")).to_contain_text("In[3]")
    assert lab.is_running(2)
    make(lab, "a-live")
    expect(board.get_by_label("1 of 2 CPU slots busy")).to_be_visible()
    board.get_by_role("tab", name="Tasks").click()
    row = board.get_by_role("treegrid", name="Tasks").get_by_role("row")
    expect(row.filter(has_text="finished")).to_have_count(1)
    expect(row.filter(has_text="running")).to_have_count(1)
    assert lab.is_running(2)
    make(lab, "b-live", "done-live")
    lab.wait_ended(2)
    assert "['a-live', 'b-live']" in lab.text(2)
    lab.run(3)
    expect(board.get_by_text("No runtime is running")).to_be_visible()


def test_cancel_works_while_a_cell_is_busy(lab: Lab) -> None:
    lab.open("cancel.ipynb", [SETUP, DASHBOARD, WAITS, "ray.shutdown()"])
    lab.run(0)
    lab.run(1)
    lab.start(2)
    board = lab.output(1)
    board.get_by_title("Cancel this task of gated").click()
    wait_said(lab.page, "Cancelling gated.")
    lab.wait_ended(2)
    assert lab.text(2) == "cancelled\n"
    lab.run(3)


def test_cancel_works_while_plain_python_computes(lab: Lab) -> None:
    lab.open("plain.ipynb", [SETUP, DASHBOARD, BUSY.format(name="plain"), "ray.shutdown()"])
    lab.run(0)
    lab.run(1)
    lab.start(2)
    board = lab.output(1)
    expect(board.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    board.get_by_role("tab", name="Tasks").click()
    board.get_by_title("Cancel the 2 unfinished tasks of gated").click()
    row = board.get_by_role("treegrid", name="Tasks").get_by_role("row")
    expect(row.filter(has_text="cancelled")).to_have_count(2)
    assert lab.is_running(2)
    make(lab, "done-plain")
    lab.wait_ended(2)
    assert "TaskCancelledError" in str(lab.outputs(2))
    lab.run(3)


def test_after_a_reload_in_a_running_cell_all_of_ours_goes_live_again(lab: Lab) -> None:
    waits = "print(ray.get([gated.remote('reload-a'), gated.remote('reload-b')]))"
    lab.open(
        "reload.ipynb",
        [SETUP, DASHBOARD, "held = gated.remote('reload-go'); held", waits, "gated.remote('reload-never')"],
    )
    for cell in range(3):
        lab.run(cell)
    lab.start(3)
    expect(lab.output(3)).to_contain_text("0/2")
    lab.save()
    lab.reload()
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    expect(lab.output(1).get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    panel.get_by_role("tab", name="Tasks").click()
    expect(panel.get_by_role("row").filter(has_text="gated").first).to_be_visible()
    make(lab, "reload-go")
    expect(lab.output(2)).to_contain_text("finished in")
    make(lab, "reload-a")
    expect(lab.output(3)).to_contain_text("1/2")
    make(lab, "reload-b")
    expect(lab.output(3)).to_contain_text("took")
    lab.wait_output(3, "2/2")
    # What nobody can tell any more says what it was.
    lab.run(4)
    expect(lab.output(4)).to_contain_text("running since")
    lab.restart_kernel()
    expect(lab.output(4)).to_contain_text("its runtime is gone")
    expect(lab.output(4)).to_contain_text("running since")
    expect(lab.output(0)).to_contain_text("its kernel is gone")
    lab.wait_output(4, "its runtime is gone")  # also what is saved


def test_after_a_kernel_restart_the_panel_says_so_and_starts_again(lab: Lab) -> None:
    lab.open("restart.ipynb", [SETUP, "ray.get(quick.remote(5))", "ray.shutdown()"])
    lab.run(0)
    lab.run(1)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.restart_kernel()
    lab.ready()
    expect(panel.get_by_text("raynb is not loaded in this notebook")).to_be_visible()
    lab.run(0)
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.run(2)


def test_it_can_be_read_in_the_dark_theme(lab: Lab) -> None:
    lab.open("dark.ipynb", [SETUP, "ray.get([quick.remote(i) for i in range(20)])", "ray.shutdown()"])
    lab.run(0)
    lab.run(1)
    lab.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("20 finished")).to_be_visible()
    lab.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    shades = panel.locator(".rn-value").first.evaluate("""node => {
        const mean = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3;
        const card = getComputedStyle(node.closest('.rn-card'));
        return [mean(getComputedStyle(node).color), mean(card.backgroundColor)];
    }""")
    assert shades[0] > 170
    assert shades[1] < 60
    lab.run(2)


def test_the_palette_asks_before_it_cancels_every_task(lab: Lab) -> None:
    lab.open("palette.ipynb", [SETUP, BUSY.format(name="palette"), "ray.shutdown()"])
    lab.run(0)
    lab.start(1)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    answer = lab.page.get_by_role("dialog")
    ask = "() => { void window.jupyterapp.commands.execute('raynb:cancel-all') }"
    lab.page.evaluate(ask)
    expect(answer).to_contain_text("2 unfinished tasks")
    answer.get_by_role("button", name="Keep").click()
    expect(panel.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    lab.page.evaluate(ask)
    answer.get_by_role("button", name="Cancel Tasks").click()
    wait_said(lab.page, "Cancelling 2 tasks.")
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.page.wait_for_function("() => !window.jupyterapp.commands.isEnabled('raynb:cancel-all')")
    make(lab, "done-palette")
    lab.wait_ended(1)
    lab.run(2)


def test_dashboard_and_cancel_in_notebook_7(notebook7: Lab) -> None:
    notebook7.open("seven.ipynb", [SETUP, DASHBOARD, WAITS, "ray.shutdown()"])
    notebook7.run(0)
    notebook7.run(1)
    notebook7.start(2)
    board = notebook7.output(1)
    expect(board.get_by_label("1 of 2 CPU slots busy")).to_be_visible()
    board.get_by_title("Cancel this task of gated").click()
    wait_said(notebook7.page, "Cancelling gated.")
    notebook7.wait_ended(2)
    assert notebook7.text(2) == "cancelled\n"
    notebook7.command("raynb:open-view", {"tab": "tasks"})  # its main area has room for the notebook only
    panel = notebook7.page.locator("#raynb-panel")
    row = panel.get_by_role("row").filter(has_text="gated").filter(has_text="cancelled")
    expect(row).to_be_visible()
    notebook7.command("raynb:tasks")  # which doesn't close what is open
    expect(row).to_be_visible()
    notebook7.run(3)


def test_an_open_dashboard_goes_on_after_the_extension_is_reloaded(lab: Lab) -> None:
    lab.open(
        "again.ipynb", [SETUP, DASHBOARD, "%reload_ext raynb", "ray.get(quick.remote(1)); ray.shutdown()"]
    )
    lab.run(0)
    lab.run(1)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.run(2)
    expect(lab.output(1).get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.run(3)
    expect(lab.output(1).get_by_text("No runtime is running")).to_be_visible()
    expect(panel.get_by_text("No runtime is running")).to_be_visible()


STOPS = """\
from raynb.base.engine import current
current().inspection.patience = 60  # a worker may be slow to tell its stack
@ray.remote
def stops():
    x = 41
    breakpoint()
    return x
held = [gated.remote('inside-go'), stops.remote()]
"""


def test_the_panel_looks_inside_scales_stops_and_starts(lab: Lab) -> None:
    lab.open("inside.ipynb", [SETUP, STOPS, BUSY.format(name="inside")])
    lab.run(0)
    lab.run(1)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    expect(panel.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    expect(lab.page.locator("#raynb-status")).to_contain_text("1 at a breakpoint")
    panel.get_by_role("button", name="One CPU slot more").click()
    expect(panel.get_by_label("2 of 3 CPU slots busy")).to_be_visible()
    lab.start(2)  # the kernel is busy with plain Python from here on
    expect(panel.get_by_label("3 of 3 CPU slots busy")).to_be_visible()
    panel.get_by_role("tab", name="Tasks").click()
    rows = panel.get_by_role("row")
    expect(rows.filter(has_text="stops")).to_contain_text("at a breakpoint")
    rows.filter(has_text="gated").filter(has_text="In[2]").click()
    panel.get_by_role("button", name="Stack").click()
    expect(panel.get_by_label("Stack of gated")).to_contain_text("in gated")
    panel.get_by_role("tab", name="Overview").click()
    make(lab, "done-inside", "a-inside", "b-inside", "inside-go")
    lab.wait_ended(2)
    click_sure(panel.get_by_role("button", name="Stop", exact=True))
    expect(panel.get_by_text("No runtime is running")).to_be_visible()
    panel.get_by_role("button", name="Start the runtime").click()
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()


def test_interrupting_from_the_palette_cancels_the_cells_tasks(lab: Lab) -> None:
    lab.open(
        "interrupt.ipynb", [SETUP, "ray.get([gated.remote('never') for _ in range(2)])", "ray.shutdown()"]
    )
    lab.run(0)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    lab.start(1)
    expect(panel.get_by_label("2 of 2 CPU slots busy")).to_be_visible()
    lab.command("raynb:interrupt")
    lab.wait_ended(1)
    assert "KeyboardInterrupt" in str(lab.outputs(1))
    expect(panel.get_by_label("2 cancelled")).to_be_visible()
    expect(panel.get_by_label("0 of 2 CPU slots busy")).to_be_visible()
    lab.run(2)


def test_card_tabs_and_saved_dashboards(lab: Lab) -> None:
    page = lab.page
    lab.open("card.ipynb", [SETUP, "%raynb dashboard tasks", "ray.get([quick.remote(i) for i in range(3)])"])
    for cell in range(3):
        lab.run(cell)
    card = lab.output(0).get_by_role("region", name="raynb")
    expect(card).to_contain_text("running")
    expect(card).not_to_contain_text("starting")
    card.get_by_role("button", name="Timeline").click()
    tab = page.locator("[id^='raynb-view-']")
    expect(tab.get_by_role("tab", name="Timeline")).to_have_attribute("aria-selected", "true")
    expect(tab.get_by_role("img", name="Timeline of")).to_be_visible()
    lab.bring("card.ipynb")
    board = lab.output(1)
    expect(board.get_by_role("tab", name="Tasks")).to_have_attribute("aria-selected", "true")
    expect(board.get_by_role("row").filter(has_text="quick")).to_have_count(3)
    lab.save()
    lab.wait_saved_layout("raynb-views:card.ipynb:timeline")
    lab.restart_kernel()
    page.reload()
    lab.wait_restored()
    lab.bring("card.ipynb")
    lab.ready()
    expect(tab).to_have_count(1)  # it came back with the layout
    expect(lab.output(1).locator(".rn-saved")).to_contain_text("CPUs")
    expect(lab.output(1)).not_to_contain_text("model not found")


def test_the_graph_of_cells_stale_marks_and_a_rerun(lab: Lab, tmp_path: Any) -> None:
    cells = [
        SETUP, "def clean(x):\n    return x + 1", "%%remote\nprint('loading')\nraw = [clean(x) for x in range(3)]",
        "%%remote --wait\ntotal = sum(raw)\ntotal", "total", "def clean(x):\n    return x + 2", "%raynb graph",
        "%raynb rerun", "ray.shutdown()",
    ]  # fmt: skip
    lab.open("cells.ipynb", cells)
    for cell in range(5):
        lab.run(cell)
    lab.command("raynb:open")
    panel = lab.page.locator("#raynb-panel")
    panel.get_by_role("tab", name="Cells").click()
    box = panel.get_by_role("button").filter(has_text="total = ")
    expect(box).to_contain_text("fresh")
    lab.run(5)
    expect(box).to_contain_text("stale")
    why = "`raw` comes from In[3], which is stale: `clean` was redefined in In[6]"
    expect(lab.output(4)).to_contain_text(f"stale: {why}")
    lab.run(6)
    expect(lab.output(6).locator("svg[role=img]")).to_contain_text("In[4] · stale")
    panel.get_by_role("button").filter(has_text="loading").click()
    active = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    lab.page.wait_for_function(f"{active} === 2")
    lab.page.screenshot(path=str(tmp_path / "graph.png"))
    assert (tmp_path / "graph.png").stat().st_size > 10_000
    lab.run(7)
    lab.wait_output(3, '"text/plain":"9"')
    assert all(output.get("data", {}).get("text/plain") != "6" for output in lab.outputs(3))
    expect(lab.output(2)).to_have_text("loading\n")
    expect(box).to_contain_text("fresh")
    expect(lab.output(4)).to_contain_text("; stale:")  # that ref is still the one of before
    lab.run(8)


def test_what_came_while_the_notebook_was_closed_is_put_into_its_cells(lab: Lab, tmp_path: Any) -> None:
    task = """\
%%remote
from IPython.display import HTML, display
def show(part):
    print(f'{part} NAME')
    display(HTML(f'<b>{part} figure</b>'))
show('first')
for gate in ('go-NAME', 'last-NAME'):
    while not os.path.exists(gate):
        time.sleep(0.01)
    show(gate)
    open(f'shown-{gate}', 'w').close()
"""
    busy = "print('begin')\nwhile not os.path.exists('go-busy'): time.sleep(0.01)\nprint('end')"
    lab.open("closed.ipynb", [SETUP, task.replace("NAME", "a"), task.replace("NAME", "b"), "print('kept')", busy])
    lab.run(0)
    for cell in (1, 2):
        lab.start(cell)
        expect(lab.output(cell)).to_contain_text("first figure")
    lab.run(3)
    lab.start(4)
    expect(lab.output(4)).to_contain_text("begin")
    # What a person has taken away does not come back by itself.
    lab.page.evaluate(f"() => {{ {CURRENT} panel.content.widgets[2].model.clearExecution() }}")
    lab.save()
    page = lab.page.context.new_page()
    lab.page.close()
    make(lab, "go-a", "go-b", "go-busy")
    lab.wait_file("shown-go-a")
    lab.wait_file("shown-go-b")

    lab.page = page
    lab.show("closed.ipynb")
    whole = [f"first {x}\nfirst figure\ngo-{x} {x}\ngo-{x} figure\nlast-{x} {x}\nlast-{x} figure\n" for x in "ab"]
    expect(lab.output(1)).to_contain_text("go-a figure")
    assert lab.shown(1) == whole[0].partition("last")[0]
    lab.wait_text(4, "begin\nend\n")
    lab.command("raynb:open")
    panel = page.locator("#raynb-panel")
    expect(panel.get_by_role("status").filter(has_text="1 cell may not show all")).to_be_visible()
    page.screenshot(path=str(tmp_path / "catch_up.png"))
    assert lab.shown(2) == ""
    panel.get_by_role("button", name="Catch up").click()
    expect(lab.output(2)).to_contain_text("go-b figure")
    expect(panel.get_by_role("button", name="Catch up")).to_be_hidden()
    # What goes on to come goes on to be shown, once, also after the page was loaded again.
    make(lab, "last-a")
    expect(lab.output(1)).to_contain_text("last-a figure")
    lab.save()
    lab.reload()
    make(lab, "last-b")
    expect(lab.output(2)).to_contain_text("last-b figure")
    assert [lab.shown(1), lab.shown(2)] == whole
    assert lab.text(3) == "kept\n"
    # The next run of a cell is shown as any.
    lab.run(1)
    expect(lab.output(1)).to_contain_text("last-a figure")
    assert lab.shown(1) == whole[0]
