"""What actors say of themselves when they end or fail, and what their processes leave unsaid."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import raynb as ray
from raynb.base import engine as slot
from raynb.base.rows import Output
from raynb.serde import pickling
from raynb.testing import leaks
from raynb.worker.actor_host import ActorHost


class Plain:
    pass


@ray.remote
class Shard(Plain):
    def __init__(self, number: int) -> None:
        self.number = number
        if number > 1:
            raise ValueError("too many")

    def __repr__(self) -> str:
        return f"Shard({self.number})"

    def classes(self) -> list[Any]:
        return [issubclass(Shard, Plain), isinstance(self, (Shard, int)), issubclass(Shard, (int, str))]

    def leave(self) -> None:
        ray.actor.exit_actor()


@ray.remote
class Leaves:
    async def in_background(self) -> int:
        async def later() -> None:
            ray.actor.exit_actor()

        self.task = asyncio.ensure_future(later())
        return os.getpid()


@ray.remote
class InThread:
    def leave(self) -> int:
        threading.Thread(target=ray.actor.exit_actor).start()
        return os.getpid()


def test_an_actors_end_names_it_and_a_failed_constructor_its_instance(raynb_runtime: Any) -> None:
    shard = Shard.remote(1)
    assert ray.get(shard.classes.remote()) == [True, True, False]
    with pytest.raises(ray.exceptions.ActorDiedError) as left:
        ray.get(shard.leave.remote())
    with pytest.raises(ray.exceptions.ActorDiedError) as again:
        ray.get(shard.leave.remote())
    assert left.value.actor_id == again.value.actor_id == shard._actor_id.hex()
    assert "class_name: Shard\n" in str(left.value)
    broken = Shard.remote(7)
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"actor_id=\w+, repr=Shard\(7\)\)"):
        ray.get(broken.leave.remote())


def test_frames_kept_for_a_post_mortem_do_not_keep_an_actor_from_being_deleted(
    raynb_runtime: Any, tmp_path: Path
) -> None:
    @ray.remote
    class Failing:
        def __init__(self) -> None:
            slot.failures_kept = 3  # as in a notebook's workers

        def fail(self) -> None:
            raise ValueError("seen")

        def pid(self) -> int:
            return os.getpid()

        def __del__(self) -> None:
            (tmp_path / "deleted").touch()

    actor = Failing.remote()
    with pytest.raises(ValueError, match="seen"):
        ray.get(actor.fail.remote())
    pid = ray.get(actor.pid.remote())
    del actor
    assert leaks.until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert (tmp_path / "deleted").exists()


def test_leaving_in_the_background_prints_nothing(raynb_runtime: Any) -> None:
    told: list[str] = []
    raynb_runtime.engine.on_output.append(lambda output: told.append(output.text) if type(output) is Output else None)
    for call in (Leaves.remote().in_background, InThread.remote().leave):
        pid = ray.get(call.remote())
        assert leaks.until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]
    assert not [text for text in told if "Exit" in text or "Traceback" in text]


def test_what_is_taken_out_of_a_list_makes_no_wait_slower(raynb_runtime: Any) -> None:
    from raynb.api import calls

    refs = [ray.put(n) for n in range(40)]
    waiting = list(refs)
    for _ in range(10):
        ready, _ = ray.wait(waiting)
        waiting.remove(ready[0])
        assert calls._is_left_over(waiting)
    assert waiting == refs[10:]
    with pytest.raises(ValueError, match="unique"):
        ray.wait([refs[0], *refs])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_ended_call_holds_no_instance_and_runs_until_its_result_is_on_its_way(asynchronous: bool) -> None:
    """Else the process could end without the instance's ``__del__``, or without the result of its last call."""
    seen: list[Any] = []

    class Itself:
        def call(self) -> Any:
            return self

        async def acall(self) -> Any:
            return self

    class Executor:
        worker: Any = SimpleNamespace(
            heed=lambda running: None, stopping=False, link=SimpleNamespace(flush=lambda: None)
        )
        returns: Any = SimpleNamespace(of=lambda running, result: ())

        def finish(self, *_: Any) -> None:
            host.instance = None
            gc.collect()
            seen.append((instance(), host.busy()))

    spec: Any = SimpleNamespace(is_async=asynchronous, max_concurrency=3, concurrency_groups=(), class_name="Itself")
    executor: Any = Executor()
    host = ActorHost(executor, spec, Itself, 0)
    host.instance = Itself()
    instance = weakref.ref(host.instance)
    options = SimpleNamespace(function="acall" if asynchronous else "call", num_returns=1)
    run: Any = SimpleNamespace(task=1, args=pickling.EMPTY_IN_BAND)
    running: Any = SimpleNamespace(interrupted=False, options=options)
    host.running[run.task] = running
    if asynchronous:
        asyncio.run(host.run_async(run, running))
    else:
        host.run_in_thread(run, running)
    assert seen == [(None, True)]
    assert not host.busy()
