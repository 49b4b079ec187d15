"""What comes from outside (a cancel, the error of a signal handler) while raynb asks objects of the user's, is neither
lost nor taken for an answer of theirs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.api.surroundings import marked, packed
from raynb.base.process import surroundings
from raynb.exceptions import ActorDiedError, RayTaskError, TaskCancelledError
from raynb.worker import state


class Rings:
    """Its pickling is interrupted by an alarm."""

    def __reduce__(self) -> Any:
        signal.raise_signal(signal.SIGALRM)
        return int, (1,)


@pytest.fixture
def alarm() -> Iterator[None]:
    def expire(number: int, frame: Any) -> None:
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, expire)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("where", ["an argument", "an attribute"])
def test_an_alarm_while_an_error_is_pickled_is_the_callers(ray: Any, alarm: None, where: str) -> None:
    """In place of a part that cannot be pickled, its text travels: not so where the alarm was all that was wrong."""
    error = ValueError(Rings() if where == "an argument" else "odd")
    if where == "an attribute":
        error.part = Rings()  # type: ignore[attr-defined]
    with pytest.raises(TimeoutError, match="too long"):
        ray.put([error])


def test_an_alarm_while_the_culprit_is_looked_for_is_the_callers(ray: Any, alarm: None) -> None:
    class Refuses:
        asked = 0

        def __reduce__(self) -> Any:
            Refuses.asked += 1
            if Refuses.asked == 2:
                signal.raise_signal(signal.SIGALRM)
            raise ValueError("no")

    @ray.remote
    def take(x: Any) -> None: ...

    with pytest.raises(TimeoutError, match="too long"):
        take.remote(Refuses())
    with pytest.raises(TypeError, match="argument 0"):
        take.remote(Refuses())


@pytest.mark.raynb(num_cpus=1)
def test_a_cancel_while_surroundings_are_applied_costs_no_worker(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def folder(began: str) -> str:
        open(began, "w").close()
        while not state.main_running.interrupted:  # type: ignore[union-attr]
            time.sleep(0.001)
        time.sleep(0.05)  # the signal comes right after
        return str(Path(began).parent)

    class Folder:
        def __reduce__(self) -> Any:
            return folder, (str(tmp_path / "began"),)

    @ray.remote(max_retries=0)
    def where() -> tuple[int, str]:
        return os.getpid(), os.getcwd()

    pid, _ = ray.get(where.remote(), timeout=60)
    monkeypatch.setattr(surroundings, "mark", marked({"cwd": packed(Folder())}))
    ref = where.remote()
    while not (tmp_path / "began").exists():
        time.sleep(0)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(where.remote(), timeout=60) == (pid, str(tmp_path))


@pytest.mark.parametrize("where", ["a destructor", "the end of a generator"])
@pytest.mark.raynb(num_cpus=1, cancel_grace=300.0)
def test_a_cancel_that_python_drops_comes_again(ray: Any, tmp_path: Path, where: str) -> None:
    """What is raised in a destructor is printed and lost."""

    @ray.remote(max_retries=0)
    def task(folder: str) -> None:
        def wait() -> None:
            Path(folder, "began").touch()
            while True:
                time.sleep(0.001)

        class Waits:
            def __del__(self) -> None:
                wait()

        def waits() -> Iterator[None]:
            try:
                yield
            finally:
                wait()

        try:
            if where == "a destructor":
                Waits()
            else:
                next(waits())
            while True:
                time.sleep(0.001)
        finally:
            Path(folder, "ended").touch()

    ref = task.remote(str(tmp_path))
    while not (tmp_path / "began").exists():
        time.sleep(0)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=120)
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("groups", [{}, {"io": 1}])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_ends_an_actors_event_loop_ends_the_actor(
    ray: Any, groups: dict[str, int], raised: type[BaseException]
) -> None:
    class Async:
        async def call(self) -> None:
            async def end() -> None:
                raise raised

            self.task = asyncio.get_running_loop().create_task(end())

        async def wait(self) -> None:
            await asyncio.sleep(3600)

    actor = ray.remote(num_cpus=0, concurrency_groups=groups)(Async).remote()
    first = actor.call.remote()
    with pytest.raises(ActorDiedError, match=f"background of its event loop.*{raised.__name__}"):
        ray.get([first, actor.wait.remote()], timeout=120)


@pytest.mark.parametrize("groups", [{}, {"io": 1}])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_async_actors_constructor_that_leaves_ends_the_actor(
    ray: Any, groups: dict[str, int], raised: type[BaseException]
) -> None:
    class Async:
        def __init__(self) -> None:
            raise raised("odd")

        async def call(self) -> None: ...

    actor = ray.remote(num_cpus=0, concurrency_groups=groups)(Async).remote()
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=120)


def test_an_error_whose_pickling_fails_with_an_odd_error_costs_no_worker(ray: Any) -> None:
    class Untold(Exception):
        def __str__(self) -> str:
            raise SystemExit

    class Odd(Exception):
        def __reduce__(self) -> Any:
            raise Untold

    class Actor:
        def call(self, fails: bool) -> int:
            if fails:
                raise Odd("what is told")
            return 3

    actor = ray.remote(num_cpus=0)(Actor).remote()
    with pytest.raises(RayTaskError, match="Odd: what is told"):
        ray.get(actor.call.remote(True), timeout=60)
    assert ray.get(actor.call.remote(False), timeout=60) == 3


def test_a_type_error_of_what_a_task_returned_is_told(ray: Any) -> None:
    class Many:
        def __len__(self) -> int:
            raise TypeError("of the user's own")

    @ray.remote(max_retries=0, num_returns=2)
    def task() -> Any:
        return Many()

    with pytest.raises(TypeError, match="of the user's own"):
        ray.get(task.remote(), timeout=60)


def test_a_ctrl_c_while_a_future_of_this_process_is_read_is_raised_at_once() -> None:
    class Interrupts:
        def __reduce__(self) -> Any:
            return signal.raise_signal, (signal.SIGINT,)

    with raynb.Runtime(local_mode=True, num_cpus=1):
        ref = raynb.put(Interrupts())
        with pytest.raises(KeyboardInterrupt):
            ref.future()
