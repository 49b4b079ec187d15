"""What the views look like: pictures of every view, compared with those that were looked at and accepted.

Fonts differ between machines, so what is compared is coarse: pictures in shades of grey at an eighth of
their size, with a tolerance. A column that is gone, a bar that has moved, or text on text shows; a letter that
is a pixel wider doesn't. ``RAYNB_ACCEPT_LOOKS=1`` writes the pictures anew, and those of the documents.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Page, expect

from raynb.base.rows import Snapshot
from raynb.jupyter.views.view_model import Labels, message
from tests.jupyter import pictures

from .conftest import Views
from .lab import PATIENCE_MS

pytestmark = pytest.mark.timeout(600)  # a step may take `PATIENCE_MS`

HERE = Path(__file__).parent / "looks"
DOCUMENTS = Path(__file__).parents[2] / "docs" / "images"
ACCEPT = os.environ.get("RAYNB_ACCEPT_LOOKS", "") == "1"
TABS = ("overview", "tasks", "actors", "objects", "workers", "timeline")
LABELS = Labels(
    cell=lambda scope: f"In[{scope}]", names=lambda identity: [f"xs[{identity >> 32}]"] if identity >> 32 < 9 else []
)

#: Mean and largest difference of the coarse pictures (0..255) that is the fonts'.
MEAN, LARGEST = 9.0, 150
SCALE, HEIGHT = 8, 760


@pytest.fixture
def still_page(browser: Browser) -> Iterator[Page]:
    """A page in which time stands still, so that durations and times of day are always the same."""
    size: Any = {"width": 1200, "height": HEIGHT}
    context = browser.new_context(viewport=size, timezone_id="UTC", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.clock.install(time=1_000_000)
    page.clock.pause_at(2_000_000)
    yield page
    context.close()


def picture_of(tasks: int) -> Any:
    if not tasks:
        return message(Snapshot(1, 1.0, 0.0, total={"CPU": 4.0}, available={"CPU": 4.0}))
    return message(pictures.many(12 if tasks == 12 else tasks - 96), LABELS)


def draw(board: Views) -> None:
    """Lets frames come, which they do only now (100 ms of them: bars of what runs grow with the time); what is drawn
    measures itself, and is drawn again as it fits."""
    for milliseconds in (34, 33):
        board.page.clock.run_for(milliseconds)
        board.settle()
    board.page.clock.run_for(33)


@pytest.mark.parametrize("width", [250, 400, 1200])
@pytest.mark.parametrize("tasks", [0, 12, 10_000])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_looks_as_it_was_accepted(still_page: Page, width: int, theme: str, tasks: int) -> None:
    page = still_page
    page.set_viewport_size({"width": width + 20, "height": HEIGHT})
    board = Views(page, width=width, theme=theme, fill=True)
    board.push(picture_of(tasks))
    draw(board)
    differ = []
    for tab in TABS:
        page.get_by_role("tab", name=tab.capitalize()).click()
        draw(board)
        expect(page.get_by_role("tab", name=tab.capitalize())).to_have_attribute("aria-selected", "true")
        page.mouse.move(0, 0)
        taken = Image.open(io.BytesIO(page.screenshot()))
        coarse = taken.convert("L").resize((taken.width // SCALE, taken.height // SCALE), Image.Resampling.BOX)
        path = HERE / f"{tab}-{width}-{theme}-{tasks}.png"
        if ACCEPT:
            path.parent.mkdir(exist_ok=True)
            coarse.save(path, optimize=True)
            document(taken, tab, width, theme, tasks)
            continue
        difference = ImageChops.difference(coarse, Image.open(path))
        mean, largest = ImageStat.Stat(difference).mean[0], difference.getextrema()[1]
        if mean > MEAN or largest > LARGEST:
            differ.append(f"{path.name}: mean {mean:.1f}, largest {largest}")
    assert not differ, differ


def document(taken: Image.Image, tab: str, width: int, theme: str, tasks: int) -> None:
    """Keeps a picture for the README, where it is one of those."""
    if (width, theme, tasks) in ((1200, "light", 10_000), (250, "dark", 12), (400, "light", 12)):
        DOCUMENTS.mkdir(exist_ok=True)
        small = taken.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        small.save(DOCUMENTS / f"{tab}-{width}-{theme}.png", optimize=True)
