"""F47, exactly: what was cancelled before it began never runs, however short the moment between."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raynb.exceptions import TaskCancelledError

ROUNDS = 150


class Bar:
    """A gate that opens as fast as a file can: what waits at it is gone at once."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "bar")

    def wait(self) -> None:
        while not os.path.exists(self.path):
            time.sleep(0)

    def open(self) -> None:
        with open(self.path, "w"):
            pass


@pytest.mark.raynb(num_cpus=1)
def test_a_task_behind_another_at_its_worker(ray: Any, tmp_path: Path) -> None:
    @ray.remote
    def hold(bar: Bar) -> None:
        bar.wait()

    @ray.remote
    def work(folder: str) -> None:
        with open(os.path.join(folder, "ran"), "w"):
            pass

    ray.get(work.remote(str(tmp_path)))  # both are known to be short: now they are prefetched
    for round_ in range(ROUNDS):
        folder = tmp_path / str(round_)
        folder.mkdir()
        bar = Bar(folder)
        held = hold.remote(bar)
        queued = work.remote(str(folder))
        ray.cancel(queued)
        bar.open()
        with pytest.raises(TaskCancelledError):
            ray.get(queued, timeout=60)
        ray.get(held, timeout=60)
        assert not (folder / "ran").exists()


class Sync:
    def __init__(self) -> None:
        self.ran = 0

    def hold(self, bar: Bar) -> None:
        bar.wait()

    def work(self) -> None:
        self.ran += 1

    def count(self) -> int:
        return self.ran


class Async:
    def __init__(self) -> None:
        self.ran = 0

    async def hold(self, bar: Bar) -> None:
        bar.wait()  # blocks the loop: the next call can't begin meanwhile

    async def work(self) -> None:
        self.ran += 1

    async def count(self) -> int:
        return self.ran


def cancel_behind(ray: Any, actor: Any, folder: Path, holders: int) -> None:
    """Cancels a call that waits behind so many others of its actor, and lets those go at once."""
    folder.mkdir()
    bar = Bar(folder)
    held = [actor.hold.remote(bar) for _ in range(holders)]
    queued = actor.work.remote()
    ray.cancel(queued)
    bar.open()
    with pytest.raises(TaskCancelledError):
        ray.get(queued, timeout=60)
    ray.get(held, timeout=60)


@pytest.mark.raynb(num_cpus=1)
@pytest.mark.parametrize("cls", [Sync, Async])
def test_a_call_behind_another_at_its_actor(ray: Any, tmp_path: Path, cls: type) -> None:
    actor: Any = ray.remote(num_cpus=0)(cls).remote()
    ray.get(actor.count.remote(), timeout=60)
    for round_ in range(ROUNDS):
        cancel_behind(ray, actor, tmp_path / str(round_), holders=1)
    assert ray.get(actor.count.remote(), timeout=60) == 0


@pytest.mark.raynb(num_cpus=1)
def test_a_call_that_waits_for_a_thread_of_its_actor(ray: Any, tmp_path: Path) -> None:
    actor: Any = ray.remote(num_cpus=0, max_concurrency=2)(Sync).remote()
    ray.get(actor.count.remote(), timeout=60)
    for round_ in range(ROUNDS // 3):
        cancel_behind(ray, actor, tmp_path / str(round_), holders=2)
    assert ray.get(actor.count.remote(), timeout=60) == 0


@pytest.mark.raynb(num_cpus=2)
def test_cancelling_at_any_moment_ends_in_one_of_two_ways(ray: Any, tmp_path: Path) -> None:
    @ray.remote
    def work(path: str) -> str:
        with open(path, "a"):
            pass
        return path

    paths = [str(tmp_path / str(number)) for number in range(300)]
    refs = [work.remote(path) for path in paths]
    canceller = threading.Thread(target=lambda: [ray.cancel(ref) for ref in reversed(refs)])
    canceller.start()
    for path, ref in zip(paths, refs, strict=True):
        try:
            assert ray.get(ref, timeout=60) == path
            assert os.path.exists(path)
        except TaskCancelledError:
            pass
    canceller.join()
