"""Checks of raynb on a Ray cluster of three nodes, and of what happens when parts of it end.

``python cluster_bed.py`` starts a head and two more nodes as processes of this machine, runs every check in order
and writes one JSON line for each: its name, and the traceback if it failed. `test_cluster_bed.py` reads them. The
nodes cannot import raynb, as on a cluster where it was never installed: it is sent there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cluster_bed_kernels  # noqa: F401  its checks come first
import cluster_bed_network  # noqa: F401
import cluster_bed_scripts  # noqa: F401  and then these
import ray as real_ray
from cluster_bed_tools import (
    CHECKS,
    MB,
    WAIT,
    Skipped,
    bed,
    beds,
    check,
    connect,
    ended,
    failing,
    heard,
    node_on,
    raised,
    script,
    until,
)
from cluster_shared import scratch, tell

import raynb
from raynb.base.rows import DEAD, FAILED, FINISHED
from raynb.engine.cluster import hub, local_nodes, rays
from raynb.engine.cluster.local_nodes import LocalNodes


def _log_monitors() -> int:
    """Returns how many processes of the nodes send what is in Ray's log files to the driver."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found += b"log_monitor.py" in path.read_bytes() and os.getpgid(int(path.parent.name)) in bed.groups
    return found


# -- one driver, with its nodes ----------------------------------------------------------------
@check
def nodes_are_in_the_views() -> None:
    from raynb.util import state

    connect()
    until(lambda: len(raynb.runtime().engine.snapshot().nodes) == 3, "three nodes")
    rows = raynb.runtime().engine.snapshot().nodes
    assert [row.head for row in rows].count(True) == 1
    assert node_on("left").labels == {"side": "left"}
    assert node_on("left").store == 100 * MB

    @raynb.remote(num_cpus=0, resources={"left": 1})
    def where() -> str:
        return raynb.get_runtime_context().get_node_id()

    ref = where.remote()
    left = node_on("left").node_id
    assert raynb.get(ref, timeout=WAIT) == left
    engine = raynb.runtime().engine

    def placed() -> bool:
        picture = engine.snapshot()
        task = next(row for row in picture.tasks if row.name == "where")
        workers = {row.id: row for row in picture.workers}
        return task.state == FINISHED and task.worker in workers and workers[task.worker].node == node_on("left").id

    until(placed, "the row of the task")
    listed = {row.node_id: row for row in state.list_nodes()}
    assert len(listed) == 3
    assert (listed[left].is_head_node, listed[left].resources_total["left"]) == (False, 4)
    assert state.get_task(ref).node_id == left
    assert left in {row.node_id for row in state.list_workers()}
    until(lambda: node_on("left").memory_used, "the memory of the node")
    # Where all nodes log into one folder, two monitors would show every line of plain Ray's tasks twice.
    is_one_folder = not local_nodes._says(local_nodes.FOLDER_PER_NODE)
    assert _log_monitors() == (1 if is_one_folder and local_nodes._says("--include-log-monitor") else 3)


@check
def placement_groups_are_rays_own() -> None:
    from raynb.util.placement_group import get_placement_group, placement_group, placement_group_table
    from raynb.util.placement_group import remove_placement_group as remove
    from raynb.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    connect()
    group = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD", name="spread")
    assert group.wait(WAIT)

    @raynb.remote
    def where() -> tuple[str, int]:
        from raynb.util.placement_group import get_placement_group

        return raynb.get_runtime_context().get_node_id(), get_placement_group("spread").number

    inside = [PlacementGroupSchedulingStrategy(group, place) for place in range(3)]
    refs = [where.options(scheduling_strategy=one).remote() for one in inside]
    found = raynb.get(refs, timeout=WAIT)
    assert len({node for node, _ in found}) == 3
    assert {number for _, number in found} == {group.number}
    assert get_placement_group("spread") == group
    assert placement_group_table(group)["strategy"] == "STRICT_SPREAD"
    remove(group)


@check
def a_large_array_goes_from_node_to_node() -> None:
    import numpy

    connect()
    @raynb.remote(num_cpus=0, resources={"left": 1})
    def make(n: int) -> Any:
        return numpy.full(n, 7.0)

    @raynb.remote(num_cpus=0, resources={"right": 1})
    def total(array: Any) -> float:
        return float(array.sum())

    count = 40 * MB // 8
    ref = make.remote(count)
    assert raynb.get(total.remote(ref), timeout=WAIT) == 7.0 * count
    assert real_ray.get(ref, timeout=WAIT).nbytes == 40 * MB


