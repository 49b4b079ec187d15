"""Exceptions at any moment in the user's thread; a minute each, and more kinds, with ``RAYNB_STORM_SECONDS=60``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raynb.base import engine
from raynb.core import invariants

SECONDS = os.environ.get("RAYNB_STORM_SECONDS", "2")
KINDS = ["alarm-spill", "sigint-spill", "async-spill", "life"]
FAULTS = ["limit", "supervisor"]
if "RAYNB_STORM_SECONDS" in os.environ:
    KINDS += ["alarm", "sigint", "async", "life-sigint", "life-async"]
    # Not by default: CPython's own code does not survive every failed allocation (python/cpython#152147, and what it
    # refers to). The injector of the tests for that killed Python 3.12.1 once in some thousand strikes.
    FAULTS += ["memory"]


@pytest.mark.parametrize("kind", KINDS + FAULTS)
@pytest.mark.timeout(float(SECONDS) + 180)  # the script itself ends before, with the stacks of its threads
def test_a_storm_is_survived(kind: str) -> None:
    script = Path(__file__).parent / ("storm_of_faults.py" if kind in FAULTS else "storm.py")
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), kind, SECONDS],
        capture_output=True, text=True, timeout=float(SECONDS) + 150, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "survived" in run.stdout


def test_a_full_stack_leaves_everything_as_it_was(ray: Any) -> None:
    echo = ray.remote(lambda x: x)

    @ray.remote
    class Actor:
        def say(self, x: int) -> int:
            return x

    actor = Actor.remote()
    kept = [ray.put(i) for i in range(1000)]

    @ray.remote(num_returns="streaming")
    def count() -> Any:
        yield from range(3)

    streams = [count.remote() for _ in range(300)]
    doomed = Actor.options(num_cpus=0).remote()
    loop = asyncio.new_event_loop()
    runtime: Any = engine.current()

    def step(waiting: Any) -> None:
        """Begins to await, as an event loop's task would, and is cancelled."""
        asyncio._set_running_loop(loop)
        try:
            waiting.send(None)
        except StopIteration:
            pass
        finally:
            asyncio._set_running_loop(None)
            waiting.close()

    def down(levels: int, call: Any) -> Any:
        return call() if levels == 0 else down(levels - 1, call)

    calls = (
        lambda: echo.remote(1), lambda: ray.get(kept[-1]), lambda: ray.wait(kept[-2:]), lambda: ray.put(1),
        lambda: kept.pop(), lambda: actor.say.remote(1), lambda: ray.get(echo.remote(2)),
        lambda: step(echo.remote(3).__await__()), lambda: ray.get(next(streams.pop())),
        lambda: ray.cancel(echo.remote(4)), lambda: ray.put([kept[0], {"a": kept[1]}]), lambda: echo.remote([kept[0]]),
        lambda: ray.remote(lambda: kept[0]).remote(), lambda: ray.kill(doomed),
    )  # fmt: skip
    here = len(__import__("inspect").stack(0))
    for call in calls:
        struck = 0
        for left in range(200):
            try:
                down(sys.getrecursionlimit() - here - left, call)
            except RecursionError:
                struck += 1
        assert struck
        with runtime.loop.lock:
            invariants.check(runtime.machine)
        assert ray.get([echo.remote(k) for k in range(100)], timeout=60) == list(range(100))
    loop.close()
