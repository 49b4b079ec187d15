"""The state API: tasks, actors, objects and workers as rows."""

from __future__ import annotations

from typing import Any

from parity_programs import program
from parity_programs._tools import Gate, kind, sub, until

SETTINGS = {"num_cpus": 2, "include_dashboard": True, "namespace": "states"}


@program(init=SETTINGS, timeout=60)
def tasks_by_state(ray: Any) -> Any:
    state = sub(ray, "util.state")
    gate = Gate()

    @ray.remote(max_retries=0)
    def state_probe(fail: bool) -> bool:
        if fail:
            raise ValueError
        return gate.wait()

    held, failed = state_probe.remote(False), state_probe.remote(True)
    ray.wait([failed])

    def listed(wanted: str) -> list:
        return state.list_tasks(filters=[("name", "=", "state_probe"), ("state", "=", wanted)])

    found = [until(lambda: len(listed("RUNNING")) == 1), until(lambda: len(listed("FAILED")) == 1)]
    [row] = listed("FAILED")
    gate.open()
    ray.get(held)
    found.append(until(lambda: len(listed("FINISHED")) == 1))
    return [found, row.type, row["func_or_class_name"], row.attempt_number, len(row.task_id)]


@program(init=SETTINGS, timeout=60)
def a_task_by_its_ref(ray: Any) -> Any:
    state = sub(ray, "util.state")

    @ray.remote
    def named() -> str:
        return ray.get_runtime_context().get_task_id()

    ref = named.options(name="by ref").remote()
    name = ray.get(ref)
    until(lambda: state.get_task(name) is not None and state.get_task(name).state == "FINISHED")
    row = state.get_task(name)
    return [row.task_id == name, row.name, row.func_or_class_name, row.required_resources]


@program(init=SETTINGS, timeout=60)
def actors_by_state(ray: Any) -> Any:
    state = sub(ray, "util.state")

    @ray.remote(num_cpus=0)
    class StateActor:
        def hello(self) -> None: ...

    kept, killed = StateActor.options(name="kept").remote(), StateActor.remote()
    ray.get([kept.hello.remote(), killed.hello.remote()])
    ray.kill(killed)

    def listed(wanted: str) -> list:
        rows = state.list_actors(filters=[("state", "=", wanted)], limit=1000)
        return [row for row in rows if row.class_name.endswith("StateActor")]

    found = [until(lambda: len(listed("DEAD")) == 1), until(lambda: len(listed("ALIVE")) == 1)]
    [row] = listed("ALIVE")
    one = state.get_actor(row.actor_id)
    same = one.class_name == row.class_name
    return [found, row.name, row.pid > 0, same, one.ray_namespace, len(listed("RESTARTING"))]


@program(init=SETTINGS, timeout=60)
def filters_and_limits(ray: Any) -> Any:
    state = sub(ray, "util.state")

    @ray.remote
    def limited() -> None: ...

    ray.get([limited.remote() for _ in range(5)])
    only = [("name", "=", "limited"), ("state", "=", "FINISHED")]
    until(lambda: len(state.list_tasks(filters=only)) == 5)
    return [
        len(state.list_tasks(filters=only, limit=3)),
        len(state.list_tasks(filters=[("name", "=", "limited"), ("state", "!=", "FINISHED")])),
        kind(state.list_tasks, filters=[("name", "<", "limited")]) != "no error",
    ]


@program(init=SETTINGS, timeout=60)
def summaries(ray: Any) -> Any:
    state = sub(ray, "util.state")

    @ray.remote
    def summed() -> None: ...

    ray.get([summed.remote() for _ in range(4)])

    def counts() -> dict:
        group = state.summarize_tasks()["cluster"]["summary"].get("summed", {})
        return group.get("state_counts", {})

    done = until(lambda: counts().get("FINISHED") == 4)
    tasks, actors = state.summarize_tasks()["cluster"], state.summarize_actors()["cluster"]
    return [done, tasks["summary_by"], tasks["summary"]["summed"]["type"], actors["summary_by"]]


@program(init=SETTINGS, timeout=60)
def workers_and_nodes(ray: Any) -> Any:
    state = sub(ray, "util.state")

    @ray.remote
    def pid() -> int:
        import os

        return os.getpid()

    mine = ray.get(pid.remote())
    found = until(lambda: mine in [row.pid for row in state.list_workers(limit=1000)])
    [node] = state.list_nodes()
    return [found, node.state, node.is_head_node, node.resources_total["CPU"]]


@program(init=SETTINGS, timeout=60)
def objects_are_listed(ray: Any) -> Any:
    state = sub(ray, "util.state")
    ref = ray.put(b"x" * 1_000_000)

    def listed() -> list:
        return [row for row in state.list_objects(limit=1000) if row.object_id == ref.hex()]

    found = until(lambda: len(listed()) >= 1)
    [row] = listed()
    return [found, row.object_size >= 1_000_000, row.reference_type]
