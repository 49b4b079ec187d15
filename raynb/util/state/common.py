"""The rows of the state API. Names of fields are Ray's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

#: Marks the columns that are shown with ``detail=True`` only, as in Ray.
_DETAIL = {"detail": True}


@dataclass
class StateRow:
    """A row that can be read as an object or as a mapping."""

    @classmethod
    def columns(cls) -> list[str]:
        """Returns the names of the columns."""
        return [one.name for one in dataclasses.fields(cls)]

    def hide_details(self) -> None:
        """Empties the columns that are shown with ``detail=True`` only."""
        for one in dataclasses.fields(self):
            if one.metadata.get("detail"):
                setattr(self, one.name, None)

    def asdict(self) -> dict[str, Any]:
        """Returns the row as a dict."""
        return dataclasses.asdict(self)

    def __getitem__(self, column: str) -> Any:
        if column not in self.columns():
            raise KeyError(column)
        return getattr(self, column)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the column ``key``, ``default`` if there is none of that name."""
        return getattr(self, key, default) if key in self.columns() else default

    def keys(self) -> list[str]:
        """Returns the names of the columns, so that ``dict(row)`` works."""
        return self.columns()


@dataclass
class TaskState(StateRow):
    """A task. The attributes from ``language`` on are None unless ``detail=True`` was given.

    Attributes:
        task_id: hex digits.
        attempt_number: 0 for the first run, 1 for the first retry, and so on.
        name: what views call it.
        state: as Ray spells it, such as ``RUNNING``; a cancelled task is ``FAILED``.
        job_id: the one job's.
        actor_id: of the actor that a method ran on.
        type: ``NORMAL_TASK``, ``ACTOR_TASK`` or ``ACTOR_CREATION_TASK``.
        func_or_class_name: the function's name.
        parent_task_id: of the task that submitted it.
        node_id: of the node where it ran.
        worker_id: of the worker that ran it.
        worker_pid: that worker's process.
        error_type: class of the error that it ended with.
        language: ``PYTHON``.
        required_resources: resource → amount.
        runtime_env_info: empty: raynb does not record it.
        placement_group_id: None: raynb does not record it.
        events: states that it went through, with times in milliseconds.
        creation_time_ms: when it was submitted: a Unix timestamp in milliseconds.
        start_time_ms: when it started, in milliseconds.
        end_time_ms: when it ended, in milliseconds.
        error_message: text of the error that it ended with.
    """

    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str | None = field(default="PYTHON", metadata=_DETAIL)
    required_resources: dict[str, float] | None = field(default=None, metadata=_DETAIL)
    runtime_env_info: dict[str, Any] | None = field(default=None, metadata=_DETAIL)
    placement_group_id: str | None = field(default=None, metadata=_DETAIL)
    events: list[dict[str, Any]] | None = field(default=None, metadata=_DETAIL)
    creation_time_ms: int | None = field(default=None, metadata=_DETAIL)
    start_time_ms: int | None = field(default=None, metadata=_DETAIL)
    end_time_ms: int | None = field(default=None, metadata=_DETAIL)
    error_message: str | None = field(default=None, metadata=_DETAIL)


@dataclass
class ActorState(StateRow):
    """An actor. The attributes from ``death_cause`` on are None unless ``detail=True`` was given.

    Attributes:
        actor_id: hex digits.
        class_name: the class's name.
        state: as Ray spells it, such as ``ALIVE``.
        job_id: the one job's.
        name: for `get_actor`.
        node_id: of the node where it lives.
        pid: its process.
        ray_namespace: of its name.
        death_cause: ``error_message`` → why it died.
        is_detached: whether it outlives its handles.
        num_restarts: how often it was started again.
        pending_calls: calls that wait.
    """

    actor_id: str
    class_name: str
    state: str
    job_id: str
    name: str | None
    node_id: str | None
    pid: int | None
    ray_namespace: str | None
    death_cause: dict[str, Any] | None = field(default=None, metadata=_DETAIL)
    is_detached: bool | None = field(default=None, metadata=_DETAIL)
    num_restarts: int | None = field(default=None, metadata=_DETAIL)
    pending_calls: int | None = field(default=None, metadata=_DETAIL)


@dataclass
class ObjectState(StateRow):
    """An object.

    Attributes:
        object_id: hex digits.
        object_size: bytes.
        task_status: state of the task that makes it.
        reference_type: what holds it, as Ray spells it.
        call_site: ``disabled``: where a ref was made is not recorded.
        type: whose the refs are: ``DRIVER`` or ``WORKER``.
        pid: the process that asks.
        ip: its address.
        where: in memory, on disk, or in a message: raynb's own word.
    """

    object_id: str
    object_size: int
    task_status: str
    reference_type: str
    call_site: str
    type: str
    pid: int
    ip: str
    where: str


@dataclass
class WorkerState(StateRow):
    """A worker process. The last two attributes are None unless ``detail=True`` was given.

    Attributes:
        worker_id: hex digits.
        is_alive: whether it runs.
        worker_type: ``WORKER``.
        exit_type: ``SYSTEM_ERROR`` if it has ended.
        node_id: of the node where it runs.
        ip: that node's address.
        pid: its process.
        exit_detail: why it ended.
        start_time_ms: a Unix timestamp in milliseconds.
    """

    worker_id: str
    is_alive: bool
    worker_type: str
    exit_type: str | None
    node_id: str
    ip: str
    pid: int
    exit_detail: str | None = field(default=None, metadata=_DETAIL)
    start_time_ms: int | None = field(default=None, metadata=_DETAIL)


@dataclass
class NodeState(StateRow):
    """The machine, or a node of a cluster.

    Attributes:
        node_id: hex digits.
        node_ip: its address.
        is_head_node: whether it is the cluster's head.
        state: ``ALIVE`` or ``DEAD``.
        node_name: its host name.
        resources_total: resource → amount; memory in bytes.
        labels: label → value.
    """

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]


@dataclass
class PlacementGroupState(StateRow):
    """A placement group. The last two attributes are None unless ``detail=True`` was given.

    Attributes:
        placement_group_id: hex digits.
        name: for `get_placement_group`.
        creator_job_id: the one job's.
        state: as Ray spells it, such as ``CREATED``.
        bundles: what each bundle sets aside.
        is_detached: whether it outlives its job.
    """

    placement_group_id: str
    name: str
    creator_job_id: str
    state: str
    bundles: list[dict[str, Any]] | None = field(default=None, metadata=_DETAIL)
    is_detached: bool | None = field(default=None, metadata=_DETAIL)


@dataclass
class JobState(StateRow):
    """The driver: there is one job a runtime.

    Attributes:
        job_id: hex digits.
        status: ``RUNNING``.
        type: ``DRIVER``.
        entrypoint: the command line of the driver.
        driver_pid: its process.
    """

    job_id: str
    status: str
    type: str
    entrypoint: str
    driver_pid: int


@dataclass
class RuntimeEnvState(StateRow):
    """A runtime environment.

    Attributes:
        runtime_env: its fields.
        success: whether it could be made.
    """

    runtime_env: dict[str, Any]
    success: bool
