"""Ctrl-C after Ctrl-C in a real kernel that stores and gets; a minute with ``RAYNB_STORM_SECONDS=60``."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from .kernel_session import KernelSession

pytestmark = pytest.mark.timeout(400)

SECONDS = float(os.environ.get("RAYNB_STORM_SECONDS", "2"))

SETUP = """
import gc, time
from raynb.base import engine
from raynb.core import invariants
BIG = b"x" * 300_000
kept = []
@ray.remote
def echo(x):
    return x
@ray.remote(num_returns="streaming")
def count(n):
    yield from range(n)
@ray.remote
def stores():
    while True:
        ray.get(ray.put(BIG))
def work():
    kept.append(ray.put(BIG))
    assert ray.get(kept[0]) == BIG
    assert ray.get(echo.remote(kept[-1])) == BIG
    assert [ray.get(item) for item in count.remote(2)] == [0, 1]
    del kept[:-20]
"""
CELLS = (
    "print('go')\nwhile True:\n    work()",
    "print('go')\nwhile True:\n    try:\n        work()\n    finally:\n        gc.collect()",
    "print('go')\nray.get([stores.remote() for _ in range(4)])",
    "print('go')\nwhile True:\n    assert await echo.remote(5) == 5; ray.put(BIG)",
)  # fmt: skip
CHECK = """
gc.collect()
assert ray.get([echo.remote(i) for i in range(100)], timeout=60) == list(range(100))
runtime = engine.current()
with runtime.loop.lock:
    runtime.loop.drain_logs(time.monotonic())
    invariants.check(runtime.machine)
print(runtime.failure or "sound")
"""


def test_a_storm_of_interrupts_in_a_kernel_is_survived(tmp_path: Path) -> None:
    dice = random.Random(7)
    session = KernelSession.with_raynb(tmp_path, "os")
    try:
        session.run(SETUP)
        end = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < end or number < len(CELLS):
            run = session.send(CELLS[number % len(CELLS)])
            number += 1
            session.until(lambda run=run: "go" in run.text, what="the cell never began")  # type: ignore[misc]
            session._receive(dice.uniform(0.001, 0.1))
            session.manager.interrupt_kernel()  # one each: ipykernel's own steps are not safe from a second one
            session.until(lambda run=run: run.reply and run.idle, 60, f"no end: {run}")  # type: ignore[misc]
            assert run.status == "error", run
            assert "KeyboardInterrupt" in run.error or "Cancelled" in run.error, run.error
            if number % 5 == 0:
                assert session.run(CHECK).text.strip().endswith("sound")
        assert session.run(CHECK).text.strip().endswith("sound")
    finally:
        session.close()
