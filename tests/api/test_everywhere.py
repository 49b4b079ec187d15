"""What runs on every worker reaches each of them once, whenever it comes."""

from __future__ import annotations

import os
import sys
from typing import Any

import raynb as ray
from raynb.api.everywhere import run_on_workers


def test_workers_that_come_between_the_run_and_its_success_run_it_too(raynb_runtime: Any) -> None:
    @ray.remote
    def mark() -> int:
        sys.marks = getattr(sys, "marks", 0) + 1  # type: ignore[attr-defined]
        return os.getpid()

    @ray.remote
    def marks(deeper: int) -> dict[int, int]:
        below = ray.get(marks.remote(deeper - 1)) if deeper else {}  # while it waits, another worker takes its CPU
        return {os.getpid(): getattr(sys, "marks", 0), **below}

    futures = run_on_workers(mark, later=False)
    assert all(future.result(60) for future in futures)
    between = ray.get(marks.remote(6), timeout=60)
    assert 0 in between.values(), "some have come since"
    run_on_workers(mark, later=True, now=False, besides=futures)
    deeper = ray.get(marks.remote(9), timeout=60)
    assert set(deeper.values()) == {1}
    assert len(deeper) == 10
