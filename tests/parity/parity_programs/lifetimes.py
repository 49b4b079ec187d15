"""What keeps an actor or a worker's process alive, and how long a retry waits."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import time
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, alive, counter, kind, until


def _named(ray: Any, name: str) -> tuple[Any, int]:
    actor = counter(ray).options(name=name).remote()
    return actor, ray.get(actor.pid.remote())


@program
def a_looked_up_handle_keeps_nothing_alive(ray: Any) -> Any:
    actor, pid = _named(ray, "looked up")
    again = ray.get_actor("looked up")
    works = ray.get(again.pid.remote()) == pid
    del actor
    gc.collect()
    return [works, until(lambda: not alive(pid)), kind(ray.get, again.pid.remote())]


@program
def a_looked_up_handle_stays_weak_where_it_is_sent(ray: Any) -> Any:
    actor, pid = _named(ray, "sent on")
    again = ray.get_actor("sent on")
    kept = [again, ray.put(again), ray.put([again])]

    @ray.remote
    class Holder:
        def take(self, handles: list[Any]) -> bool:
            self.handles = handles
            return bool(ray.get(handles[0].pid.remote()) == pid)

        def call(self) -> str:
            return kind(ray.get, self.handles[0].pid.remote())

    holder = Holder.remote()
    works = ray.get(holder.take.remote([again]))
    del actor
    gc.collect()
    return [works, until(lambda: not alive(pid)), ray.get(holder.call.remote()), len(kept)]


@program
def a_handle_looked_up_by_a_task_is_weak(ray: Any) -> Any:
    actor, pid = _named(ray, "in a task")
    found, gate = Gate(), Gate()

    @ray.remote
    def look() -> list[Any]:
        handle = ray.get_actor("in a task")
        works = ray.get(handle.pid.remote()) == pid
        found.open()
        gate.wait()
        return [works, kind(ray.get, handle.pid.remote())]

    ref = look.remote()
    found.wait()
    del actor
    gc.collect()
    gone = until(lambda: not alive(pid))
    gate.open()
    return [gone, ray.get(ref)]


@program
def calls_by_a_weak_handle_still_run(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    class Slow:
        def work(self) -> int:
            gate.wait()
            return os.getpid()

    actor = Slow.options(name="at work").remote()
    again = ray.get_actor("at work")
    ref = again.work.remote()
    del actor
    gc.collect()
    gate.open()
    pid = ray.get(ref)
    return [isinstance(pid, int), until(lambda: not alive(pid))]


@program
def an_actor_s_handle_of_itself_is_weak(ray: Any) -> Any:
    @ray.remote
    class Own:
        def __init__(self) -> None:
            self.me = ray.get_runtime_context().current_actor

        def pid(self) -> int:
            return os.getpid()

        def hand_out(self) -> Any:
            return self.me

    actor = Own.remote()
    pid = ray.get(actor.pid.remote())
    handle = ray.get(actor.hand_out.remote())
    works = ray.get(handle.pid.remote()) == pid
    del actor
    gc.collect()
    return [works, until(lambda: not alive(pid))]


@program
def a_detached_actor_needs_no_handle(ray: Any) -> Any:
    actor = counter(ray).options(name="on its own", lifetime="detached").remote()
    ray.get(actor.add.remote())
    del actor
    for _ in range(2):
        again = ray.get_actor("on its own")
        value = ray.get(again.add.remote())
        del again
        gc.collect()
    ray.kill(ray.get_actor("on its own"))
    return value


@program
@differs("Ray: weak too, so a cell that is run again and takes the actor into the same variable ends it",
         expected=[True, True])  # fmt: skip
def get_if_exists_keeps_the_actor(ray: Any) -> Any:
    made = counter(ray).options(name="of a cell", get_if_exists=True)
    actor = made.remote()
    pid = ray.get(actor.pid.remote())
    actor = made.remote()
    gc.collect()
    kept = not until(lambda: not alive(pid), 1.5)
    return [kept, kind(ray.get, actor.pid.remote()) == "no error"]


@program(init={"num_cpus": 2, "num_gpus": 2})
def a_task_with_gpus_ends_its_worker(ray: Any) -> Any:
    def pid() -> int:
        return os.getpid()

    def three(function: Any) -> int:
        return len({ray.get(function.remote()) for _ in range(3)})

    def several() -> Any:
        for _ in range(2):
            yield os.getpid()

    streams = ray.remote(num_gpus=1)(several)
    return [
        three(ray.remote(num_gpus=1)(pid)),
        three(ray.remote(num_gpus=0.5)(pid)),
        three(ray.remote(num_gpus=1, max_calls=0)(pid)),
        three(ray.remote(num_gpus=1, max_calls=2)(pid)),
        three(ray.remote(num_gpus=0)(pid)),
        three(ray.remote(pid).options(num_gpus=1)),
        len({ray.get(ref) for _ in range(2) for ref in streams.remote()}),
    ]


def _tell(path: str) -> int:
    with open(path, "a") as file:
        file.write(f"{time.monotonic()}\n")
    with open(path) as file:
        return len(file.readlines())


def _pauses(path: str) -> list[str]:
    with open(path) as file:
        times = [float(line) for line in file]
    return ["a pause" if after - before > 0.7 else "at once" for before, after in itertools.pairwise(times[1:])]


@program
def a_task_that_raises_is_tried_again_after_a_pause(ray: Any) -> Any:
    path = Gate().path

    @ray.remote(max_retries=5, retry_exceptions=True)
    def hiccup() -> int:
        tries = _tell(path)
        if tries < 4:
            raise OSError("not yet")
        return tries

    return [ray.get(hiccup.remote()), _pauses(path)]


@program
def a_call_that_raises_is_tried_again_after_a_pause(ray: Any) -> Any:
    paths = [Gate().path, Gate().path]

    @ray.remote(max_task_retries=5)
    class Sync:
        @ray.method(retry_exceptions=[OSError])
        def hiccup(self, path: str) -> int:
            tries = _tell(path)
            if tries < 4:
                raise OSError("not yet")
            return tries

        def other(self) -> str:
            return "not held up"

    @ray.remote(max_task_retries=5)
    class Async:
        @ray.method(retry_exceptions=[OSError])
        async def hiccup(self, path: str) -> int:
            await asyncio.sleep(0)
            tries = _tell(path)
            if tries < 4:
                raise OSError("not yet")
            return tries

    sync, async_ = Sync.remote(), Async.remote()
    refs = [sync.hiccup.remote(paths[0]), async_.hiccup.remote(paths[1])]
    other = ray.get(sync.other.remote())
    early = len(ray.wait(refs, num_returns=2, timeout=0)[0])
    return [other, early, ray.get(refs), [_pauses(path) for path in paths]]


@program
def a_retry_that_waits_can_be_cancelled(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=50, retry_exceptions=True)
    def hopeless() -> None:
        tries.add()
        raise OSError("never")

    ref = hopeless.remote()
    until(lambda: tries.count() >= 2)
    time.sleep(0.2)  # the second attempt has counted itself; by now its error has most likely arrived, too
    ray.cancel(ref)
    caught = kind(ray.get, ref)
    count = tries.count()
    return ["TaskCancelledError" in caught, tries.count() <= count + 1]
