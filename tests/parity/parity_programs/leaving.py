"""How an actor leaves: what still runs, what is called at its end, who is no reason to stay."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, alive, error, family, kind, until


def _cpus(ray: Any) -> float:
    return float(ray.available_resources().get("CPU", 0))


@program
def exit_from_a_background_asyncio_task(ray: Any) -> Any:
    @ray.remote(num_cpus=1)
    class Worker:
        async def pid(self) -> int:
            return os.getpid()

        async def leave_soon(self) -> str:
            async def later() -> None:
                await asyncio.sleep(0.1)
                ray.actor.exit_actor()

            self.task = asyncio.ensure_future(later())
            return "on its way"

    all_of_them = ray.cluster_resources()["CPU"]
    actor = Worker.remote()
    pid = ray.get(actor.pid.remote())
    said = ray.get(actor.leave_soon.remote())
    gone = until(lambda: not alive(pid))
    return [said, gone, until(lambda: _cpus(ray) == all_of_them), kind(ray.get, actor.pid.remote())]


@program
def exit_from_a_background_thread(ray: Any) -> Any:
    @ray.remote(max_concurrency=2)
    class Worker:
        def pid(self) -> int:
            return os.getpid()

        def leave_soon(self) -> str:
            threading.Timer(0.1, ray.actor.exit_actor).start()
            return "on its way"

    actor = Worker.remote()
    pid = ray.get(actor.pid.remote())
    return [ray.get(actor.leave_soon.remote()), until(lambda: not alive(pid)), kind(ray.get, actor.pid.remote())]


@program
def calls_of_an_async_actor_end_before_it_leaves(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    class Worker:
        async def work(self, i: int) -> int:
            while not gate.is_open():  # noqa: ASYNC110  another process opens it
                await asyncio.sleep(0.01)
            return i

        async def leave(self) -> None:
            ray.actor.exit_actor()

        async def ping(self) -> None:
            pass

    actor = Worker.remote()
    working = [actor.work.remote(i) for i in range(3)]
    ray.get(actor.ping.remote())
    leaving = actor.leave.remote()
    left = family(error(ray.get, leaving), ray.exceptions.RayActorError)
    late = actor.work.remote(4)
    gate.open()
    return [left, ray.get(working), family(error(ray.get, late), ray.exceptions.RayActorError)]


@program
def calls_of_a_threaded_actor_end_before_it_leaves(ray: Any) -> Any:
    gate = Gate()

    @ray.remote(max_concurrency=4)
    class Worker:
        def work(self, i: int) -> int:
            gate.wait()
            return i

        def leave(self) -> None:
            ray.actor.exit_actor()

        def ping(self) -> None:
            pass

    actor = Worker.remote()
    working = [actor.work.remote(i) for i in range(2)]
    ray.get(actor.ping.remote())
    left = family(error(ray.get, actor.leave.remote()), ray.exceptions.RayActorError)
    gate.open()
    return [left, ray.get(working)]


@program
def calls_behind_the_limit_run_too(ray: Any) -> Any:
    gate = Gate()

    @ray.remote(max_concurrency=2)
    class Worker:
        async def work(self, i: int) -> int:
            while not gate.is_open():  # noqa: ASYNC110  another process opens it
                await asyncio.sleep(0.01)
            return i

        async def leave(self) -> None:
            ray.actor.exit_actor()

    actor = Worker.remote()
    working = [actor.work.remote(i) for i in range(5)]
    leaving = actor.leave.remote()
    gate.open()
    return [ray.get(working), family(error(ray.get, leaving), ray.exceptions.RayActorError)]


@program
def behind_the_exit_of_a_sync_actor_nothing_runs(ray: Any) -> Any:
    runs, gate = Tally(), Gate()

    @ray.remote
    class Worker:
        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            gate.wait()
            ray.actor.exit_actor()

        def work(self) -> None:
            runs.add()

    actor = Worker.remote()
    pid = ray.get(actor.pid.remote())
    refs = [actor.leave.remote(), *(actor.work.remote() for _ in range(50))]
    gate.open()
    kinds = {tuple(family(error(ray.get, ref), ray.exceptions.RayActorError)) for ref in refs}
    return [sorted(kinds), until(lambda: not alive(pid)), runs.count()]


@program
def a_kill_ends_an_actor_that_leaves(ray: Any) -> Any:
    @ray.remote
    class Worker:
        async def pid(self) -> int:
            return os.getpid()

        async def work_for_ever(self) -> None:
            while True:
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    pass

        async def leave(self) -> None:
            ray.actor.exit_actor()

    actor = Worker.remote()
    pid = ray.get(actor.pid.remote())
    endless = actor.work_for_ever.remote()
    error(ray.get, actor.leave.remote())
    ray.kill(actor)
    return [until(lambda: not alive(pid)), kind(ray.get, endless)]


@program
def a_coroutine_left_running_holds_nobody(ray: Any) -> Any:
    ends = []
    for how in ("drop", "exit", "kill", "terminate"):

        @ray.remote(num_cpus=1)
        class Worker:
            async def start(self) -> int:
                async def stubborn() -> None:
                    while True:
                        try:
                            await asyncio.sleep(0.01)
                        except asyncio.CancelledError:
                            pass

                self.task = asyncio.ensure_future(stubborn())
                return os.getpid()

            async def leave(self) -> None:
                ray.actor.exit_actor()

        all_of_them = ray.cluster_resources()["CPU"]
        actor = Worker.remote()
        pid = ray.get(actor.start.remote())
        if how == "exit":
            actor.leave.remote()
        elif how == "kill":
            ray.kill(actor)
        elif how == "terminate":
            actor.__ray_terminate__.remote()
        del actor
        gc.collect()
        ends.append([how, until(lambda pid=pid: not alive(pid)), until(lambda n=all_of_them: _cpus(ray) == n)])
    return ends


def _leaver(ray: Any, folder: str, **options: Any) -> Any:
    """Returns an actor class that writes down what is called at its end."""

    class Leaver:
        def __init__(self) -> None:
            atexit.register(self.note, "atexit")

        def note(self, what: str) -> None:
            with open(folder, "a") as file:
                file.write(what + "\n")

        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            ray.actor.exit_actor()

        def __ray_shutdown__(self) -> None:
            self.note(f"shutdown {threading.current_thread() is threading.main_thread()}")

        def __del__(self) -> None:
            with open(folder, "a") as file:
                file.write("del\n")

    if options.pop("asynchronous", False):

        class AsyncLeaver(Leaver):
            async def nothing(self) -> None:
                pass

        return ray.remote(AsyncLeaver)
    return ray.remote(**options)(Leaver) if options else ray.remote(Leaver)


@program(timeout=90.0)
def what_is_called_at_the_end(ray: Any) -> Any:
    ends: list[Any] = []
    for options in ({}, {"max_concurrency": 3}, {"asynchronous": True}):
        for how in ("drop", "terminate", "exit"):
            notes = Gate().path
            actor = _leaver(ray, notes, **options).remote()
            pid = ray.get(actor.pid.remote())
            if how == "exit":
                error(ray.get, actor.leave.remote())
            elif how == "terminate":
                actor.__ray_terminate__.remote()
            del actor
            gc.collect()
            until(lambda pid=pid: not alive(pid))
            told = Path(notes).read_text().split("\n") if os.path.exists(notes) else []
            ends.append([*options, how, sorted({"shutdown True", "atexit", "del"} & set(told))])
    return ends


@program
def an_error_in_ray_shutdown_changes_nothing(ray: Any) -> Any:
    notes = Tally()

    @ray.remote
    class Leaver:
        def pid(self) -> int:
            return os.getpid()

        def __ray_shutdown__(self) -> None:
            notes.add()
            raise ValueError("not so orderly")

    actor = Leaver.remote()
    pid = ray.get(actor.pid.remote())
    del actor
    gc.collect()
    return [until(lambda: not alive(pid)), notes.count()]


class _Base:
    def __init__(self, value: int) -> None:
        self.value = value

    def describe(self) -> str:
        return "base"


@program
@differs("Ray: super(Named, self) is a TypeError, because its actor class is no type",
         expected=[[5, True, True, False], ["base"] * 4, 7, "a type for super"])  # fmt: skip
def the_name_of_an_actor_class_in_its_methods(ray: Any) -> Any:
    @ray.remote
    class Named(_Base):
        def __init__(self, value: int) -> None:
            super(Named, self).__init__(value)  # noqa: UP008  what this is about

        def look(self) -> list[Any]:
            return [self.value, isinstance(self, Named), issubclass(type(self), Named), isinstance(3, Named)]

        def describe(self) -> list[str]:  # type: ignore[override]
            inside = [super(Named, self).describe() for _ in range(1)]
            nested = (lambda: super(Named, self).describe())()
            return [super().describe(), super(Named, self).describe(), nested, *inside]  # noqa: UP008

        def another(self) -> int:
            return ray.get(Named.remote(7).look.remote())[0]

    actor = Named.remote(5)
    caught = error(ray.get, actor.look.remote())
    if caught is not None:
        return type(caught).__name__
    return [ray.get(actor.look.remote()), ray.get(actor.describe.remote()), ray.get(actor.another.remote()),
            "a type for super"]  # fmt: skip


@program
def sleeping_for_its_shutdown(ray: Any) -> Any:
    ended = Tally()

    @ray.remote
    class Leaver:
        def pid(self) -> int:
            return os.getpid()

        def __ray_shutdown__(self) -> None:
            time.sleep(0.5)
            ended.add()

    actor = Leaver.remote()
    pid = ray.get(actor.pid.remote())
    actor.__ray_terminate__.remote()
    return [until(lambda: not alive(pid)), ended.count()]
