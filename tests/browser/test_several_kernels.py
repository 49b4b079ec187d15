"""Several notebooks, each with a kernel and a runtime of its own."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .lab import Lab, click_sure, wait_said
from .test_lab import SETUP, make

pytestmark = pytest.mark.timeout(600)  # a step may take `PATIENCE_MS`


def test_the_panel_and_the_status_bar_follow_the_active_notebook(lab: Lab) -> None:
    page = lab.page
    lab.open("first.ipynb", [SETUP, "held = [gated.remote('first-go')]", "ray.get(held); ray.shutdown()"])
    lab.command("raynb:open")
    panel = page.locator("#raynb-panel")
    status = page.locator("#raynb-status")
    expect(panel.get_by_text("raynb is not loaded in this notebook")).to_be_visible()
    expect(status).not_to_contain_text("raynb")
    lab.run(0)
    lab.run(1)
    expect(panel.get_by_label("1 of 2 CPU slots busy")).to_be_visible()
    expect(status).to_contain_text("raynb 1/2")
    expect(status).to_contain_text("1 task")
    expect(lab.output(0)).to_contain_text("1 unfinished task, 1 running")  # the card
    lab.open_beside("second.ipynb", ["print('no raynb here')", SETUP])
    expect(panel.get_by_text("raynb is not loaded in this notebook")).to_be_visible()
    expect(panel).to_contain_text("second.ipynb")
    expect(status.get_by_role("button")).to_be_hidden()
    lab.bring("first.ipynb")
    expect(panel).to_contain_text("first.ipynb")
    expect(panel.get_by_label("1 of 2 CPU slots busy")).to_be_visible()
    lab.command("raynb:tasks")
    expect(panel.get_by_role("tab", name="Tasks")).to_have_attribute("aria-selected", "true")
    panel.get_by_role("tab", name="Tasks").press("Escape")  # the way back
    page.wait_for_function("() => document.activeElement?.closest('.jp-Notebook') != null")
    # All kernels: that of the other notebook too, by the name that it has now; and stopping it.
    lab.bring("second.ipynb")
    lab.run(1)
    lab.command("raynb:open-view", {"tab": "tasks"})
    lab.bring("second.ipynb")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.rename('renamed.ipynb')")
    lab.bring("first.ipynb")
    lab.wait_saved_layout("raynb-views:renamed.ipynb:tasks")  # the tab comes back with the renamed notebook
    panel.get_by_role("tab", name="All kernels").click()
    row = panel.get_by_role("row").filter(has_text="renamed.ipynb")
    expect(row).to_contain_text("0 of 2")
    own = panel.get_by_role("row").filter(has_text="this notebook")
    expect(own).to_contain_text("1 of 2")
    # Another notebook's view is asked of that notebook's kernel, also where the tab stays the same.
    lab.bring("renamed.ipynb")
    expect(own).to_contain_text("renamed.ipynb")
    lab.bring("first.ipynb")
    expect(own).to_contain_text("first.ipynb")
    click_sure(row.get_by_role("button", name="Stop"))
    wait_said(page, "to stop its runtime")
    expect(row).to_have_count(0)
    panel.get_by_role("tab", name="Overview").click()
    make(lab, "first-go")
    lab.run(2)
    expect(panel.get_by_text("No runtime is running")).to_be_visible()
