"""A Chromium for the tests of the views, and a page that plays the kernel's part."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from raynb.jupyter.views import dashboard

from .lab import HEAR, PATIENCE_MS, Lab, Server, temporary_folder

# Expectations wait for what they expect; a busy machine gets more patience than the usual 5 s.
expect.set_options(timeout=PATIENCE_MS)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Views</title>
<style>%(theme)s</style><style>body { margin: 0; background: var(--jp-layout-color1) } %(css)s</style></head>
<body%(body)s><div id="view" style="width:%(width)dpx;%(height)s"></div></body></html>"""

#: Plays anywidget: a model whose custom messages the test sends and reads.
START = """async source => {
    const listeners = new Set();
    window.sent = [];
    window.model = {
        get: name => window[name],
        send: message => window.sent.push(message),
        on: (event, handler) => listeners.add(handler),
        off: (event, handler) => listeners.delete(handler),
    };
    window.push = message => listeners.forEach(handler => handler(message));
    const url = URL.createObjectURL(new Blob([source], {type: 'text/javascript'}));
    const widget = await import(url);
    window.leave = widget.default.render({model: window.model, el: document.getElementById('view')});
}"""


#: Returns once all observers of sizes, which report with a frame of the browser's, have reported: one that is made now
#: reports after them. (It needs no clock, which tests may have stopped.)
MEASURED = """() => new Promise(done => {
    const watch = new ResizeObserver(() => { watch.disconnect(); done(); });
    watch.observe(document.body);
})"""


def find_chromium() -> str:
    """Returns the path of Chromium or Chrome.

    ``RAYNB_CHROMIUM`` names one; else the usual names are looked for.
    """
    named = os.environ.get("RAYNB_CHROMIUM", "")
    if named:
        return named
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    if mac.exists():
        return str(mac)
    raise pytest.UsageError(
        "The browser tests need Chromium or Chrome and found none. On Debian: apt-get install "
        "--no-install-recommends chromium fonts-dejavu-core. Or set RAYNB_CHROMIUM to the program's path."
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, timeout=2 * PATIENCE_MS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; an error in its JavaScript fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 760})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors, f"JavaScript errors on the page: {errors}"


def lab_theme(name: str) -> str:
    """Returns the design tokens of JupyterLab's own light or dark theme."""
    from jupyterlab.commands import get_app_dir

    path = Path(get_app_dir()) / "themes" / "@jupyterlab" / f"theme-{name}-extension" / "index.css"
    return path.read_text(encoding="utf-8")


class Views:
    """The widget's bundle in a page, with the test as its kernel."""

    def __init__(
        self, page: Page, tab: str = "overview", width: int = 900, theme: str = "", fill: bool = False
    ) -> None:
        self.page = page
        parts = {
            "css": dashboard.bundle("widget.css"), "theme": lab_theme(theme) if theme else "", "width": width,
            "body": f' data-jp-theme-light="{str(theme == "light").lower()}"' if theme else "",
            "height": "height:700px" if fill else "",
        }  # fmt: skip
        page.set_content(PAGE % parts)
        page.evaluate("([tab, fill]) => { window.tab = tab; window.fill = fill }", [tab, fill])
        page.evaluate(f"() => {{ {HEAR} }}")
        page.evaluate(START, dashboard.bundle("widget.js"))

    def push(self, message: dict[str, Any]) -> None:
        """Sends a message of the kernel, as JSON, as a comm would."""
        self.page.evaluate("text => window.push(JSON.parse(text))", json.dumps(message))

    def sent(self, do: str) -> list[dict[str, Any]]:
        """Returns what the views have sent of one kind."""
        return [m for m in self.page.evaluate("() => window.sent") if m.get("do") == do]

    def wait_sent(self, do: str) -> dict[str, Any]:
        """Waits until the views send a request of this kind; returns the first."""
        self.page.wait_for_function("name => window.sent.some(m => m.do === name)", arg=do)
        return self.sent(do)[0]

    def tab(self, name: str) -> None:
        """Opens a view; returns when it has taken its place, measured itself and drawn what depends on that."""
        tab = self.page.get_by_role("tab", name=name.capitalize())
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        self.settle()

    def settle(self) -> None:
        """Waits until observers of sizes have reported, and what that leads to is drawn."""
        self.page.evaluate(MEASURED)


@pytest.fixture
def views(page: Page) -> Any:
    """Returns a function that opens the views: ``views(tab=..., width=..., theme=..., fill=...)``."""
    return lambda **options: Views(page, **options)


def running(app: str) -> Iterator[Server]:
    folder = temporary_folder()
    server = Server(folder, app)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def opened(browser: Browser, server: Server) -> Iterator[Lab]:
    context = browser.new_context(viewport={"width": 1400, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(HEAR)
    found = Lab(context.new_page(), server)
    yield found
    found.end()
    context.close()


@pytest.fixture(scope="session")
def lab_server() -> Iterator[Server]:
    """One JupyterLab for all tests of a worker process: it takes seconds to start."""
    yield from running("jupyterlab")


@pytest.fixture(scope="session")
def notebook_server() -> Iterator[Server]:
    """The same with Notebook 7."""
    yield from running("notebook")


@pytest.fixture
def lab(browser: Browser, lab_server: Server) -> Iterator[Lab]:
    """JupyterLab in a fresh browser profile; its kernels are shut down afterwards."""
    yield from opened(browser, lab_server)


@pytest.fixture
def notebook7(browser: Browser, notebook_server: Server) -> Iterator[Lab]:
    """Notebook 7 in a fresh browser profile."""
    yield from opened(browser, notebook_server)
