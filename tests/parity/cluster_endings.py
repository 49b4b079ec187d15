"""Checks of how failures are read and actors let go on a Ray cluster. `cluster_checks.py` runs them."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray as real_ray
from cluster_tools import WAIT, In, check, engine, lines, raised, until
from ray._private import auto_init_hook

import raynb
from raynb.base.config import Config
from raynb.base.rows import CANCELLED
from raynb.engine.cluster import connection
from raynb.testing.faults import fail_unread


@check
def a_cancel_while_a_failure_is_read_cancels_the_task() -> None:
    fail = raynb.remote(num_cpus=0, max_retries=0)(fail_unread)
    controls = engine()._controls
    grace, controls._grace = controls._grace, 10 * WAIT
    try:
        for where in ("its pickling", "its text", "its source"):
            path = os.path.join(tempfile.mkdtemp(), "began")
            with In(311):
                ref = fail.remote(path, where)
            until(lambda path=path: os.path.exists(path), "its failure to be read")
            raynb.cancel(ref)
            try:
                raynb.get(ref, timeout=WAIT)
            except Exception as error:
                came = type(error)  # it must not be shown: its text waits
            assert came is raynb.exceptions.TaskCancelledError, (where, came)
    finally:
        controls._grace = grace
    until(lambda: engine().scope_counts(311) == {CANCELLED: 3}, "the rows")


@check
def exceptions_whose_own_methods_leave_cost_no_worker() -> None:
    @raynb.remote(num_cpus=0, max_retries=0)
    def fail(where: str, raising: type[BaseException]) -> None:
        def leave(self: Any, *ignored: Any) -> Any:
            raise raising

        raise type("Odd", (Exception,), {where: property(leave) if where == "__class__" else leave})("odd")

    class Fails:
        def __init__(self) -> None:
            self.calls = 0

        def call(self, where: str, raising: type[BaseException]) -> None:
            self.calls += 1
            raise type("Odd", (Exception,), {where: lambda *ignored: exec("raise raising", {"raising": raising})})

        def count(self) -> int:
            return self.calls

    fails, refs = raynb.remote(num_cpus=0)(Fails).remote(), []
    for raising in (KeyboardInterrupt, SystemExit, ValueError):
        refs += [fail.remote(where, raising) for where in ("__reduce__", "__str__", "__class__", "__getattribute__")]
        refs += [fails.call.remote(where, raising) for where in ("__reduce__", "__str__")]
    for ref in refs:
        error = raised(lambda ref=ref: raynb.get(ref, timeout=WAIT))
        assert isinstance(error, raynb.exceptions.RayTaskError), repr(error)
        assert "Odd" in str(error), error
    assert raynb.get(fails.count.remote(), timeout=WAIT) == 6


@check
def an_actor_ends_with_its_last_handle_without_another_call() -> None:
    class Held:
        def pid(self) -> int:
            return os.getpid()

    held = raynb.remote(num_cpus=0)(Held).remote()
    pid = raynb.get(held.pid.remote(), timeout=WAIT)
    listener = engine()._listener
    tick, listener._tick = listener._tick, lambda: None  # that would count it, too, within a second
    try:
        del held
        until(lambda: not Path(f"/proc/{pid}").exists(), "the actor's end")
    finally:
        listener._tick = tick


@check
def what_rays_libraries_draw_bars_of_is_not_shown_as_text() -> None:
    @raynb.remote
    def works() -> int:
        print("before")
        print(json.dumps({"__magic_token__": "__ray_tqdm_magic_token__", "x": 1}) + "\n", end="")
        print("after")
        return 1

    with In(312):
        assert raynb.get(works.remote(), timeout=WAIT) == 1
    assert lines(312) == ["after", "before"], lines(312)


@check
def plain_rays_calls_wait_for_a_start_that_is_on_its_way() -> None:
    here, go, seen = threading.Event(), threading.Event(), []

    def init(address: str, **options: Any) -> None:
        here.set()
        assert go.wait(WAIT)

    def connects() -> None:
        with connection.plain_ray_waits():
            connection.connect(Config(address="auto"))
            seen.append("connected")

    def plain() -> None:
        auto_init_hook.auto_init_ray()
        seen.append("plain")

    before = real_ray.init, real_ray.is_initialized, connection.rays.is_connected
    try:
        real_ray.init, real_ray.is_initialized = init, lambda: "connected" in seen  # type: ignore[assignment]
        connection.rays.is_connected = lambda: False
        threads = [threading.Thread(target=connects)]
        threads[0].start()
        assert here.wait(WAIT)
        assert auto_init_hook.auto_init_lock.locked()
        threads.append(threading.Thread(target=plain))
        threads[1].start()
        go.set()
        for thread in threads:
            thread.join(WAIT)
    finally:
        real_ray.init, real_ray.is_initialized, connection.rays.is_connected = before
    assert seen == ["connected", "plain"], seen
