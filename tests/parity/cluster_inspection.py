"""Checks of looking inside tasks on a Ray cluster: stacks, profiles, breakpoints, post-mortems."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from typing import Any

from cluster_tools import WAIT, In, check, engine, raised, until

import raynb
from raynb.base import ids
from raynb.base.rows import RUNNING
from raynb.engine.cluster import driver
from raynb.engine.cluster.rows import submitted
from raynb.util.state import list_tasks


def worker_of(name: str) -> Any:
    """Waits until a task of this name runs; returns its row."""
    def find() -> Any:
        rows = engine().snapshot().tasks
        return next((row for row in rows if row.name == name and row.state == RUNNING and row.worker), None)

    return until(find, f"{name} runs")


def worker_with(pid: int) -> int:
    """Waits until a worker is known; returns its number."""
    def find() -> int:
        return next((row.id for row in engine().snapshot().workers if row.pid == pid and not row.exit), 0)

    return int(until(find, f"the worker of {pid}"))


def asked(worker: int, what: str, *arguments: Any) -> Any:
    return engine().inspection.ask(worker, what, *arguments).result(WAIT)


@check
def stacks_and_profiles_of_running_tasks() -> None:
    gate = os.path.join(tempfile.mkdtemp(), "gate")

    def is_open() -> bool:
        return os.path.exists(gate)

    @raynb.remote
    def sleeps() -> None:
        while not is_open():
            time.sleep(0.02)

    @raynb.remote
    def nests() -> None:
        import raynb as ray

        ray.get(inner.remote())

    inner = sleeps.options(name="inner")

    class Waits:
        async def go(self) -> None:
            while not is_open():  # noqa: ASYNC110  no event reaches it from outside
                await asyncio.sleep(0.02)

    actor = raynb.remote(Waits).options(num_cpus=0).remote()
    refs = [nests.remote(), actor.go.remote()]
    try:
        outer, below, call = worker_of("nests"), worker_of("inner"), worker_of("Waits.go")

        def waiting() -> Any:
            return next((one for one in asked(outer.worker, "stack") if one.task == outer.id and one.waits_for), None)

        def awaiting() -> Any:
            found = [one for stack in asked(call.worker, "stack") for one in stack.coroutines]
            own = (one for one in found if one.task == call.id)
            return next((one for one in own if any(function == "go" for _, _, function in one.frames)), None)

        stack = until(waiting, "the stack of what waits")  # for a moment it has only begun to
        assert [ids.task_of(key) for key in stack.waits_for] == [below.id]
        assert stack.waited > 0
        assert any(function == "nests" for _, _, function in stack.frames)
        until(awaiting, "the coroutine")  # for a moment it runs, and nobody sees into it
        asked(below.worker, "profile")
        assert isinstance(raised(lambda: asked(below.worker, "profile")), ValueError)  # one at a time
        time.sleep(0.2)
        profile = asked(below.worker, "profiled")
        assert profile["seconds"] >= 0.2
        found = {place[2] for _, places, *_ in profile["stacks"] for place in places}
        assert "sleeps" in found or not profile["samples"], found
        asked(below.worker, "watch_memory")
        memory = asked(below.worker, "memory_watched")
        assert memory["memory"] >= 0
        assert memory["tool"] in ("memray", "tracemalloc")
    finally:
        open(gate, "w").close()
    raynb.get(refs, timeout=WAIT)


class Fails:
    """An actor: the frames that it keeps end with it."""

    def keep(self) -> None:
        from raynb.base import engine as slot

        slot.failures_kept = 3

    def divide(self, secret: int) -> float:
        return secret / 0

    def passes_on(self, other: Any, x: int) -> float:
        import raynb as ray

        found: float = ray.get(other.divide.remote(x))
        return found


@check
def breakpoints_and_post_mortems() -> None:
    inspection = engine().inspection
    points: list[Any] = []
    inspection.on_pause.append(points.append)

    @raynb.remote(max_retries=0)
    def stops(x: int) -> tuple[int, bool]:
        import signal

        breakpoint()
        x += 1
        return x, signal.getitimer(signal.ITIMER_REAL)[0] > 0

    def say(command: str, payload: Any) -> Any:
        point = points[-1]
        return asked(point.worker, "debug", point.session, command, payload)

    try:
        with In(41):
            ref = stops.options(timeout=4 * WAIT).remote(1)
        until(lambda: points, "the breakpoint")
        assert (points[0].name, points[0].scope, points[0].function) == ("stops", 41, "stops")
        assert say("open", {})[1] == "(Pdb) "
        assert say("line", "p signal.getitimer(signal.ITIMER_REAL)") == ("(0.0, 0.0)\n", "(Pdb) ")  # no timeout runs
        assert say("line", "p x + 40") == ("41\n", "(Pdb) ")
        assert say("line", "!x = 10") == ("", "(Pdb) ")
        assert say("line", "c")[1] is None
        inspection.over(points[-1])
        assert raynb.get(ref, timeout=WAIT) == (11, True)
        points.clear()
        ref = stops.remote(1)
        until(lambda: points, "the breakpoint")
        inspection.quit(points[0])
        assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), raynb.exceptions.TaskCancelledError)

        outer, inner = (raynb.remote(num_cpus=0)(Fails).remote() for _ in range(2))
        raynb.get([outer.keep.remote(), inner.keep.remote()], timeout=WAIT)
        error: Any = raised(lambda: raynb.get(outer.passes_on.remote(inner, 7), timeout=WAIT))
        task_hex, pid = asked(worker_with(error.pid), "origin", ids.from_hex(error.task_id)[1])
        worker = worker_with(pid)
        session = asked(worker, "post_mortem", ids.from_hex(task_hex)[1], {})
        assert asked(worker, "debug", session, "open", None)[1] == "(Pdb) "
        assert asked(worker, "debug", session, "line", "p secret") == ("7\n", "(Pdb) ")
        assert asked(worker, "debug", session, "line", "q")[1] is None
    finally:
        inspection.on_pause.remove(points.append)


@check
def who_asks_once_is_told_of_all_that_has_ended() -> None:
    @raynb.remote
    def counted_once(n: int) -> int:
        return n

    before = driver.SETTLE_SECONDS, submitted.WORD_SECONDS
    driver.SETTLE_SECONDS = submitted.WORD_SECONDS = WAIT  # a busy machine takes longer
    try:
        refs = [counted_once.remote(n) for n in range(6)]
        raynb.get(refs[:3], timeout=WAIT)  # these rows end as their values are read, the others' when they are reported
        assert len(raynb.wait(refs, num_returns=6, timeout=WAIT)[0]) == 6
        told = [event for event in raynb.timeline() or [] if event["name"] == "counted_once"]
        assert len(told) == 6, told
        refs.append(counted_once.remote(6))
        raynb.get(refs[-1], timeout=WAIT)
        rows = list_tasks(filters=[("name", "=", "counted_once")], detail=True)
        assert [row.state for row in rows] == ["FINISHED"] * 7
        assert all(row.worker_pid for row in rows)
    finally:
        driver.SETTLE_SECONDS, submitted.WORD_SECONDS = before