@check
def a_gigabyte_goes_from_node_to_node() -> None:
    import numpy

    connect()
    @raynb.remote(num_cpus=0, resources={"right": 1})
    def make(n: int) -> Any:
        return numpy.arange(n, dtype=numpy.int64)

    @raynb.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})
    def look(array: Any) -> tuple[int, int, int]:
        return array.nbytes, int(array[-1]), int(array[:: 1 << 20].sum())

    count = 1 << 27
    ref = make.remote(count)
    wanted = (1 << 30, count - 1, int(numpy.arange(0, count, 1 << 20).sum()))
    assert raynb.get(look.remote(ref), timeout=2 * WAIT) == wanted


@check
def two_drivers_at_once_do_not_meet() -> None:
    connect()
    program = script("""
        @ray.remote
        def f(x):
            print("theirs", x)
            return x
        print(ray.get([f.remote(n) for n in range(20)]) == list(range(20)))
    """)

    @raynb.remote
    def f(x: int) -> int:
        print("mine", x)
        return -x

    assert raynb.get([f.remote(n) for n in range(20)], timeout=WAIT) == [-n for n in range(20)]
    out, _ = ended(program)
    assert "True" in out
    assert "mine" not in out
    assert not any("theirs" in text for text in heard)


@check
def the_hub_is_made_again_when_it_is_lost() -> None:
    connect()
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def up(self) -> int:
            self.n += 1
            return self.n

    @raynb.remote
    def say(text: str) -> str:
        print(text)
        return text

    counter = raynb.remote(num_cpus=0)(Counter).remote()
    ref = raynb.put([1])
    assert raynb.get(counter.up.remote(), timeout=WAIT) == 1
    real_ray.kill(raynb.runtime().engine._listener.hub)
    assert raynb.get(say.remote("while it is away"), timeout=WAIT)
    until(lambda: any("was lost and is made again" in text for text in heard), "the word of it")
    assert raynb.is_initialized()
    assert raynb.get(ref) == [1]
    assert raynb.get(counter.up.remote(), timeout=WAIT) == 2
    assert raynb.get(say.remote("afterwards"), timeout=WAIT)
    until(lambda: any("afterwards" in text for text in heard), "the output of a task after it")


def _move_hub(node_id: str) -> None:
    """Ends the hub, and has it made again on another node than the driver's.

    Where Ray puts it is only asked for: while that node is not ready for an actor, it takes another one.
    """
    engine, before = raynb.runtime().engine, rays.context
    there = SimpleNamespace(get_node_id=lambda: node_id)
    hub.rays = SimpleNamespace(**{**vars(rays), "context": lambda: there})  # type: ignore[assignment]

    def moved() -> bool:
        lost = engine._listener.hub
        real_ray.kill(lost)
        until(lambda: engine._listener.hub is not lost, "another hub")
        until(lambda: engine._listener._life, "its first answer")  # else nothing is lost with it
        row = real_ray._private.state.actors(engine._listener.hub._actor_id.hex())
        return bool(row["Address"]["NodeID"] == node_id)

    try:
        until(moved, "a hub on that node")
    finally:
        hub.rays = rays
    assert rays.context is before
    heard.clear()


@check
def a_node_that_dies_takes_what_is_on_it_and_nothing_else() -> None:
    connect()
    _move_hub(node_on("right").node_id)

    class Slow:
        def say(self, n: int) -> int:
            time.sleep(0.02)
            print("slow", n)
            return n

    slow = raynb.remote(num_cpus=0, resources={"left": 1})(Slow).remote()
    queued = [slow.say.remote(n) for n in range(300)]  # some run, most wait, while the hub dies with its node

    @raynb.remote(num_cpus=0, resources={"right": 1}, max_retries=0)
    def wait_there(path: str) -> None:
        open(path, "w").close()
        time.sleep(600)

    @raynb.remote(num_cpus=1, max_retries=3)
    def anywhere(n: int) -> int:
        return n

    class There:
        def ping(self) -> int:
            return 1

    there = raynb.remote(num_cpus=0, resources={"right": 1})(There).remote()
    assert raynb.get(there.ping.remote(), timeout=WAIT) == 1
    began = os.path.join(tempfile.mkdtemp(), "began")
    ref = wait_there.remote(began)
    until(lambda: os.path.exists(began), "the task to run")
    bed.kill_node(2)
    error = raised(lambda: raynb.get(ref, timeout=WAIT))
    assert isinstance(error, (raynb.exceptions.WorkerCrashedError, raynb.exceptions.NodeDiedError))
    assert len(str(error)) < 600, str(error)
    error = until(lambda: failing(there), "the actor to be lost")  # its process may answer for a moment
    assert len(str(error)) < 600, str(error)
    assert "There" in str(error), str(error)
    assert raynb.get([anywhere.remote(n) for n in range(8)], timeout=WAIT) == list(range(8))
    assert raynb.get(queued, timeout=WAIT) == list(range(300))
    until(lambda: any("was lost and is made again" in text for text in heard), "the word of the hub")
    engine = raynb.runtime().engine
    until(lambda: engine._listener._life, "the next hub")  # what the other one had taken may be lost
    assert raynb.get(slow.say.remote(300), timeout=WAIT) == 300
    until(lambda: any("slow 300" in text for text in heard), "the output of a call after it")
    until(lambda: [row.alive for row in engine.snapshot().nodes].count(False) == 1, "the node's row")
    until(lambda: [row.state for row in engine.snapshot().actors if row.class_name == "There"] == [DEAD], "the actor's")
    until(lambda: [row.state for row in engine.snapshot().tasks if row.name == "wait_there"] == [FAILED], "the task's")
    until(lambda: any(row.exit for row in engine.snapshot().workers), "the end of its workers")


