"""max_retries, retry_exceptions, max_restarts, max_task_retries, lineage."""

from __future__ import annotations

import os
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, error, family, kind, until


@program
def a_crash_is_retried(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=2)
    def shaky() -> str:
        if tries.add() < 3:
            os._exit(1)
        return "done"

    return [ray.get(shaky.remote()), tries.count()]


@program(on_ray=False)
@differs("Ray at times counts a try that never ran", expected=["WorkerCrashedError", 3])
def retries_run_out(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=2)
    def hopeless() -> None:
        tries.add()
        os._exit(1)

    return [kind(ray.get, hopeless.remote()), tries.count()]


@program
def exceptions_are_not_retried_by_default(ray: Any) -> Any:
    tries = Tally()

    @ray.remote
    def bad() -> None:
        tries.add()
        raise ValueError

    return [kind(ray.get, bad.remote()), tries.count()]


@program
def retry_exceptions_true(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=3, retry_exceptions=True)
    def shaky() -> str:
        if tries.add() < 3:
            raise ValueError
        return "done"

    return [ray.get(shaky.remote()), tries.count()]


@program
def retry_exceptions_by_class(ray: Any) -> Any:
    first, second = Tally(), Tally()

    @ray.remote(max_retries=2, retry_exceptions=[ConnectionError])
    def listed() -> None:
        first.add()
        raise ConnectionResetError("a subclass")

    @ray.remote(max_retries=2, retry_exceptions=[ConnectionError])
    def unlisted() -> None:
        second.add()
        raise ValueError

    return [kind(ray.get, listed.remote()), first.count(), kind(ray.get, unlisted.remote()), second.count()]


@program
def retry_exceptions_by_options(ray: Any) -> Any:
    tries = Tally()

    @ray.remote
    def shaky() -> str:
        if tries.add() < 2:
            raise OSError
        return "done"

    return ray.get(shaky.options(max_retries=1, retry_exceptions=[OSError]).remote())


@program
def no_retries(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_retries=0, retry_exceptions=True)
    def bad() -> None:
        tries.add()
        raise ValueError

    return [kind(ray.get, bad.remote()), tries.count()]


@program
def an_actor_is_not_restarted_by_default(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def die(self) -> None:
            os._exit(1)

    mortal = Mortal.remote()
    return [kind(ray.get, mortal.die.remote()), kind(ray.get, mortal.die.remote())]


@program
def a_restarted_actor_is_constructed_again(ray: Any) -> Any:
    @ray.remote(max_restarts=1, max_task_retries=2)
    class Phoenix:
        def __init__(self, start: int) -> None:
            self.n = start

        def add(self) -> int:
            self.n += 1
            return self.n

        def pid(self) -> int:
            return os.getpid()

        def restarted(self) -> bool:
            return ray.get_runtime_context().was_current_actor_reconstructed

    phoenix = Phoenix.remote(10)
    before = ray.get([phoenix.add.remote(), phoenix.add.remote(), phoenix.restarted.remote()])
    os.kill(ray.get(phoenix.pid.remote()), 9)
    return [before, ray.get([phoenix.add.remote(), phoenix.restarted.remote()])]


@program
def a_call_in_flight_without_task_retries(ray: Any) -> Any:
    started = Gate()

    @ray.remote(max_restarts=1)
    class Phoenix:
        def pid(self) -> int:
            return os.getpid()

        def hold(self) -> None:
            started.open()
            until(lambda: False)

    phoenix = Phoenix.remote()
    pid = ray.get(phoenix.pid.remote())
    holding = phoenix.hold.remote()
    started.wait()
    os.kill(pid, 9)
    caught = error(ray.get, holding)
    return [type(caught).__name__, until(lambda: kind(ray.get, phoenix.pid.remote()) == "no error")]


@program
def a_call_in_flight_with_task_retries(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_restarts=2, max_task_retries=2)
    class Phoenix:
        def shaky(self) -> int:
            if tries.add() < 3:
                os._exit(1)
            return tries.count()

    return ray.get(Phoenix.remote().shaky.remote())


@program
def task_retries_run_out(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_restarts=5, max_task_retries=1)
    class Hopeless:
        def die(self) -> None:
            tries.add()
            os._exit(1)

    caught = error(ray.get, Hopeless.remote().die.remote())
    return [family(caught, ray.exceptions.RayActorError), tries.count()]


@program
def restarts_run_out(ray: Any) -> Any:
    @ray.remote(max_restarts=1)
    class Phoenix:
        def pid(self) -> int:
            return os.getpid()

    phoenix = Phoenix.remote()
    pids = []
    for _ in range(2):
        found: list = []

        def answers(found: list = found) -> bool:
            found[:] = [error(lambda: found.append(0) or pids.append(ray.get(phoenix.pid.remote())))]
            return found[0] is None

        until(answers)
        os.kill(pids[-1], 9)

    def dead() -> bool:
        return kind(ray.get, phoenix.pid.remote()) == "ActorDiedError"

    return [len(set(pids)), until(dead)]


@program
def method_exceptions_are_retried_when_asked(ray: Any) -> Any:
    tries = Tally()

    @ray.remote(max_task_retries=3)
    class Shaky:
        @ray.method(retry_exceptions=True)
        def work(self) -> int:
            if tries.add() < 3:
                raise ValueError
            return tries.count()

        @ray.method(max_task_retries=1, retry_exceptions=[KeyError])
        def once(self, tally: Tally) -> None:
            tally.add()
            raise KeyError

    shaky, other = Shaky.remote(), Tally()
    return [ray.get(shaky.work.remote()), kind(ray.get, shaky.once.remote(other)), other.count()]


@program
def kill_with_restart(ray: Any) -> Any:
    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Phoenix:
        def pid(self) -> int:
            return os.getpid()

    phoenix = Phoenix.remote()
    before = ray.get(phoenix.pid.remote())
    ray.kill(phoenix, no_restart=False)
    return until(lambda: ray.get(phoenix.pid.remote()) != before)


@program
def kill_without_restart_beats_max_restarts(ray: Any) -> Any:
    @ray.remote(max_restarts=-1)
    class Phoenix:
        def pid(self) -> int:
            return os.getpid()

    phoenix = Phoenix.remote()
    ray.get(phoenix.pid.remote())
    ray.kill(phoenix)
    return until(lambda: kind(ray.get, phoenix.pid.remote()) == "ActorDiedError")


@program
def exit_actor_is_not_restarted(ray: Any) -> Any:
    @ray.remote(max_restarts=3)
    class Leaver:
        def leave(self) -> None:
            ray.actor.exit_actor()

        def work(self) -> int:
            return 1

    leaver = Leaver.remote()
    kind(ray.get, leaver.leave.remote())
    return until(lambda: kind(ray.get, leaver.work.remote()) == "ActorDiedError")


@program
def results_of_a_dead_worker_are_kept(ray: Any) -> Any:
    @ray.remote
    def make() -> list:
        return [os.getpid(), b"x" * 1_000_000]

    ref = make.remote()
    pid, data = ray.get(ref)
    del data
    os.kill(pid, 9)
    return len(ray.get(ref)[1])


@program
def bystanders_of_a_crash(ray: Any) -> Any:
    @ray.remote
    def fine(i: int) -> int:
        return i

    @ray.remote(max_retries=0)
    def die() -> None:
        os._exit(1)

    refs = [fine.remote(i) for i in range(10)]
    bad = die.remote()
    more = [fine.remote(i) for i in range(10, 20)]
    return [kind(ray.get, bad), sum(ray.get(refs + more))]
