"""What an open panel costs while 10,000 tasks of 2 ms run, in a real JupyterLab with a real kernel.

``python -m benchmarks.panel`` (needs Chromium and the built front end) runs the flood with the panel closed and with
each view open, in turns, and says beside the aims:

- the processor time of the feed's thread in the kernel as a share of the time the flood took (≤ 2 %), and how much
  more of it the whole kernel took than with the panel closed;
- what came over the page's connection for the views: messages and bytes a second, and the largest message;
- the frames of the page, from the first code in a frame to after its paint (≤ 16 ms), and how busy its main thread was.

A browser without a GPU paints with the processor, which kernel, workers and browser share. Linux only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, WebSocket, sync_playwright

from benchmarks.compare import end_in_order
from benchmarks.report import aligned
from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.lab import PATIENCE_MS, Lab, Server, temporary_folder

SETUP = """\
get_ipython().config.Raynb.num_cpus = 2
%load_ext raynb
import json, os, threading, time
import raynb as ray

@ray.remote
def nap():
    time.sleep(0.002)

ray.get([nap.remote() for _ in range(100)])
"""

THREADS = "print(json.dumps({'pid': os.getpid(), **{t.name: t.native_id for t in threading.enumerate()}}))"
FLOOD = "ray.get([nap.remote() for _ in range({tasks})]);"

#: Runs in the page: how long each frame takes from here, before the views draw, to after its paint.
FRAMES = """() => {
    window.frames_ms = [];
    const after = new MessageChannel();
    after.port1.onmessage = event => window.frames_ms.push(performance.now() - event.data);
    const frame = () => {
        after.port2.postMessage(performance.now());
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""

CLOSED = "closed"
VIEWS = ("overview", "tasks", "timeline")
AFTERWARDS = 3.0  # seconds: after a flood the whole picture is sent once


@dataclass
class Round:
    """What one flood cost.

    Attributes:
        feed: seconds of processor time of the feed's thread.
        kernel: the same of the whole kernel.
        busy: seconds of the page's main thread.
        sizes: bytes of each message of the views.
    """

    seconds: float = 0.0
    feed: float = 0.0
    kernel: float = 0.0
    busy: float = 0.0
    sizes: list[int] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)


class Meter:
    """Reads what the kernel's threads, the page's connection and its main thread have used so far.

    Thread contract: one thread, that of Playwright.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sizes: list[int] = []
        lab.page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._received)

    def _received(self, payload: str | bytes) -> None:
        if (b"comm_msg" if isinstance(payload, bytes) else "comm_msg") in payload[:4000]:  # type: ignore[operator]
            self.sizes.append(len(payload))

    @contextmanager
    def measuring(self, cdp: CDPSession, threads: dict[str, int]) -> Iterator[Round]:
        """Measures what happens inside."""
        found = Round()
        page = self.lab.page
        self.sizes.clear()
        page.evaluate("() => { window.frames_ms = [] }")
        before, begin = self._used(cdp, threads), time.perf_counter()
        yield found
        found.seconds = time.perf_counter() - begin
        after = self._used(cdp, threads)
        found.feed, found.kernel, found.busy = (now - was for now, was in zip(after, before, strict=True))
        found.sizes = list(self.sizes)
        found.frames = page.evaluate("() => window.frames_ms")

    def _used(self, cdp: CDPSession, threads: dict[str, int]) -> tuple[float, float, float]:
        """Returns seconds of the feed's thread, of the whole kernel, and of the page's main thread."""
        tasks = Path(f"/proc/{threads['pid']}/task")
        feed = threads.get("raynb-feed")
        metrics = cdp.send("Performance.getMetrics")["metrics"]
        busy = next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")
        return used(tasks / str(feed)) if feed else 0.0, sum(used(one) for one in tasks.iterdir()), busy


def used(task: Path) -> float:
    """Returns the seconds of processor time of one thread; 0 if it has ended."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


class Bench:
    """One page with one kernel, which runs flood after flood."""

    def __init__(self, page: Page, server: Server, tasks: int) -> None:
        self.lab = Lab(page, server)
        self.meter = Meter(self.lab)
        self.lab.open("panel.ipynb", [SETUP, THREADS, FLOOD.format(tasks=tasks)])
        self.lab.run(0)
        self.cdp = page.context.new_cdp_session(page)
        self.cdp.send("Performance.enable")
        page.evaluate(FRAMES)

    def flood(self, view: str) -> Round:
        """Runs the flood with a view open, or with the panel closed."""
        self.show(view)
        threads = self.threads()
        with self.meter.measuring(self.cdp, threads) as found:
            self.lab.run(2)
            self.lab.page.wait_for_timeout(1000 * AFTERWARDS)
        return found

    def rest(self, view: str, seconds: float) -> Round:
        """Looks at a view after the flood, when nothing happens."""
        self.show(view)
        threads = self.threads()
        with self.meter.measuring(self.cdp, threads) as found:
            self.lab.page.wait_for_timeout(1000 * seconds)
        return found

    def show(self, view: str) -> None:
        """Opens the panel at a view, or closes it."""
        collapse = "() => window.jupyterapp.shell.collapseRight()"
        if view == CLOSED:
            self.lab.page.evaluate(collapse)
            return
        self.lab.command(f"raynb:{view}")
        self.lab.page.locator("#raynb-panel").get_by_role("tab", name=view.capitalize(), exact=True).wait_for()
        self.lab.page.wait_for_timeout(1500)  # the whole picture has come and is drawn

    def threads(self) -> dict[str, int]:
        """Returns the kernel's process, and name → id of its threads."""
        found: dict[str, int] = json.loads(self.lab.run(1))
        return found


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def row(name: str, rounds: Sequence[Round], closed: Sequence[Round]) -> list[str]:
    """Returns a line of the table: medians of the rounds."""

    def middle(of: Callable[[Round], float], among: Sequence[Round] = rounds) -> float:
        return statistics.median(of(one) for one in among)

    seconds = middle(lambda one: one.seconds)
    frames = sorted(ms for one in rounds for ms in one.frames) or [0.0]
    most = frames[int(0.95 * len(frames))]
    more = 100 * (middle(lambda one: one.kernel / one.seconds) - middle(lambda one: one.kernel / one.seconds, closed))
    return [
        name,
        f"{seconds:.1f} s",
        share(middle(lambda one: one.feed), seconds),
        f"{more:+.1f} %" if closed is not rounds else "–",
        f"{middle(lambda one: len(one.sizes) / one.seconds):.1f} /s",
        f"{middle(lambda one: sum(one.sizes) / one.seconds) / 1000:.0f} kB/s",
        f"{max((size for one in rounds for size in one.sizes), default=0) / 1000:.0f} kB",
        f"{statistics.median(frames):.1f} / {most:.1f} / {frames[-1]:.1f} ms",
        share(sum(ms > 16 for ms in frames), len(frames)),
        share(middle(lambda one: one.busy), seconds),
    ]


HEAD = [
    "panel", "took", "feed's thread (≤ 2 %)", "kernel, more", "messages", "bytes", "largest",
    "frames: median / 95 % / longest (≤ 16 ms)", "longer than 16 ms", "page's main thread",
]  # fmt: skip


def measure(options: argparse.Namespace, browser: Any, server: Server) -> list[list[str]]:
    """Returns the table."""
    context = browser.new_context(viewport={"width": 1400, "height": 860})
    context.set_default_timeout(5 * PATIENCE_MS)
    bench = Bench(context.new_page(), server, options.tasks)
    found: dict[str, list[Round]] = {}
    for number in range(options.rounds):
        for view in (CLOSED, *VIEWS):
            found.setdefault(view, []).append(bench.flood(view))
            print(f"round {number + 1}, {view}: {found[view][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    still = [bench.rest(VIEWS[0], 10.0)]
    bench.lab.end()
    context.close()
    rows = [row(view, found[view], found[CLOSED]) for view in found]
    return [HEAD, *rows, row(f"{VIEWS[0]}, afterwards", still, still)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.panel", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, metavar="N", help="tasks of 2 ms in a flood")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="floods with each view")
    options = parser.parse_args(arguments)
    folder = temporary_folder()
    server = Server(folder)
    # The status bar watches too; without it, nobody does while the panel is closed.
    server.set("raynb", "plugin", {"statusBar": False})
    try:
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
            table = measure(options, browser, server)
            browser.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    what = f"{options.tasks:,} tasks of 2 ms on 2 slots, medians of {options.rounds} rounds"
    print(f"{time.strftime('%Y-%m-%d')}; {what}")
    print(aligned(table))
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
