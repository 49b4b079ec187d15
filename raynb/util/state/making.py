"""Makes the rows of the state API out of a snapshot of the engine."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raynb import api as ray
from raynb.util._engine import engine, spell
from raynb.util.state.common import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    TaskState,
    WorkerState,
)

_TASK_ENDED = ("FINISHED", "FAILED", "CANCELLED")


@dataclass
class Source:
    """One snapshot and what is needed to spell its ids."""

    snapshot: Any
    job_id: str
    node_id: str
    ip: str

    @classmethod
    def now(cls) -> Source:
        """Returns a new picture of the running runtime."""
        context = ray.get_runtime_context()
        return cls(engine().snapshot(settled=True), context.get_job_id(), context.get_node_id(), "127.0.0.1")

    @functools.cached_property
    def _places(self) -> dict[int, tuple[str | None, str]]:
        nodes = {row.id: (row.node_id, row.address) for row in self.snapshot.nodes}
        return {row.id: nodes.get(row.node, (None, "")) for row in self.snapshot.workers}

    def place(self, worker: int) -> tuple[str | None, str]:
        """Returns (node id, address) of where a worker is; (None, "") if it is not known."""
        if not self.snapshot.nodes:  # one machine
            return self.node_id, self.ip
        return self._places.get(worker, (None, ""))

    def ms(self, moment: float) -> int | None:
        """Returns a time of the snapshot's clock as a Unix timestamp in milliseconds."""
        return int((self.snapshot.wall + moment) * 1000) if moment else None

    def spell(self, number: int, kind: str) -> str:
        """Returns an id as hex digits: kind is "task", "object", "actor" or "worker"."""
        return spell(number, kind)


def tasks(source: Source) -> Iterator[TaskState]:
    """Yields the tasks of a snapshot."""
    for row in source.snapshot.tasks:
        failed = row.state in ("FAILED", "CANCELLED")
        yield TaskState(
            task_id=source.spell(row.id, "task"),
            attempt_number=row.attempt,
            name=row.name,
            # Ray files cancelled tasks under the failed ones.
            state="FAILED" if failed else row.state,
            job_id=source.job_id,
            actor_id=source.spell(row.actor, "actor") if row.actor else None,
            type=row.kind,
            func_or_class_name=row.function_name or row.name,
            parent_task_id=source.spell(row.parent, "task"),
            node_id=source.place(row.worker)[0] if row.started else None,
            worker_id=source.spell(row.worker, "worker") if row.worker else None,
            worker_pid=row.pid or None,
            error_type=row.error_type or None,
            required_resources=dict(row.resources),
            runtime_env_info={},
            events=_events(source, row),
            creation_time_ms=source.ms(row.submitted),
            start_time_ms=source.ms(row.started),
            end_time_ms=source.ms(row.ended),
            error_message=row.error or None,
        )


def _events(source: Source, row: Any) -> list[dict[str, Any]]:
    moments = [
        ("PENDING_NODE_ASSIGNMENT", row.submitted),
        ("RUNNING", row.started),
        (row.state, row.ended if row.state in _TASK_ENDED else 0.0),
    ]
    return [{"state": state, "created_ms": source.ms(moment)} for state, moment in moments if moment]


def actors(source: Source) -> Iterator[ActorState]:
    """Yields the actors of a snapshot."""
    for row in source.snapshot.actors:
        yield ActorState(
            actor_id=source.spell(row.id, "actor"),
            class_name=row.class_name,
            state=row.state,
            job_id=source.job_id,
            name=row.name,
            node_id=source.place(row.worker)[0] if row.worker else None,
            pid=row.pid,
            ray_namespace=row.namespace,
            death_cause={"error_message": row.death_cause} if row.death_cause else None,
            is_detached=row.detached,
            num_restarts=row.restarts,
            pending_calls=row.pending,
        )


