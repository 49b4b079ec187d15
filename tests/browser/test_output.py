"""What a person sees in JupyterLab and in Notebook 7: output in its cell, live refs and handles, pictures.

Tasks wait for files that the test makes, so nothing depends on how fast the machine is.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect

from raynb.jupyter.inspection.flame import page as flame_page

from .lab import AXE, Lab
from .test_lab import DASHBOARD, SETUP

pytestmark = pytest.mark.timeout(600)  # a step may take `PATIENCE_MS`

SPEAKS = """@ray.remote
def speaks(name):
    print('begun')
    gated._function(name)
    print('late words')
    return 7
ref = speaks.remote('gate')
ref"""

COUNTER = """@ray.remote(num_cpus=0)
class Counter:
    def add(self, name):
        gated._function(name)
counter = Counter.remote()
calls = [counter.add.remote('gate') for _ in range(2)]
counter"""

CELLS = [
    SETUP,
    SPEAKS,
    COUNTER,
    "open('gate', 'w').close()\nprint(ray.get([ref, *calls]))",
    "@ray.remote\ndef speaks(name):\n    return 8",
    "ref",
    "%raynb timeline 2",
    "%kill counter\nray.shutdown()",
]


def see_it(lab: Lab, name: str) -> None:
    """The same in both applications."""
    lab.open(f"{name}.ipynb", CELLS)
    for cell in (0, 1, 2):
        lab.run(cell)
    first, actor = lab.output(1), lab.output(2)
    expect(first).to_contain_text("running since")
    expect(actor).to_contain_text("Counter alive, 2 calls pending")
    lab.run(3)
    assert "[7, None, None]" in lab.text(3)
    assert "late words" not in lab.text(3), "it belongs to the cell that submitted the task"
    expect(first).to_contain_text("late words")
    expect(first).to_contain_text("finished in")
    expect(actor).to_contain_text("Counter alive, 0 calls pending")
    lab.wait_text(1, "begun\nlate words\n")
    lab.run(4)
    lab.run(5)
    expect(lab.output(5)).to_contain_text("the function speaks was redefined since")
    lab.run(6)
    picture = lab.output(6).locator("svg[role=img]")
    expect(picture).to_be_visible()
    expect(lab.output(6)).to_contain_text("of the time was running")
    lab.run(7)
    expect(actor).to_contain_text("its runtime is gone")


def test_output_refs_handles_and_the_timeline_in_jupyterlab(lab: Lab) -> None:
    see_it(lab, "seen")


def test_output_refs_handles_and_the_timeline_in_notebook_7(notebook7: Lab) -> None:
    see_it(notebook7, "seen7")


FAILS = """@ray.remote
def inner(x):
    return [][x]
@ray.remote
def fails():
    print('so far')
    return inner._function(3)
lost = fails.remote()
ray.wait([lost]);
"""


def test_the_dashboard_shows_the_traceback_and_who_holds_what(lab: Lab) -> None:
    lab.open("details.ipynb", [SETUP, DASHBOARD, FAILS, "kept = ray.put(bytes(300_000))", "ray.shutdown()"])
    for cell in (0, 1, 2, 3):
        lab.run(cell)
    board = lab.output(1)
    board.get_by_role("tab", name="Tasks").click()
    board.get_by_role("treegrid", name="Tasks").get_by_role("row").filter(has_text="fails").click()
    trace = board.locator("pre.rn-trace")
    expect(trace).to_contain_text("Cell In[3], line 7, in fails")
    expect(trace).to_contain_text("return inner._function(3)")
    expect(trace).to_contain_text("Cell In[3], line 3, in inner")
    expect(trace).to_contain_text("IndexError: list index out of range")
    expect(board.locator("pre").filter(has_text="so far")).to_be_visible()
    board.get_by_role("tab", name="Objects").click()
    rows = board.get_by_role("treegrid", name="Objects").get_by_role("row")
    expect(rows.filter(has_text="300 KB")).to_contain_text("kept")
    expect(rows.filter(has_text="lost")).to_have_count(1)
    lab.run(4)


def test_a_flame_graph_in_a_narrow_cell_keeps_the_size_of_its_text(page: Any) -> None:
    node = lambda label, wall, *below: SimpleNamespace(
        label=label, kind="user", wall=wall, cpu=wall, children={one.label: one for one in below}
    )
    tree = node("all", 4.0, node("a_function_with_a_long_name, In[3] line 4", 3.0))
    text = "In[3]\n\n75.0 %  3.0 s  In[3], line 4  a = 1\n\n9 samples"
    profile: Any = SimpleNamespace(title="In[3]", tree=lambda: tree, verdict=str, text=lambda: text)
    page.set_content(f'<title>t</title><main id="view" style="width:300px">{flame_page(profile)}</main>')
    expect(page.locator("svg")).to_have_attribute("viewBox", "0 0 300 36")
    expect(page.locator("svg text").nth(1)).to_have_text("a_function_with_a_long_name, In[3] …")
    page.add_script_tag(path=str(AXE))
    assert page.evaluate("async () => (await axe.run('#view')).violations.map(one => one.id)") == []
    words = page.get_by_text("In[3], line 4  a = 1")
    expect(words).to_be_hidden()
    # What JupyterLab takes out of a notebook that is not trusted.
    page.evaluate("() => document.querySelectorAll('#view :is(style, script, svg)').forEach(node => node.remove())")
    expect(words).to_be_visible()
    expect(page.get_by_role("button", name="Reset zoom")).to_be_hidden()
