"""C. Actors that fail to start, die, restart, or wait for each other."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from raynb.base import engine as slot
from raynb.engine.loop import loop as loops
from raynb.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayError
from raynb.store import UnsentRows
from raynb.testing import faults, leaks
from raynb.testing.faults import Counter, Gate

pytestmark = pytest.mark.raynb(num_cpus=2)


class Plain:
    """An actor that counts its calls, and dies when told."""

    def __init__(self, counter: Counter | None = None) -> None:
        self.calls = 0
        if counter is not None:
            counter.add()

    def call(self) -> int:
        self.calls += 1
        return self.calls

    def pid(self) -> int:
        return os.getpid()

    def strike(self, action: str) -> None:
        faults.strike(action)

    def hold(self, gate: Gate, name: str) -> str:
        gate.pass_through(name)
        return name

    def call_or_strike(self, last: int, action: str) -> int:
        self.calls += 1
        if self.calls > last:
            faults.strike(action)
        return self.calls

    def weigh(self, size: int) -> bytes:
        self.calls += 1
        return bytes([self.calls]) * size


def test_c25_a_constructor_that_raises(ray: Any) -> None:
    class Broken:
        def __init__(self) -> None:
            faults.strike("raise")

        def call(self) -> None:
            pass

    actor = ray.remote(Broken).remote()
    for _ in range(2):  # the second call finds the actor dead already
        with pytest.raises(ActorDiedError, match=r"(?s)Boom.*bomb"):
            ray.get(actor.call.remote(), timeout=60)


@pytest.mark.raynb(num_cpus=2)
def test_c26_a_constructor_that_crashes_for_ever_is_given_up(ray: Any, counter: Counter) -> None:
    class Crasher:
        def __init__(self) -> None:
            counter.add()
            faults.strike("os._exit(3)")

        def call(self) -> None:
            pass

    actor = ray.remote(max_restarts=-1, max_task_retries=-1)(Crasher).remote()
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=60)
    assert counter.value == 5


def test_c27_death_with_calls_in_the_queue(ray: Any, gate: Gate) -> None:
    actor = ray.remote(Plain).remote()
    first = [actor.call.remote() for _ in range(3)]
    held = actor.hold.remote(gate, "held")
    rest = [actor.call.remote() for _ in range(3)]
    faults.kill(*gate.wait_for("held"))
    assert ray.get(first, timeout=60) == [1, 2, 3]
    for ref in [held, *rest]:
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=60)
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=60)


@pytest.mark.parametrize("action", faults.DEADLY)
def test_c27_death_by_its_own_hand(ray: Any, action: str) -> None:
    actor = ray.remote(Plain).remote()
    assert ray.get(actor.call.remote(), timeout=60) == 1
    with pytest.raises(ActorDiedError):
        ray.get(actor.strike.remote(action), timeout=60)
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=60)


def test_c28_calls_in_flight_when_it_restarts_without_retries(ray: Any, gate: Gate) -> None:
    actor = ray.remote(max_restarts=1)(Plain).remote()
    held = actor.hold.remote(gate, "held")
    faults.kill(*gate.wait_for("held"))
    with pytest.raises(ActorUnavailableError):
        ray.get(held, timeout=60)

    def back() -> bool:
        try:
            return bool(ray.get(actor.call.remote(), timeout=60))
        except ActorUnavailableError:
            return False

    assert leaks.until(back)


def test_c28_retries_are_transparent_and_in_order(ray: Any, gate: Gate, counter: Counter) -> None:
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []
            counter.add()

        def add(self, n: int) -> int:
            if n == 0:
                gate.pass_through("first")
            self.seen.append(n)
            return n

        def all(self) -> list[int]:
            return self.seen

    actor = ray.remote(max_restarts=1, max_task_retries=1)(Log).remote()
    refs = [actor.add.remote(n) for n in range(5)]
    faults.kill(*gate.wait_for("first"))
    gate.open("first")
    assert ray.get(refs, timeout=60) == [0, 1, 2, 3, 4]
    assert ray.get(actor.all.remote(), timeout=60) == [0, 1, 2, 3, 4]
    assert counter.value == 2


@pytest.mark.parametrize("restarts", [0, 2])
def test_restarts_are_counted(ray: Any, counter: Counter, restarts: int) -> None:
    actor = ray.remote(max_restarts=restarts, max_task_retries=0)(Plain).remote(counter)
    for _ in range(restarts + 1):
        assert leaks.until(lambda: _alive(ray, actor))
        with pytest.raises(RayActorError):
            ray.get(actor.strike.remote("sigkill"), timeout=60)
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=60)
    assert counter.value == restarts + 1


def _alive(ray: Any, actor: Any) -> bool:
    try:
        return bool(ray.get(actor.pid.remote(), timeout=60))
    except ActorUnavailableError:
        return False


def test_c29_kill_while_running(ray: Any, gate: Gate) -> None:
    actor = ray.remote(Plain).remote()
    held = actor.hold.remote(gate, "held")
    (pid,) = gate.wait_for("held")
    ray.kill(actor)
    with pytest.raises(ActorDiedError):
        ray.get(held, timeout=60)
    assert leaks.until(lambda: pid not in leaks.all_processes())


def test_c29_kill_with_a_restart(ray: Any) -> None:
    actor = ray.remote(max_restarts=1, max_task_retries=-1)(Plain).remote()
    before = ray.get(actor.pid.remote(), timeout=60)
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.pid.remote(), timeout=60) != before


def test_c30_an_actor_that_waits_for_itself_is_told(ray: Any) -> None:
    class Narcissus:
        def look(self) -> Any:
            me = ray.get_runtime_context().current_actor
            return ray.get(me.call.remote())

        def call(self) -> int:
            return 1

    actor = ray.remote(Narcissus).remote()
    with pytest.raises(
        RayError, match="(?s)Narcissus.*(itself|cycle|deadlock)|(itself|cycle|deadlock).*Narcissus"
    ):
        ray.get(actor.look.remote(), timeout=60)


def test_c30_a_cycle_of_waiting_actors_is_named(ray: Any) -> None:
    class Left:
        def ask(self, other: Any, me: Any) -> Any:
            return ray.get(other.ask_back.remote(me))

        def call(self) -> int:
            return 1

    class Right:
        def ask_back(self, other: Any) -> Any:
            return ray.get(other.call.remote())

    left = ray.remote(num_cpus=0)(Left).remote()
    right = ray.remote(num_cpus=0)(Right).remote()
    with pytest.raises(RayError, match=r"(?s)Left.*Right|Right.*Left"):
        ray.get(left.ask.remote(right, left), timeout=60)


def test_c30_a_cycle_through_a_plain_task_is_named(ray: Any) -> None:
    class Boss:
        def ask(self, me: Any) -> Any:
            return ray.get(errand.remote([me]))

        def call(self) -> int:
            return 1

    @ray.remote
    def errand(handles: Any) -> Any:
        return ray.get(handles[0].call.remote())

    boss = ray.remote(num_cpus=0)(Boss).remote()
    with pytest.raises(RayError, match=r"(?s)Boss waits for errand|errand waits for Boss"):
        ray.get(boss.ask.remote(boss), timeout=60)
    assert ray.get(boss.call.remote(), timeout=60) == 1


def test_c31_the_actor_of_a_dead_creator_dies_too(ray: Any) -> None:
    class Parent:
        def make(self) -> tuple[Any, int]:
            self.child = ray.remote(num_cpus=0)(Plain).remote()
            return self.child, ray.get(self.child.pid.remote())

    parent = ray.remote(num_cpus=0)(Parent).remote()
    child, pid = ray.get(parent.make.remote(), timeout=60)
    ray.kill(parent)
    assert leaks.until(lambda: pid not in leaks.all_processes())
    with pytest.raises(ActorDiedError):
        ray.get(child.call.remote(), timeout=60)


def test_c31_a_detached_actor_outlives_its_creator(ray: Any) -> None:
    class Parent:
        def make(self) -> int:
            child = ray.remote(Plain).options(name="kept", lifetime="detached", num_cpus=0).remote()
            return int(ray.get(child.pid.remote()))

    parent = ray.remote(num_cpus=0)(Parent).remote()
    pid = ray.get(parent.make.remote(), timeout=60)
    ray.kill(parent)
    kept = ray.get_actor("kept")
    assert ray.get(kept.pid.remote(), timeout=60) == pid
    ray.kill(kept)


@pytest.mark.parametrize("action", ["os._exit(3)", "sigkill"])
def test_what_was_done_before_the_call_that_ended_the_process_is_not_lost(
    ray: Any, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of brief calls wait for company before they are sent, and these calls may not run again."""
    found: list[bytes] = []
    read = UnsentRows.read

    def watch(self: UnsentRows, row: int, came: int) -> bytes:
        found.append(read(self, row, came))
        return found[-1]

    monkeypatch.setattr(UnsentRows, "read", watch)
    for round_ in range(50):
        if round_ >= 5 and any(found):  # on a busy machine all may have been sent just before
            break
        actor = ray.remote(num_cpus=0)(Plain).remote()
        ray.get([actor.call_or_strike.remote(10_000, action) for _ in range(100)], timeout=60)
        refs = [actor.call_or_strike.remote(1_000, action) for _ in range(1_000)]
        assert ray.get(refs[:900], timeout=60) == list(range(101, 1_001))
        for ref in (refs[900], refs[-1]):
            with pytest.raises(ActorDiedError):
                ray.get(ref, timeout=60)
        del refs, ref
    assert any(found), "no process died with something unsent: this test looks at nothing"