@check
def arrays_of_a_node_that_dies_while_they_are_fetched_are_made_again() -> None:
    import numpy

    from raynb.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    connect()
    bed.add_node({"num_cpus": 2, "resources": {"third": 4}, "object_store_memory": 200 * MB})
    third = until(lambda: [row for row in raynb.nodes() if row["Alive"] and "third" in row["Resources"]], "the node")

    @raynb.remote(max_retries=3)
    def make(n: int) -> Any:
        return numpy.full(16 * MB // 8, float(n))

    there = NodeAffinitySchedulingStrategy(third[0]["NodeID"], soft=True)  # so that another node may make it again
    refs = [make.options(scheduling_strategy=there).remote(n) for n in range(6)]
    assert len(raynb.wait(refs, num_returns=6, timeout=WAIT, fetch_local=False)[0]) == 6
    killer = threading.Timer(0.02, bed.kill_node, [3])
    killer.start()
    arrays = raynb.get(refs, timeout=2 * WAIT)
    killer.join()
    assert [(float(one[0]), float(one[-1]), one.nbytes) for one in arrays] == [(n, n, 16 * MB) for n in range(6)]


@check
def a_throw_away_cluster_ends_with_its_process_however_it_ends() -> None:
    raynb.shutdown()
    text = """
import os, raynb as ray
ray.init(cluster="local", nodes=2, num_cpus=1)
assert ray.get([ray.remote(lambda: 1).remote() for _ in range(4)]) == [1] * 4
assert len(ray.nodes()) == 2
print(*ray.runtime().engine._nodes.groups, flush=True)
os.kill(os.getpid(), 9)
"""
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=WAIT).stdout
    groups = [int(word) for word in out.splitlines()[-1].split()]
    assert len(groups) == 2

    def gone(group: int) -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    until(lambda: all(map(gone, groups)), "the nodes to end")


@check
def a_driver_ends_when_the_head_does() -> None:
    raynb.shutdown()
    program = script("""
        print("ready", flush=True)
        time.sleep(2)
        while ray.is_initialized():
            try:
                ray.get(ray.remote(lambda: 1).remote(), timeout=5)
            except ray.exceptions.GetTimeoutError:
                pass
        print("over")
    """)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    bed.kill_node(0)
    program.communicate(timeout=WAIT)  # Ray itself ends a driver whose head is gone


def main() -> None:
    wanted = {name: run for name, run in CHECKS.items() if not sys.argv[1:] or name in sys.argv[1:]}
    before = os.getcwd()
    with scratch():
        os.chdir(tempfile.mkdtemp())
        try:
            _run(wanted)
        finally:
            os.chdir(before)


def _run(wanted: dict[str, Callable[[], None]]) -> None:
    paths = os.environ.pop("PYTHONPATH", "")  # the nodes have no raynb: not by the folder of a driver, either
    made = LocalNodes(
        [{"num_cpus": 2, "object_store_memory": 1300 * MB},
         {"num_cpus": 2, "resources": {"left": 4}, "labels": {"side": "left"}, "object_store_memory": 100 * MB},
         {"num_cpus": 2, "resources": {"right": 4}, "labels": {"side": "right"}, "object_store_memory": 1300 * MB}],
        {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"},
    )  # fmt: skip
    beds.append(made)
    os.environ |= {"PYTHONPATH": paths, "RAY_AUTH_MODE": "disabled", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    try:
        for name, run in wanted.items():
            row = {"name": name, "error": "", "seconds": 0.0}
            began = time.monotonic()
            try:
                run()
            except Skipped as reason:
                row["skipped"] = str(reason)
            except BaseException:
                row["error"] = traceback.format_exc()
            row["seconds"] = round(time.monotonic() - began, 1)
            tell(row)
        raynb.shutdown()
    finally:
        made.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
