"""The state API and placement groups on the running engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb import util
from raynb.util import state
from raynb.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.raynb(num_cpus=2, resources={"widget": 2})


@raynb.remote
def shown(fail: bool = False) -> None:
    print("a line")
    if fail:
        raise ValueError("on purpose")


@raynb.remote(num_cpus=0)
class Shown:
    def ping(self) -> str:
        return "pong"


def failed_once() -> None:
    with pytest.raises(ValueError, match="on purpose"):
        raynb.get(shown.options(max_retries=0).remote(True))


def test_tasks_can_be_filtered_and_counted(raynb_runtime: Any) -> None:
    raynb.get([shown.remote() for _ in range(4)])
    failed_once()
    assert len(state.list_tasks(filters=[("state", "=", "finished")])) == 4
    assert len(state.list_tasks(filters=[("state", "=", "FINISHED")], limit=3)) == 3
    [row] = state.list_tasks(filters=[("state", "!=", "FINISHED")], detail=True)
    assert (row.state, row["type"], row.get("none", 5)) == ("FAILED", "NORMAL_TASK", 5)
    assert "on purpose" in row.error_message
    assert row.end_time_ms >= row.start_time_ms >= row.creation_time_ms > 1_600_000_000_000
    assert dict(row) == row.asdict()
    assert state.get_task(row.task_id) == row
    assert state.get_task("0" * 48) is None


def test_a_tasks_ref_finds_it(raynb_runtime: Any) -> None:
    ref = shown.remote()
    raynb.get(ref)
    found = state.get_task(ref)
    assert found is not None
    assert found.name == "shown"


def test_a_generator_finds_its_task(raynb_runtime: Any) -> None:
    @raynb.remote
    def counts() -> Iterator[int]:
        yield 1

    generator = counts.remote()
    [ref] = generator
    found = state.get_task(generator)
    assert found is not None
    assert (found.name, found.task_id) == ("counts", ref.task_id().hex())


def test_details_are_empty_unless_asked_for(raynb_runtime: Any) -> None:
    raynb.get(shown.remote())
    assert state.list_tasks()[0].required_resources is None
    assert state.list_tasks(detail=True)[0].required_resources == {"CPU": 1.0}


def test_bad_questions_say_what_is_wrong(raynb_runtime: Any) -> None:
    with pytest.raises(ValueError, match="colour"):
        state.list_tasks(filters=[("colour", "=", "red")])
    with pytest.raises(ValueError, match="<"):
        state.list_tasks(filters=[("state", "<", "FAILED")])
    with pytest.raises(ValueError, match="limit"):
        state.list_actors(limit=0)
    with pytest.raises(ValueError, match="task_id="):
        list(state.get_log())
    with pytest.raises(ValueError, match="suffix"):
        list(state.get_log(pid=1, suffix="log"))


def test_actors_workers_nodes_and_objects(raynb_runtime: Any) -> None:
    actor = Shown.options(name="seen", namespace="here").remote()
    raynb.get(actor.ping.remote())
    [row] = state.list_actors(filters=[("state", "=", "ALIVE")], detail=True)
    assert (row.name, row.ray_namespace, row.num_restarts, row.is_detached) == ("seen", "here", 0, False)
    assert state.get_actor(row.actor_id).pid == row.pid
    assert row.pid in [worker.pid for worker in state.list_workers() if worker.is_alive]
    [node] = state.list_nodes()
    assert node.node_id == raynb.get_runtime_context().get_node_id()
    assert node.resources_total["widget"] == 2
    assert state.get_node(node.node_id) == node
    [job] = state.list_jobs()
    assert state.get_job(raynb.get_runtime_context().get_job_id()) == job
    ref = raynb.put(b"x" * 200_000)
    [one] = state.get_objects(ref.hex())
    assert one.object_size >= 200_000
    assert one.reference_type == "LOCAL_REFERENCE"


def test_summaries_add_up(raynb_runtime: Any) -> None:
    raynb.get([shown.remote() for _ in range(3)])
    failed_once()
    actor = Shown.remote()
    raynb.get([actor.ping.remote(), actor.ping.remote()])
    ref = raynb.put(b"x" * 2**20)
    tasks = state.summarize_tasks()["cluster"]
    assert (tasks["total_tasks"], tasks["total_actor_tasks"], tasks["total_actor_scheduled"]) == (4, 2, 1)
    assert tasks["summary"]["shown"]["state_counts"] == {"FINISHED": 3, "FAILED": 1}
    assert state.summarize_actors()["cluster"]["total_actors"] == 1
    objects = state.summarize_objects()["cluster"]
    assert objects["total_size_mb"] >= 1
    assert objects["summary"]["put"]["total_objects"] == 1
    del ref


def test_what_a_task_printed(raynb_runtime: Any) -> None:
    ref = shown.remote()
    raynb.get(ref)
    task = state.get_task(ref)
    assert task is not None
    assert list(state.get_log(task_id=task.task_id)) == ["a line"]
    assert list(state.get_log(task_id=task.task_id, suffix="err")) == []
    assert list(state.get_log(task_id=task.task_id, tail=0)) == []


def test_a_timeline_in_a_file(raynb_runtime: Any, tmp_path: Path) -> None:
    raynb.get(shown.remote())
    util.timeline(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())
    assert any("shown" in event["name"] for event in events)


def test_a_placement_group_from_birth_to_removal(raynb_runtime: Any) -> None:
    group = util.placement_group([{"CPU": 1, "widget": 1}], name="mine")
    assert group.wait(60)
    assert raynb.get(group.ready()) == group
    assert util.get_placement_group("mine") == group
    assert raynb.available_resources()["widget"] == 1
    strategy = PlacementGroupSchedulingStrategy(group)

    @raynb.remote(resources={"widget": 1})
    def inside() -> Any:
        return util.get_current_placement_group()

    assert raynb.get(inside.options(scheduling_strategy=strategy).remote()) == group
    assert util.get_current_placement_group() is None
    [row] = state.list_placement_groups(detail=True)
    assert (row.name, row.state, row.placement_group_id) == ("mine", "CREATED", group.id.hex())
    assert row.bundles == [{"bundle_index": 0, "unit_resources": {"CPU": 1.0, "widget": 1.0}}]
    util.remove_placement_group(group)
    assert util.placement_group_table(group)["state"] == "REMOVED"
    assert raynb.available_resources()["widget"] == 2
    with pytest.raises(ValueError, match="mine"):
        util.get_placement_group("mine")


def test_groups_of_bad_bundles(raynb_runtime: Any) -> None:
    with pytest.raises(ValueError, match="STRICT_SPREAD"):
        util.placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    with pytest.raises(ValueError, match="-1"):
        util.placement_group([{"CPU": -1}])
    with pytest.raises(ValueError, match="non-empty"):
        util.get_placement_group("")
    assert util.placement_group_table() == {}
