"""Checks of raynb on a real Ray cluster. Run with a Python that has Ray; one cluster serves them all.

``python cluster_checks.py`` starts a cluster, connects raynb to it, runs every check and writes one JSON
line for each: its name, and the traceback if it failed. `test_cluster.py` reads them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import cluster_cells  # noqa: F401
import cluster_endings  # noqa: F401
import cluster_inspection  # noqa: F401
import cluster_interchange  # noqa: F401  more checks on the same cluster
import cluster_news  # noqa: F401
import cluster_output  # noqa: F401
import cluster_surroundings  # noqa: F401  its checks run with those below
import ray as real_ray
from cluster_tools import WAIT, In, check, engine, lines, main, printed, raised, until

import raynb
from raynb.base.ids import task_of
from raynb.base.rows import CANCELLED, DEAD, FAILED, FINISHED
from raynb.engine.cluster import connection, shipping
from raynb.engine.cluster.rows.reports import death_cause
from raynb.exceptions import RaySystemError


class TwoPart(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


@check
def an_error_is_of_the_users_class_with_its_attributes_and_frames() -> None:
    @raynb.remote(max_retries=0)
    def fail() -> None:
        raise TwoPart(7, "seven")

    error = raised(lambda: raynb.get(fail.remote(), timeout=WAIT))
    assert isinstance(error, TwoPart)
    assert isinstance(error, raynb.exceptions.RayTaskError)
    assert error.code == 7
    assert 'raise TwoPart(7, "seven")' in str(error)
    assert "raynb/engine" not in str(error), str(error)


@check
def a_constructor_that_raises_is_known_by_its_cause() -> None:
    class NeverMade:
        def __init__(self) -> None:
            raise LookupError("no such thing")

        def method(self) -> None: ...

    bad = raynb.remote(num_cpus=0)(NeverMade).remote()
    error = raised(lambda: raynb.get(bad.method.remote(), timeout=WAIT))
    assert isinstance(error, raynb.exceptions.ActorDiedError)
    assert isinstance(error.__cause__, LookupError), repr(error.__cause__)

    def why() -> str:
        rows = [one for one in engine().snapshot().actors if one.class_name == "NeverMade" and one.state == DEAD]
        return rows[0].death_cause if rows and "no such thing" in rows[0].death_cause else ""

    row = until(why, "the worker's word")  # Ray's table may have been read before it
    told = until(lambda: [one for one in real_ray._private.state.actors().values()
                          if one["ActorClassName"] == "NeverMade" and one["State"] == DEAD], "Ray's table")  # fmt: skip
    assert death_cause(told[-1]).splitlines()[-1] == row.splitlines()[-1], "whoever tells of it first"


@check
def retry_exceptions_retries_only_those() -> None:
    folder = tempfile.mkdtemp()

    def flaky(kind: type, name: str) -> int:
        with open(os.path.join(folder, name), "ab") as file:
            file.write(b".")
            file.flush()
            count = file.tell()
        if count < 3:
            raise kind("again")
        return count

    remote = raynb.remote(max_retries=5, retry_exceptions=[OSError])(flaky)
    assert raynb.get(remote.options(name="tried thrice").remote(OSError, "a"), timeout=WAIT) == 3
    until(lambda: [(row.state, row.error) for row in engine().snapshot().tasks if row.name == "tried thrice"]
          == [(FINISHED, "")], "the row of its last attempt")  # fmt: skip
    assert isinstance(raised(lambda: raynb.get(remote.remote(KeyError, "b"), timeout=WAIT)), KeyError)
    assert os.path.getsize(os.path.join(folder, "b")) == 1


@check
def rows_tell_what_became_of_tasks() -> None:
    @raynb.remote(max_retries=0)
    def good() -> bytes:
        return bytes(200_000)

    @raynb.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("bad")

    @raynb.remote(max_retries=0)
    def dies() -> None:
        os._exit(1)

    with In(20):
        refs = [good.remote(), bad.remote()]
        # What a worker has not reported yet ends with it: the one that dies comes afterwards.
        until(lambda: engine().scope_counts(20) == {FINISHED: 1, FAILED: 1}, "the first two")
        until(lambda: [row.size for row in engine().snapshot().tasks if row.name == "good"][-1], "the size")
        refs.append(dies.remote())
    assert isinstance(raised(lambda: raynb.get(refs[1], timeout=WAIT)), ValueError)
    assert isinstance(raised(lambda: raynb.get(refs[2], timeout=WAIT)), raynb.exceptions.WorkerCrashedError)
    raynb.get(refs[0], timeout=WAIT)

    def rows() -> dict[str, Any]:
        return {row.name: row for row in engine().snapshot().tasks if row.scope == 20}

    wanted = {"good": FINISHED, "bad": FAILED, "dies": FAILED}
    until(lambda: {name: row.state for name, row in rows().items()} == wanted, "the states")
    found = until(lambda: rows()["good"].size and rows(), "the size")
    assert found["good"].size >= 200_000
    assert found["good"].pid
    assert 0 < found["good"].started <= found["good"].ended
    assert (found["bad"].error_type, found["dies"].error_type) == ("ValueError", "WorkerCrashedError")
    assert engine().scope_counts(20) == {FINISHED: 1, FAILED: 2}
    assert engine().logs() is not None


@check
def a_cell_is_cancelled_as_a_whole() -> None:
    @raynb.remote(max_retries=0)
    def sleep() -> None:
        while True:  # Ray's interrupt waits for a sleep to end
            time.sleep(0.01)

    with In(21):
        refs = [sleep.remote() for _ in range(6)]
    with In(22):
        other = raynb.put(1)
    until(lambda: engine().scope_counts(21).get("RUNNING"), "one to run")
    assert engine().cancel_scope(21) == (6, 0)
    for ref in refs:
        found = raised(lambda ref=ref: raynb.get(ref, timeout=WAIT))
        assert isinstance(found, raynb.exceptions.TaskCancelledError)
    until(lambda: engine().scope_counts(21) == {CANCELLED: 6}, "the rows")
    assert raynb.get(other) == 1


@check
def a_get_that_waits_says_how_many_are_missing() -> None:
    from raynb.base import engine as slot

    seen: list[int] = []
    gate = os.path.join(tempfile.mkdtemp(), "open")

    def began(waiter: Any) -> Callable[[], None]:
        seen.append(waiter.left)
        open(gate, "w").close()
        return lambda: seen.append(waiter.left)

    @raynb.remote
    def slow() -> int:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return 1

    before, slot.on_wait = slot.on_wait, began
    try:
        assert raynb.get([slow.remote(), slow.remote()], timeout=WAIT) == [1, 1]
    finally:
        slot.on_wait = before
    assert seen == [2, 0]

    @raynb.remote
    def three() -> Any:
        yield from range(3)

    waits: list[Any] = []

    def waiting(waiter: Any) -> Callable[[], None]:
        waits.append(waiter)
        return lambda: None

    stream = three.options(num_returns="streaming").remote()
    raynb.wait([stream.completed()], timeout=WAIT)
    slot.on_wait = waiting
    try:
        items = list(stream)
    finally:
        slot.on_wait = before
    assert not waits, "items that are there are not waited for"
    assert raynb.get(items, timeout=WAIT) == [0, 1, 2]


@check
def awaiting_and_futures() -> None:
    @raynb.remote
    def one() -> int:
        print("awaited")
        return 1

    async def gather() -> list[int]:
        return list(await asyncio.gather(one.remote(), one.remote()))

    with In(23):
        assert asyncio.run(gather()) == [1, 1]
        assert one.remote().future().result(WAIT) == 1
    assert lines(23) == ["awaited"] * 3, printed(23)


@check
def a_timeout_of_a_task_ends_it() -> None:
    @raynb.remote(timeout=0.3, max_retries=0)
    def slow() -> None:
        time.sleep(WAIT)

    error = raised(lambda: raynb.get(slow.remote(), timeout=WAIT))
    assert type(error) is raynb.exceptions.TaskTimeoutError, repr(error)  # as on one machine: no code raised it
    assert str(error) == "slow did not finish within its timeout of 0.3 s.", error


@check
def refs_and_handles_travel_and_are_let_go() -> None:
    class Keeper:
        def __init__(self) -> None:
            self.held: list[Any] = []

        def keep(self, refs: list[Any]) -> None:
            self.held += refs

        def read(self) -> list[Any]:
            return raynb.get(self.held)

    @raynb.remote
    def use(keeper: Any) -> list[Any]:
        return raynb.get(keeper.read.remote())  # type: ignore[no-any-return]

    keeper = raynb.remote(num_cpus=0)(Keeper).remote()
    ref = raynb.put([1, 2])
    raynb.get(keeper.keep.remote([ref]), timeout=WAIT)
    del ref
    assert raynb.get(use.remote(keeper), timeout=WAIT) == [[1, 2]]
    refs = [raynb.put(n) for n in range(20)]
    mine = {ref._id for ref in refs}
    assert mine <= engine().refs.natives.keys()
    del refs
    engine().drain_log()
    until(lambda: not mine & engine().refs.natives.keys(), "their release")  # another thread may be at it


@check
def large_arrays_are_read_without_a_copy() -> None:
    import numpy

    array = numpy.arange(1_000_000)
    back = raynb.get(raynb.remote(lambda a: a).remote(raynb.put(array)), timeout=WAIT)
    assert (back == array).all()
    assert not back.flags.writeable
    assert not back.flags.owndata


@check
def a_function_for_every_worker_runs_before_its_next_task() -> None:
    from raynb.api.everywhere import run_on_workers

    def mark() -> None:
        os.environ["RAYNB_MARKED"] = "yes"

    @raynb.remote
    def look() -> str | None:
        return os.environ.get("RAYNB_MARKED")

    assert run_on_workers(raynb.remote(mark)) == []
    assert set(raynb.get([look.remote() for _ in range(8)], timeout=WAIT)) == {"yes"}


@check
def places_in_the_cluster() -> None:
    from raynb.util.placement_group import placement_group, remove_placement_group
    from raynb.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

    @raynb.remote
    def where() -> str:
        return raynb.get_runtime_context().get_node_id()

    node = raynb.nodes()[0]["NodeID"]
    there = where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
    assert raynb.get([there.remote(), where.options(scheduling_strategy="SPREAD").remote()], timeout=WAIT) == [node] * 2
    group = placement_group([{"CPU": 1}])
    assert group.wait(WAIT)
    inside = where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0))
    assert raynb.get(inside.remote(), timeout=WAIT) == node
    remove_placement_group(group)


@check
def a_second_init_says_what_differs() -> None:
    raynb.init("auto")
    error = raised(lambda: raynb.init("ray://elsewhere:10001"))
    assert isinstance(error, RuntimeError)
    assert "address" in str(error)


@check
def an_interrupted_cell_gives_its_slots_back_also_from_a_task_that_does_not_notice() -> None:
    @raynb.remote
    def sleeps() -> None:
        time.sleep(300)

    @raynb.remote
    def quick() -> int:
        return 7

    with In(91):
        refs = [sleeps.remote() for _ in range(4)]
    until(lambda: engine().scope_counts(91).get("RUNNING") == 4, "all four slots to be taken")
    engine().cancel_scope(91)
    assert raynb.get(quick.remote(), timeout=WAIT) == 7
    until(lambda: engine().scope_counts(91) == {CANCELLED: 4}, "the rows")
    assert all(isinstance(raised(lambda ref=ref: raynb.get(ref)), raynb.exceptions.TaskCancelledError) for ref in refs)


@check
def a_value_that_was_read_is_still_there_for_the_views() -> None:
    @raynb.remote
    def quick() -> int:
        return 7

    ref = quick.remote()
    assert raynb.get(ref, timeout=WAIT) == 7
    assert [row.id for row in engine().snapshot().objects if row.id == ref._id] == [ref._id]


@check
def reports_of_machines_whose_clock_is_wrong_and_that_come_too_early_are_put_right() -> None:
    task, other, node = 1 << 50 | 1, 1 << 50 | 2, raynb.nodes()[0]["NodeID"]
    wrong = time.time() - 1000.0
    ended = ("end", task, FINISHED, (wrong, wrong, wrong + 1, wrong + 1), "", "", 5)
    known = ("submit", task, ("early", "early", ()), 41, 0, 0, False, time.time())
    engine()._reports.take("far-1", [("hello", 7, node), ended], 1000.0)
    engine()._reports.take("near-1", [("hello", 7, node), known, ("start", other, time.time())], 0.001)
    row = next(row for row in engine().snapshot().tasks if row.id == task)
    assert (row.state, row.pid, row.size) == (FINISHED, 7, 5)
    assert abs(row.started - time.monotonic()) < WAIT
    workers = [one for one in engine().snapshot().workers if one.pid == 7]
    assert len({one.id for one in workers}) == 2, "two machines may have the same process ids"
    assert row.worker in {one.id for one in workers}


@check
def a_call_writes_no_rows_until_somebody_looks() -> None:
    class Counter:
        def up(self, n: int) -> int:
            return n

    counter = raynb.remote(num_cpus=0)(Counter).remote()
    with In(92):
        assert raynb.get([counter.up.remote(n) for n in range(50)], timeout=WAIT) == list(range(50))
    unread, written = engine()._rows._unread, engine()._rows._row_store._scopes.get(92)
    assert unread or written is not None
    written = engine()._rows._row_store.rows("tasks", lambda row: row.scope == 92)
    assert not engine()._rows.open.keys() & {row.id for row in written}
    assert engine().scope_counts(92) == {FINISHED: 50}
    until(lambda: all(row.pid for row in engine().snapshot().tasks if row.scope == 92), "the workers' word")
    until(lambda: any(row.rss > 1 << 20 for row in engine().snapshot().actors), "the memory of an actor's process")
    until(lambda: any(row.rss > 1 << 20 for row in engine().snapshot().workers), "the memory of a worker")


@check
def people_read_short_names_and_where_the_cluster_is() -> None:
    from raynb.jupyter.formatting import short_task

    numbers = [short_task(task_of(raynb.put(0)._id)) for _ in range(2)]
    assert int(numbers[1]) == int(numbers[0]) + 1
    assert engine().address == real_ray.get_runtime_context().gcs_address


@check
def sizes_are_the_clusters_own() -> None:
    raynb.shutdown()
    real_ray.shutdown()
    error = raised(lambda: raynb.init("127.0.0.1:1", num_cpus=2))
    assert isinstance(error, ValueError)
    assert "num_cpus" in str(error)
    assert not raynb.is_initialized()


@check
def no_cluster_is_rays_connection_error() -> None:
    assert isinstance(raised(lambda: raynb.init("127.0.0.1:1")), ConnectionError)
    assert not raynb.is_initialized()


@check
def no_cluster_to_belong_to_is_said_in_a_sentence() -> None:
    # Ray would find any cluster of this machine's, so what it says when there is none is played.
    def none(*args: object, **options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    real, real_ray.init = real_ray.init, none
    try:
        error = raised(lambda: raynb.init("auto"))
    finally:
        real_ray.init = real
    assert isinstance(error, ConnectionError)
    assert "ray start --head" in str(error)
    assert "Could not find" in str(error)
    assert not raynb.is_initialized()


@check
def what_a_refused_connection_means_is_said() -> None:
    at = "ray://127.0.0.1:1"
    for error, kind, said in (
        (ConnectionError(""), ConnectionError, f"this is Ray {real_ray.__version__}"),
        (RuntimeError("UNAUTHENTICATED: no token was given"), ConnectionError, "set RAY_AUTH_TOKEN"),
        (RuntimeError("Version mismatch: the cluster has 2.1"), RaySystemError, "other versions than this kernel"),
        (ConnectionError("Failed to connect"), ConnectionError, 'as a client, init("ray://'),
    ):
        if said.startswith("as a client"):
            error.__cause__ = RuntimeError("No node info found matching attributes: ''")
        made = connection._explained(at, error)
        assert type(made) is kind, made
        assert said in str(made), made
        assert at in str(made), made
    # A process without the token that it is to send is ended by Ray when it asks the head again.
    before, connection._refusal = connection._refusal, lambda address: str(1 // 0)
    try:
        made = connection._explained("127.0.0.1:1", RuntimeError("no authentication token was found"))
    finally:
        connection._refusal = before
    assert "set RAY_AUTH_TOKEN" in str(made), made
    about = {"abcdef0123": {"host": "far", "raynb": "0.0.1"}, "fedcba": {"host": "same", "raynb": shipping.version()},
             "0123": TimeoutError("no answer")}  # fmt: skip
    assert shipping.lacking(about) == ["node abcdef01 (far) has raynb 0.0.1"]


if __name__ == "__main__":
    main()
