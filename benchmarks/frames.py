"""What a frame of the views costs a browser, with 10,000 tasks of which 400 change at a time.

``python -m benchmarks.frames`` (needs Chromium and the built front end): milliseconds of parsing the message and
of the frame that shows it, up to after its paint. Of 25 frames the best and the median: the best is what a
machine does that has nothing else to do.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from playwright.sync_api import sync_playwright

from raynb.jupyter.views.view_model import Labels, message
from tests.browser.conftest import FLAGS, Views, find_chromium
from tests.jupyter import pictures

TASKS, CHANGED, FRAMES = 10_000, 400, 25

MEASURE = """async texts => {
    const costs = [];
    const painted = () => new Promise(done => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
    });
    for (const text of texts) {
        const begin = performance.now();
        window.push(JSON.parse(text));
        const parsed = performance.now() - begin;
        const frame = await new Promise(done => requestAnimationFrame(at =>
            painted().then(() => done(performance.now() - at))));
        costs.push(parsed + frame);
        await new Promise(done => setTimeout(done, 100));
    }
    return costs.sort((a, b) => a - b);
}"""


def messages() -> tuple[dict[str, Any], list[str]]:
    """Returns the full picture, and changes to lay over it."""
    labels = Labels(cell=lambda scope: f"In[{scope}]")
    big = pictures.many(TASKS)
    changes = []
    for number in range(1, FRAMES + 1):
        rows = [replace(row, ended=row.ended + 0.001) for row in big.tasks[number * 300 : number * 300 + CHANGED]]
        change = replace(big, version=big.version + number, since=big.version, tasks=rows, objects=[])
        changes.append(json.dumps(message(change, labels)))
    return dict(message(big, labels)), changes


def main() -> None:
    full, changes = messages()
    print("| view | width | best | median |\n|---|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        for tab in ("overview", "tasks", "timeline"):
            for width in (250, 1200):
                page = browser.new_page(viewport={"width": 1240, "height": 860})
                board = Views(page, tab=tab, width=width, theme="light", fill=True)
                board.push(full)
                costs = page.evaluate(MEASURE, changes)
                print(f"| {tab} | {width} px | {costs[0]:.1f} ms | {costs[len(costs) // 2]:.1f} ms |", flush=True)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
