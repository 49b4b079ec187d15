"""Profiles of several workers, one of which may end or not answer; and the file for pstats."""

from __future__ import annotations

import concurrent.futures
import pstats
from pathlib import Path
from typing import Any

import pytest

from raynb.exceptions import WorkerCrashedError
from raynb.jupyter.inspection import collecting
from raynb.jupyter.inspection.profiles import MemoryProfile, Profile
from raynb.jupyter.inspection.targets import Target

HERE = __file__
FOUND = {"seconds": 2.0, "samples": 20, "stacks": [("MainThread", ((HERE, 5, "work"),), 20, 2.0, 1.0)]}


class Workers:
    """An engine whose workers answer at once, each with what it is given: a result, an exception, or None: never."""

    config = None

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[int, str]] = []

    @property
    def inspection(self) -> Workers:
        return self

    def ask(self, worker: int, what: str) -> concurrent.futures.Future[Any]:
        self.asked.append((worker, what))
        answer = self.answers[f"w{worker}"].pop(0)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "ANSWER_SECONDS", 0)


def parts(workers: Workers, count: int) -> list[dict[str, Any]]:
    engine: Any = workers
    return collecting._parts(engine, [Target(n, 100 + n) for n in range(1, count + 1)], 0.0, "profile", "profiled")


def test_a_worker_that_ends_or_does_not_answer_is_left_out_and_told() -> None:
    workers = Workers(w1=[True, FOUND], w2=[True, WorkerCrashedError("The worker ended: exit 3.")], w3=[None, None])
    profile = Profile("Profile", lambda file, line: f"line {line}")
    for part in parts(workers, 3):
        profile.add(part)
    below = profile.text().splitlines()[-1]
    assert "20 samples of 1 task, 2" in below
    assert "Worker 2 is left out: The worker ended: exit 3." in below
    assert "Worker 3 is left out: it does not answer, as native code holds Python's lock there." in below
    # It may hear of the beginning later, and must not go on for ever then.
    assert [what for worker, what in workers.asked if worker == 3] == ["profile", "profiled"]
    memory = MemoryProfile("Memory", lambda file, line: "")
    memory.add({"why": "Worker 3 is left out."})
    assert "Worker 3 is left out." in memory.text()


def test_nothing_is_left_to_show() -> None:
    with pytest.raises(ValueError, match="Worker 1 is left out: it does not answer"):
        parts(Workers(w1=[None, None]), 1)
    taken = ValueError("A profile of this worker is being taken already.")
    workers = Workers(w1=[True, FOUND], w2=[taken], w3=[taken])
    with pytest.raises(ValueError, match="is being taken already"):
        parts(workers, 3)
    assert [worker for worker, what in workers.asked if what == "profiled"] == [1]  # the others are somebody else's
    assert "no task has sent its profile" in Profile("In[1]", lambda file, line: "").verdict()


def test_pstats_read_what_is_saved(tmp_path: Path) -> None:
    outer, again, inner = (HERE, 3, "outer"), (HERE, 9, "outer"), (HERE, 20, "inner")
    profile = Profile("In[1]", lambda file, line: f"line {line}")
    stacks = [("MainThread", (again, outer, inner), 3, 0.5, 0.5), ("MainThread", (outer,), 2, 0.25, 0.0)]
    profile.add({"seconds": 1.0, "samples": 5, "stacks": stacks})
    file = tmp_path / "found.pstats"
    assert collecting.saved(profile, str(file)) == f"Wrote {file}; `pstats.Stats` reads it."
    stats: Any = pstats.Stats(str(file))
    assert stats.stats == {
        (HERE, 3, "outer"): (5, 5, 0.25, 0.75, {(HERE, 3, "outer"): (3, 3, 0.0, 0.5)}),
        (HERE, 20, "inner"): (3, 3, 0.5, 0.5, {(HERE, 3, "outer"): (3, 3, 0.5, 0.5)}),
    }
    assert stats.total_tt == 0.75
    assert "speedscope" in collecting.saved(profile, str(tmp_path / "found.json"))
    assert "could not be saved" in collecting.saved(profile, str(tmp_path / "none" / "found.prof"))
