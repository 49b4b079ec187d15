"""How actors end: by their last handle, by kill, by themselves."""

from __future__ import annotations

import gc
import os
from typing import Any

from parity_programs import program
from parity_programs._tools import Gate, alive, counter, error, family, first_error, kind, until


@program
def dropping_the_last_handle_ends_the_actor(ray: Any) -> Any:
    actor = counter(ray).remote()
    pid = ray.get(actor.pid.remote())
    before = alive(pid)
    del actor
    gc.collect()
    return [before, until(lambda: not alive(pid))]


@program
def calls_before_the_drop_still_run(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    class Slow:
        def work(self, i: int) -> int:
            gate.wait()
            return i

    slow = Slow.remote()
    refs = [slow.work.remote(i) for i in range(3)]
    del slow
    gc.collect()
    gate.open()
    return ray.get(refs)


@program
def a_detached_actor_outlives_its_handle(ray: Any) -> Any:
    actor = counter(ray).options(name="stays", lifetime="detached").remote(5)
    ray.get(actor.add.remote())
    del actor
    gc.collect()
    again = ray.get_actor("stays")
    value = ray.get(again.add.remote())
    ray.kill(again)
    return value


@program
def a_kill_fails_later_calls(ray: Any) -> Any:
    actor = counter(ray).remote()
    ray.get(actor.add.remote())
    ray.kill(actor)
    caught = first_error(lambda: ray.get(actor.add.remote()))
    return family(caught, ray.exceptions.RayActorError, ray.exceptions.ActorDiedError)


@program
def kill_of_what_is_no_handle(ray: Any) -> Any:
    return [kind(ray.kill, 5), kind(ray.kill, ray.put(1))]


@program
def ready_and_terminate(ray: Any) -> Any:
    actor = counter(ray).remote()
    ready = ray.get(actor.__ray_ready__.remote())
    pid = ray.get(actor.pid.remote())
    actor.__ray_terminate__.remote()
    return [ready, until(lambda: not alive(pid))]


@program
def exit_actor_ends_the_process(ray: Any) -> Any:
    @ray.remote
    class Leaver:
        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            ray.actor.exit_actor()

    actor = Leaver.remote()
    pid = ray.get(actor.pid.remote())
    caught = error(ray.get, actor.leave.remote())
    later = error(ray.get, actor.pid.remote())
    return [
        family(caught, ray.exceptions.RayActorError),
        family(later, ray.exceptions.ActorDiedError),
        until(lambda: not alive(pid)),
    ]


@program
def exit_actor_outside_an_actor(ray: Any) -> Any:
    caught = error(ray.actor.exit_actor)
    return type(caught).__name__
