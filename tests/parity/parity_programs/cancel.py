"""Cancelling tasks: queued, running, of actors, recursively, by force."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import PATIENCE, Gate, Tally, alive, error, family, kind, says, until


def hold_all_widgets(ray: Any, gate: Gate) -> Any:
    """Returns a running task that holds every widget until the gate opens."""
    started = Gate()

    @ray.remote(num_cpus=0, resources={"widget": 2})
    def hold() -> bool:
        started.open()
        return gate.wait()

    ref = hold.remote()
    started.wait()
    return ref


def cancelled(ray: Any, ref: Any) -> str:
    """Returns "TaskCancelledError" if that is what the ref raises, whatever else it is too."""
    caught = error(ray.get, ref, timeout=PATIENCE)
    if isinstance(caught, ray.exceptions.TaskCancelledError):
        return "TaskCancelledError"
    return type(caught).__name__


@program
def a_queued_task(ray: Any) -> Any:
    gate, ran = Gate(), Tally()
    holder = hold_all_widgets(ray, gate)

    @ray.remote(num_cpus=0, resources={"widget": 1})
    def queued() -> None:
        ran.add()

    ref = queued.remote()
    ray.cancel(ref)
    caught = error(ray.get, ref, timeout=PATIENCE)
    gate.open()
    ray.get(holder)
    return [type(caught).__name__, isinstance(caught, ray.exceptions.RayError), ran.count()]


@program
@differs("raynb raises TaskCancelledError itself, wherever the cancel met the task", "TaskCancelledError")
def a_running_task(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    def busy() -> None:
        started.open()
        while True:
            time.sleep(0.01)

    ref = busy.remote()
    started.wait()
    ray.cancel(ref)
    return kind(ray.get, ref, timeout=PATIENCE)


@program
def a_running_task_sees_a_keyboard_interrupt(ray: Any) -> Any:
    started, seen = Gate(), Gate()

    @ray.remote
    def busy() -> None:
        try:
            started.open()  # in here already: the driver sees the gate before the call returns
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            seen.open()
            raise

    ref = busy.remote()
    started.wait()
    ray.cancel(ref)
    return [cancelled(ray, ref), seen.wait()]


@program
def a_task_that_catches_the_interrupt_has_succeeded(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    def stubborn() -> str:
        try:
            started.open()  # in here already: the driver sees the gate before the call returns
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            return "carried on"

    ref = stubborn.remote()
    started.wait()
    ray.cancel(ref)
    return ray.get(ref, timeout=PATIENCE)


@program
def by_force(ray: Any) -> Any:
    started, pids = Gate(), Tally()

    @ray.remote
    def deaf() -> None:
        with open(pids.path, "w") as file:
            file.write(str(os.getpid()))
        started.open()
        while True:
            try:
                time.sleep(0.01)
            except KeyboardInterrupt:
                pass

    ref = deaf.remote()
    started.wait()
    ray.cancel(ref, force=True)
    caught = error(ray.get, ref, timeout=PATIENCE)
    with open(pids.path) as file:
        pid = int(file.read())
    return [
        family(caught, ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError) != [],
        until(lambda: not alive(pid)),
    ]


@program
def after_it_finished(ray: Any) -> Any:
    @ray.remote
    def quick() -> int:
        return 1

    ref = quick.remote()
    value = ray.get(ref)
    ray.cancel(ref)
    return [value, ray.get(ref)]


@program
def twice(ray: Any) -> Any:
    gate = Gate()
    holder = hold_all_widgets(ray, gate)

    @ray.remote(num_cpus=0, resources={"widget": 1})
    def queued() -> None: ...

    ref = queued.remote()
    ray.cancel(ref)
    ray.cancel(ref)
    found = cancelled(ray, ref)
    gate.open()
    ray.get(holder)
    return found


@program(on_ray=False)
@differs("Ray 2.60 fails an internal check and ends the driver", expected=["TaskCancelledError", True, 0])
def a_task_that_waits_for_its_arguments(ray: Any) -> Any:
    gate, ran = Gate(), Tally()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    @ray.remote
    def after(x: Any) -> None:
        ran.add()

    slow = late.remote()
    ref = after.remote(slow)
    ray.cancel(ref)
    found = cancelled(ray, ref)
    gate.open()
    return [found, ray.get(slow), ran.count()]


@program
@differs("raynb raises TaskCancelledError itself, wherever the cancel met the task", ["TaskCancelledError"])
def dependents_of_a_cancelled_task(ray: Any) -> Any:
    gate = Gate()
    holder = hold_all_widgets(ray, gate)

    @ray.remote(num_cpus=0, resources={"widget": 1})
    def queued() -> None: ...

    @ray.remote
    def after(x: Any) -> None: ...

    ref = queued.remote()
    later = after.remote(ref)
    ray.cancel(ref)
    caught = error(ray.get, later, timeout=PATIENCE)
    gate.open()
    ray.get(holder)
    return family(caught, ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError)


@program
def children_are_cancelled_too(ray: Any) -> Any:
    started, seen = Gate(), Gate()

    @ray.remote
    def child() -> None:
        try:
            started.open()  # in here already: the driver sees the gate before the call returns
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            seen.open()
            raise

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    started.wait()
    ray.cancel(ref, recursive=True)
    return [cancelled(ray, ref), seen.wait()]


@program
def children_may_be_spared(ray: Any) -> Any:
    started, gate, finished = Gate(), Gate(), Gate()

    @ray.remote
    def child() -> None:
        started.open()
        gate.wait()
        finished.open()

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    started.wait()
    ray.cancel(ref, recursive=False)
    found = cancelled(ray, ref)
    gate.open()
    return [found, finished.wait()]


@program
def a_queued_call_of_an_actor(ray: Any) -> Any:
    gate, ran = Gate(), Tally()

    @ray.remote
    class Worker:
        def hold(self) -> bool:
            return gate.wait()

        def work(self) -> None:
            ran.add()

    worker = Worker.remote()
    holding = worker.hold.remote()
    queued = worker.work.remote()
    ray.cancel(queued)
    gate.open()
    found = cancelled(ray, queued)
    return [found, ray.get(holding), ran.count()]


@program
def a_running_async_call(ray: Any) -> Any:
    started, seen = Gate(), Gate()

    @ray.remote
    class Worker:
        async def forever(self) -> None:
            started.open()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                seen.open()
                raise

        async def fine(self) -> str:
            return "fine"

    worker = Worker.remote()
    ref = worker.forever.remote()
    started.wait()
    ray.cancel(ref)
    found = cancelled(ray, ref)
    return [found, seen.wait(), ray.get(worker.fine.remote())]


@program
def a_running_sync_call_runs_on(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    class Worker:
        def __init__(self) -> None:
            self.done = 0

        def hold(self) -> None:
            started.open()
            until(ray.get_runtime_context().is_canceled)  # on Ray the cancel arrives a moment after it was asked for
            self.done += 1

        def count(self) -> int:
            return self.done

    worker = Worker.remote()
    ref = worker.hold.remote()
    started.wait()
    ray.cancel(ref)
    return [cancelled(ray, ref), ray.get(worker.count.remote())]


@program
def force_on_an_actor_call_is_refused(ray: Any) -> Any:
    @ray.remote
    class Worker:
        def work(self) -> int:
            return 1

    worker = Worker.remote()
    ref = worker.work.remote()
    caught = error(ray.cancel, ref, force=True)
    return [type(caught).__name__, says(caught, "force"), ray.get(ref)]


@program
def what_is_no_ref(ray: Any) -> Any:
    return [kind(ray.cancel, 5), kind(ray.cancel, [ray.put(1)])]


@program
def an_object_that_was_put(ray: Any) -> Any:
    ref = ray.put(1)
    return [kind(ray.cancel, ref), ray.get(ref)]


@program
def a_cancelled_task_is_not_retried(ray: Any) -> Any:
    started, tries = Gate(), Tally()

    @ray.remote(max_retries=5, retry_exceptions=True)
    def busy() -> None:
        tries.add()
        started.open()
        while True:
            time.sleep(0.01)

    ref = busy.remote()
    started.wait()
    ray.cancel(ref)
    return [cancelled(ray, ref), tries.count()]


@program
def many_queued_tasks(ray: Any) -> Any:
    gate, ran = Gate(), Tally()
    holder = hold_all_widgets(ray, gate)

    @ray.remote(num_cpus=0, resources={"widget": 1})
    def queued(i: int) -> int:
        ran.add()
        return i

    refs = [queued.remote(i) for i in range(50)]
    for ref in refs[::2]:
        ray.cancel(ref)
    gate.open()
    ray.get(holder)
    names = [cancelled(ray, ref) for ref in refs[::2]]
    return [set(names) == {"TaskCancelledError"}, ray.get(refs[1::2]) == list(range(1, 50, 2)), ran.count()]


@program
def the_resources_come_back(ray: Any) -> Any:
    started = Gate()

    @ray.remote(num_cpus=0, resources={"widget": 2})
    def busy() -> None:
        started.open()
        while True:
            time.sleep(0.01)

    @ray.remote(num_cpus=0, resources={"widget": 2})
    def next_one() -> str:
        return "ran"

    ref = busy.remote()
    started.wait()
    ray.cancel(ref)
    return [cancelled(ray, ref), ray.get(next_one.remote(), timeout=PATIENCE)]


@program
def is_canceled_inside_a_sync_call(ray: Any) -> Any:
    started = Gate()

    @ray.remote
    class Worker:
        def work(self) -> str:
            started.open()
            until(ray.get_runtime_context().is_canceled)
            self.result = ray.get_runtime_context().is_canceled()
            return "over"

        def seen(self) -> bool:
            return self.result

    worker = Worker.remote()
    ref = worker.work.remote()
    started.wait()
    ray.cancel(ref)
    return [cancelled(ray, ref), ray.get(worker.seen.remote())]