def objects(source: Source) -> Iterator[ObjectState]:
    """Yields the objects of a snapshot."""
    status = {row.id: row.state for row in source.snapshot.tasks}
    for row in source.snapshot.objects:
        yield ObjectState(
            object_id=row.hex or source.spell(row.id, "object"),
            object_size=row.size,
            task_status=status.get(row.task, "FINISHED"),
            reference_type=_held(row),
            call_site="disabled",
            type="DRIVER" if row.local_refs else "WORKER",
            pid=os.getpid(),
            ip=source.ip,
            where=row.where,
        )


def _held(row: Any) -> str:
    if row.local_refs or row.views:
        return "LOCAL_REFERENCE"
    if row.pending_args:
        return "USED_BY_PENDING_TASK"
    if row.containers:
        return "CAPTURED_IN_OBJECT"
    return "LOCAL_REFERENCE" if row.borrowers else "PINNED_IN_MEMORY"


def workers(source: Source) -> Iterator[WorkerState]:
    """Yields the worker processes of a snapshot."""
    for row in source.snapshot.workers:
        node_id, ip = source.place(row.id)
        yield WorkerState(
            worker_id=source.spell(row.id, "worker"),
            is_alive=not row.exit,
            worker_type="WORKER",
            exit_type="SYSTEM_ERROR" if row.exit else None,
            node_id=node_id or "",
            ip=ip,
            pid=row.pid,
            exit_detail=row.exit or None,
            start_time_ms=source.ms(row.started),
        )


def nodes(source: Source) -> Iterator[NodeState]:
    """Yields the machine, or the nodes of a cluster."""
    for row in source.snapshot.nodes:
        has = {"CPU": row.cpus, "GPU": row.gpus, "memory": row.memory, "object_store_memory": row.store}
        yield NodeState(
            node_id=row.node_id,
            node_ip=row.address,
            is_head_node=row.head,
            state="ALIVE" if row.alive else "DEAD",
            node_name=row.host,
            resources_total={name: float(amount) for name, amount in has.items() if amount} | row.resources,
            labels=dict(row.labels),
        )
    if source.snapshot.nodes:
        return
    yield NodeState(
        node_id=source.node_id,
        node_ip=source.ip,
        is_head_node=True,
        state="ALIVE",
        node_name=socket.gethostname(),
        resources_total=dict(source.snapshot.total),
        labels={},
    )


def jobs(source: Source) -> Iterator[JobState]:
    """Yields the one job."""
    yield JobState(source.job_id, "RUNNING", "DRIVER", " ".join(sys.argv), os.getpid())


def placement_groups(source: Source) -> Iterator[PlacementGroupState]:
    """Yields the placement groups."""
    from raynb.util.placement_group import placement_group_table

    for row in placement_group_table().values():
        yield PlacementGroupState(
            placement_group_id=row["placement_group_id"],
            name=row["name"],
            creator_job_id=source.job_id,
            state=row["state"],
            bundles=[{"bundle_index": at, "unit_resources": one} for at, one in row["bundles"].items()],
            is_detached=False,
        )


def runtime_envs(source: Source) -> Iterator[RuntimeEnvState]:
    """Yields the job's runtime environment, if it has one."""
    env = ray.get_runtime_context().runtime_env
    if env:
        yield RuntimeEnvState(dict(env), True)


def log_lines(task_id: str | None, actor_id: str | None, pid: int | None, kind: str) -> list[str]:
    """Returns the printed lines of a task, an actor or a process."""
    source = Source.now()
    wanted = {source.spell(row.id, "task"): row.id for row in source.snapshot.tasks} if task_id else {}
    if task_id is not None and task_id not in wanted:
        raise ValueError(f"There is no task {task_id}; list_tasks() shows those that are known.")
    driver = engine().driver
    if driver is None:
        raise ValueError("what tasks print is kept in the driver: ask for it there")
    text = []
    for piece in driver.logs(task=wanted.get(task_id) if task_id else None):
        if piece.kind != kind or (pid is not None and piece.pid != pid):
            continue
        if actor_id is None or (piece.actor and source.spell(piece.actor, "actor") == actor_id):
            text.append(piece.text)
    return "".join(text).splitlines()