def test_long_results_that_lie_in_the_socket_when_the_process_is_gone_are_read(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of a long frame makes no message: that is not the end of what a dead process has sent."""
    actor = ray.remote(num_cpus=0)(Plain).remote()
    pid = ray.get(actor.pid.remote(), timeout=60)
    loop = slot.current().loop  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(loops, "_read", lambda connection, prepare: [])  # nobody reads meanwhile
        refs = [actor.weigh.remote(95_000) for _ in range(8)]
        last = actor.strike.remote("sigkill")
        loop.flush()
        assert leaks.until(lambda: not is_alive(pid))
    with pytest.raises(ActorDiedError):
        ray.get(last, timeout=60)
    assert ray.get(refs, timeout=60) == [bytes([n]) * 95_000 for n in range(1, 9)]


def test_threads_that_wait_for_each_other_after_they_never_had_to(ray: Any) -> None:
    """One thread does a row of brief calls. When these block, the others come all the same."""

    class Meeting:
        def __init__(self) -> None:
            self.all_there = threading.Barrier(4)

        def meet(self, wait: bool) -> int:
            return self.all_there.wait(60) if wait else -1

    actor = ray.remote(num_cpus=0, max_concurrency=4)(Meeting).remote()
    for _ in range(3):
        assert ray.get([actor.meet.remote(False) for _ in range(200)], timeout=60) == [-1] * 200
        assert sorted(ray.get([actor.meet.remote(True) for _ in range(4)], timeout=60)) == [0, 1, 2, 3]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
