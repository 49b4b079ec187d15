"""Makes the README's pictures of the notebook, in a real JupyterLab.

``python scripts/make_pictures.py`` needs what the browser tests need (``raynb[test]``, Chromium, scikit-learn) and the
built extension. Look at what it makes: docs/images/dashboard.png, cells.png and timeline.png.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import FLAGS, find_chromium  # noqa: E402
from tests.browser.lab import HEAR, Lab, Server, temporary_folder  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WIDTH = 900  # of the pictures that show cells alone, in pixels
LOAD = "%load_ext raynb\nimport raynb as ray, time, random"
PRICING = """@ray.remote
def load(day):
    time.sleep(0.05 + day % 3 / 50)
    return day

@ray.remote
def fit(a, b):
    time.sleep(0.25)
    return a + b

days = [load.remote(day) for day in range(16)]
models = [fit.remote(days[i], days[i + 1]) for i in range(12)]
ray.wait(models, num_returns=12)
models"""
DIGITS = "%%remote\nfrom sklearn.datasets import load_digits\nX, y = load_digits(return_X_y=True)\nprint(X.shape)"
REF = "X                        # a ref: the data stays with the workers"
TREES = """@ray.remote
def fit(depth, X, y):
    from sklearn.tree import DecisionTreeClassifier
    time.sleep(0.2)
    return DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X, y)

@ray.remote
def predict(tree, X):
    time.sleep(0.05)
    return tree.predict(X)

trees = [fit.remote(depth, X, y) for depth in range(2, 8)]
found = ray.get([predict.remote(tree, X) for tree in trees])"""


@contextmanager
def opened() -> Iterator[Lab]:
    """Gives a page with a JupyterLab of its own."""
    folder = temporary_folder()
    server = Server(folder)
    try:
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            page = browser.new_context(viewport={"width": 1500, "height": 880}).new_page()
            page.add_init_script(HEAR)
            lab = Lab(page, server)
            yield lab
            lab.end()
            browser.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(lab: Lab, *numbers: int) -> None:
    """Runs cells, one after the other."""
    for number in numbers:
        lab.start(number)
        lab.wait_ended(number)


def rest(page: Page) -> None:
    """Moves what marks a choice out of the picture, and lets the views be drawn once more."""
    page.mouse.move(600, 860)
    page.evaluate("() => document.activeElement?.blur()")
    page.wait_for_timeout(2500)


def shoot(page: Page, name: str, first: Locator, last: Locator | None = None) -> None:
    """Takes the picture from the top of one element to the end of another."""
    top = first.bounding_box()
    end = (last or first).bounding_box()
    assert top is not None, name
    assert end is not None, name
    height = end["y"] + end["height"] - top["y"] + 8
    clip = {"x": top["x"], "y": top["y"], "width": min(top["width"], WIDTH), "height": height}
    page.screenshot(path=IMAGES / f"{name}.png", clip=clip)  # type: ignore[arg-type]


def main() -> None:
    """Makes the pictures."""
    with opened() as lab:
        page = lab.page
        lab.open("pricing.ipynb", [LOAD, PRICING])
        lab.command("filebrowser:toggle-main")
        lab.command("raynb:open")
        run(lab, 0, 1)
        lab.command("raynb:open-view", {"tab": "timeline"})
        rest(page)
        page.screenshot(path=IMAGES / "dashboard.png")
    with opened() as lab:
        page = lab.page
        page.set_viewport_size({"width": WIDTH + 100, "height": 880})
        lab.open("digits.ipynb", [LOAD, DIGITS, REF, TREES, "%raynb timeline"])
        lab.command("filebrowser:toggle-main")
        run(lab, 0, 1)
        lab.wait_output(1, "(1797, 64)")
        run(lab, 2)
        rest(page)
        cells = page.locator(".jp-NotebookPanel .jp-Cell")
        shoot(page, "cells", cells.nth(0), cells.nth(2))
        run(lab, 3, 4)
        cells.nth(4).scroll_into_view_if_needed()
        rest(page)
        shoot(page, "timeline", cells.nth(4).locator(".jp-OutputArea-output").first)


if __name__ == "__main__":
    main()
