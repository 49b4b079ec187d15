"""`init(local_mode=True)`: everything in this process, at once and in order."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb import exceptions as x
from raynb.base.ref import taken_from
from raynb.base.rows import DEAD, FAILED, FINISHED
from raynb.engine.inline import objects
from raynb.testing import leaks


@pytest.fixture(autouse=True)
def inline() -> Iterator[Any]:
    before = leaks.Held.now()
    with raynb.Runtime(local_mode=True, num_cpus=2) as runtime:
        yield runtime.engine
    leaks.check(before)


def test_tasks_run_here_at_once_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    @raynb.remote
    def note(n: int) -> tuple[int, int]:
        print("note", n)
        return os.getpid(), threading.get_ident()

    refs = [note.remote(n) for n in range(3)]
    assert capsys.readouterr().out == "note 0\nnote 1\nnote 2\n"  # before any get
    assert raynb.get(refs) == [(os.getpid(), threading.get_ident())] * 3


def test_an_errors_traceback_ends_in_the_users_frame() -> None:
    @raynb.remote
    def divide(by: int) -> float:
        return 1 / by

    ref = divide.remote(0)
    with pytest.raises(ZeroDivisionError) as caught:
        raynb.get(ref)
    assert isinstance(caught.value, x.RayTaskError)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.name, last.line) == ("divide", "return 1 / by")


def test_an_error_in_the_middle_of_a_dynamic_generator_is_its_last_item() -> None:
    @raynb.remote(num_returns="dynamic", max_retries=0)
    def count(n: int) -> Iterator[int]:
        yield from range(n)
        raise LookupError("no more")

    first, failed = raynb.get(count.remote(1))
    assert raynb.get(first) == 0
    with pytest.raises(LookupError, match="no more"):
        raynb.get(failed)


def test_errors_that_are_not_a_tasks_own_end_have_their_frames() -> None:
    @raynb.remote(num_returns="dynamic")
    def items() -> Any:
        yield 1
        raise OSError("no second one")

    @raynb.remote
    class Broken:
        def __init__(self) -> None:
            raise KeyError("not made")

        def call(self) -> None:
            raise AssertionError

    first, second = raynb.get(items.remote())
    assert raynb.get(first) == 1
    broken = Broken.remote()
    for get, kind, name in ((lambda: raynb.get(second), OSError, "items"),
                            (lambda: raynb.get(broken.call.remote()), x.ActorDiedError, "__init__")):  # fmt: skip
        with pytest.raises(kind) as caught:  # type: ignore[var-annotated]
            get()
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == name


def test_a_debugger_that_is_left_stops_the_cell() -> None:
    import bdb

    @raynb.remote
    def stopped() -> None:
        raise bdb.BdbQuit

    with pytest.raises(bdb.BdbQuit):
        stopped.remote()
    assert raynb.get(raynb.remote(lambda: 1).remote()) == 1


def test_an_interrupt_stops_the_cell_and_cancels_the_task(inline: Any) -> None:
    @raynb.remote
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.remote()
    assert [row.state for row in inline.snapshot().tasks] == ["CANCELLED"]


def test_values_are_copies_as_on_workers() -> None:
    import numpy

    array = numpy.zeros(10_000)
    ref = raynb.put(array)
    array[:] = 1
    back = raynb.get(ref)
    assert back.sum() == 0
    assert not back.flags.writeable
    with pytest.raises(TypeError, match="Could not serialize"):
        raynb.put(threading.Lock())


def test_retries_and_their_limits() -> None:
    class Count:
        def __init__(self) -> None:
            self.n = 0

        def up(self) -> int:
            self.n += 1
            return self.n

    count = raynb.remote(Count).remote()

    def flaky(counter: Any, good: int) -> int:
        n: int = raynb.get(counter.up.remote())
        if n < good:
            raise OSError("again")
        return n

    remote = raynb.remote(flaky)
    assert raynb.get(remote.options(max_retries=3, retry_exceptions=True).remote(count, 3)) == 3
    with pytest.raises(OSError, match="again"):
        raynb.get(remote.options(max_retries=3, retry_exceptions=[KeyError]).remote(count, 100))
    assert raynb.get(count.up.remote()) == 5


def test_async_actors_wait_for_each_other() -> None:
    class Signal:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def wait(self) -> str:
            await self.event.wait()
            return "woken"

        async def send(self) -> None:
            self.event.set()

        async def ask(self, other: Any) -> str:
            return await other.wait.remote()  # type: ignore[no-any-return]

    first, second = raynb.remote(Signal).remote(), raynb.remote(Signal).remote()
    ref = first.ask.remote(second)
    assert raynb.wait([ref], timeout=0.01) == ([], [ref])
    with pytest.raises(x.GetTimeoutError):
        raynb.get(ref, timeout=0.01)
    second.send.remote()
    assert raynb.get(ref) == "woken"

    waiting = raynb.remote(Signal).remote().wait.remote()
    raynb.cancel(waiting)
    with pytest.raises(x.TaskCancelledError):
        raynb.get(waiting)


async def test_awaiting_inside_a_running_loop() -> None:
    class Sleeper:
        async def nap(self, n: int) -> int:
            await asyncio.sleep(0.001)
            return n

    sleeper = raynb.remote(Sleeper).remote()
    assert await asyncio.gather(*[sleeper.nap.remote(n) for n in range(3)]) == [0, 1, 2]
    assert sleeper.nap.remote(4).future().result() == 4


def test_an_async_actor_that_blocks_on_itself_is_told() -> None:
    class Selfish:
        async def other(self) -> int:
            await asyncio.sleep(0.01)
            return 1

        async def mine(self) -> int:
            me = raynb.get_runtime_context().current_actor
            return raynb.get(me.other.remote())  # type: ignore[no-any-return]

    with pytest.raises(x.ActorDeadlockError, match="await ref"):
        raynb.get(raynb.remote(Selfish).remote().mine.remote())


def test_streams_are_made_as_far_as_they_are_wanted() -> None:
    class Maker:
        def __init__(self) -> None:
            self.made: list[int] = []

        def numbers(self) -> Iterator[int]:
            for n in range(1_000_000):
                self.made.append(n)
                yield n

        def count(self) -> int:
            return len(self.made)

        async def anumbers(self) -> Any:
            for n in range(3):
                await asyncio.sleep(0)
                yield n

    maker = raynb.remote(Maker).remote()
    stream = maker.numbers.options(num_returns="streaming", _generator_backpressure_num_objects=2).remote()
    assert raynb.get(maker.count.remote()) == 2
    assert [raynb.get(next(stream)) for _ in range(3)] == [0, 1, 2]
    del stream
    assert raynb.get(maker.count.remote()) < 10
    assert [raynb.get(ref) for ref in maker.anumbers.remote()] == [0, 1, 2]


def test_actors_end_in_every_way(inline: Any) -> None:
    class Worker:
        def __init__(self, fail: bool = False) -> None:
            if fail:
                raise LookupError("no")

        def leave(self) -> None:
            raynb.actor.exit_actor()

        def exits(self) -> None:
            sys.exit(3)

        def pid(self) -> int:
            return os.getpid()

    cls = raynb.remote(Worker)
    with pytest.raises(x.ActorDiedError) as caught:
        raynb.get(cls.remote(fail=True).pid.remote())
    assert isinstance(caught.value.__cause__, LookupError)
    for end in (lambda actor: actor.leave.remote(), raynb.kill, lambda actor: actor.exits.remote()):
        actor = cls.options(name="named").remote()
        assert raynb.get(raynb.get_actor("named").pid.remote()) == os.getpid()
        end(actor)
        with pytest.raises(x.ActorDiedError):
            raynb.get(actor.pid.remote())
        with pytest.raises(ValueError, match="named"):
            raynb.get_actor("named")
    again = cls.options(max_restarts=1).remote()
    raynb.kill(again, no_restart=False)
    assert raynb.get(again.pid.remote()) == os.getpid()
    del again, actor
    inline.snapshot()
    assert {row.state for row in inline.snapshot().actors} == {DEAD}


def test_a_crash_of_an_actor_means_what_it_means_on_workers(tmp_path: Path) -> None:
    tally = tmp_path / "tally"

    class Leaver:
        def __init__(self) -> None:
            self.calls = 0

        def leave(self, code: Any, times: int) -> str:
            self.calls += 1
            with tally.open("a") as file:
                file.write(str(self.calls))
            if len(tally.read_text()) <= times:
                sys.exit(code)
            return "stayed"

    def outcome(code: Any, times: int, **options: int) -> tuple[str, str]:
        tally.write_text("")
        actor = raynb.remote(**options)(Leaver).remote()
        try:
            found = raynb.get(actor.leave.remote(code, times))
        except x.RayActorError as error:
            found = type(error).__name__
        return found, tally.read_text()

    assert outcome(1, 1, max_restarts=0) == ("ActorDiedError", "1")
    assert outcome(0, 1, max_restarts=2, max_task_retries=2) == ("ActorDiedError", "1")  # a wish to end, no crash
    assert outcome(1, 2, max_restarts=2, max_task_retries=2) == ("stayed", "111")
    assert outcome(1, 9, max_restarts=1, max_task_retries=1) == ("ActorDiedError", "11")
    assert outcome(1, 1, max_restarts=1) == ("ActorUnavailableError", "1")


@pytest.mark.parametrize("killed", [False, True])
def test_calls_of_an_async_actor_that_restarts_run_again_if_they_may(killed: bool) -> None:
    class Crashing:
        async def hold(self) -> str:
            if not raynb.get_runtime_context().was_current_actor_reconstructed:
                await asyncio.Event().wait()
            return "again"

        async def crash(self) -> None:
            sys.exit(1)

        @raynb.method(retry_exceptions=True, max_task_retries=3)
        async def stubborn(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("stubborn") from None

    def end(actor: Any) -> None:
        if killed:
            raynb.kill(actor, no_restart=False)
        else:
            actor.crash.remote()

    actor = raynb.remote(max_restarts=1)(Crashing).remote()
    kept, lost = actor.hold.options(max_task_retries=1).remote(), actor.hold.remote()
    end(actor)
    assert raynb.get(kept) == "again"
    with pytest.raises(x.ActorUnavailableError):
        raynb.get(lost)
    stubborn = actor.stubborn.remote()
    raynb.cancel(stubborn)
    with pytest.raises(x.TaskCancelledError):  # the cancel takes its further attempts
        raynb.get(stubborn)
    end(actor)  # for the second time: no restart is left
    with pytest.raises(x.ActorDiedError):
        raynb.get(actor.hold.remote())


def test_a_generator_is_tried_again_before_its_first_item_and_stopped_by_an_interrupt(tmp_path: Path) -> None:
    tally = tmp_path / "tally"

    def items(error: Any) -> Iterator[int]:
        first = not tally.exists()
        tally.touch()
        if first:
            raise error
        yield 1

    remote = raynb.remote(items).options(num_returns="streaming", max_retries=1, retry_exceptions=[OSError])
    assert [raynb.get(ref) for ref in remote.remote(OSError("again"))] == [1]
    tally.unlink()
    with pytest.raises(KeyboardInterrupt):
        remote.remote(KeyboardInterrupt())


def test_the_picture_travels_as_changes(inline: Any) -> None:
    def good() -> int:
        return 1

    def bad() -> None:
        raise ValueError("bad")

    ref = raynb.remote(good).remote()
    seen = inline.snapshot()
    assert [(row.name, row.state) for row in seen.tasks] == [("good", FINISHED)]
    assert [row.where for row in seen.objects] == ["memory"]
    other = raynb.remote(bad).remote()
    change = inline.changes(seen.version)
    assert [(row.name, row.state, row.error_type) for row in change.tasks] == [("bad", FAILED, "ValueError")]
    assert change.groups == {"good": {FINISHED: 1}, "bad": {FAILED: 1}}
    gone = ref._id
    del ref
    assert inline.changes(change.version).gone["objects"] == [gone]
    with pytest.raises(ValueError, match="bad"):
        raynb.get(other)
    assert inline.cluster()[0]["CPU"] == 2


def test_a_runtime_env_lasts_as_long_as_its_call() -> None:
    look = raynb.remote(lambda: os.environ.get("RAYNB_INLINE"))
    assert raynb.get(look.options(runtime_env={"env_vars": {"RAYNB_INLINE": "here"}}).remote()) == "here"
    assert raynb.get(look.remote()) is None


def test_what_a_worker_can_do_can_be_done_here() -> None:
    from raynb.api.everywhere import run_on_workers
    from raynb.util.placement_group import placement_group

    assert [one.result() for one in run_on_workers(raynb.remote(os.getpid))] == [os.getpid()]
    assert placement_group([{"CPU": 1}]).wait(1)


def test_removed_groups_do_not_pile_up() -> None:
    groups = importlib.import_module("raynb.util.placement_group")
    staying = groups.placement_group([{"CPU": 1}], name="staying")
    for _ in range(3 * groups.MAX_REMOVED):
        groups.remove_placement_group(last := groups.placement_group([{"CPU": 1}]))
    assert len(groups._known) <= 2 * groups.MAX_REMOVED + 1
    table = groups.placement_group_table
    assert (table(staying)["name"], table(last)["state"]) == ("staying", "REMOVED")


def test_a_cluster_without_ray_names_the_package() -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed here")
    with pytest.raises(ImportError, match=r'pip install "raynb\[ray\]"'):
        raynb.init("auto")
    assert raynb.api.session.global_slot().state == "empty"


def test_what_runs_while_the_log_of_refs_is_applied_frees_nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def and_then_a_destructor(log: Any) -> list[int]:
        changes = taken_from(log)
        if first and changes:  # that a ref came is out of the log, and not counted yet
            first.clear()
            raynb.put(0)
        return changes

    first = [raynb.put("kept")]
    second = pickle.loads(pickle.dumps(first[0]))
    monkeypatch.setattr(objects, "taken_from", and_then_a_destructor)
    raynb.put(1)
    assert not first
    assert raynb.get(second) == "kept"


def test_a_handler_that_raises_while_refs_are_counted_takes_no_object(
    inline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = raynb.put("kept")
    box = pickle.dumps(first)
    inline.objects.drain_log()
    second = pickle.loads(box)  # it is in the log only

    def interrupted(log: Any) -> Any:
        taken_from(log)
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(objects, "taken_from", interrupted)
        with pytest.raises(TimeoutError):
            inline.objects.drain_log()
    del first
    inline.objects.drain_log()
    assert raynb.get(second) == "kept"
    later = raynb.put("later")
    identity = later._id
    del later
    inline.objects.drain_log()
    assert identity not in inline.objects.table  # what comes after that is released as before
