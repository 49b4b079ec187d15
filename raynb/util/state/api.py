"""The state API (``ray.util.state``): lists and summaries of tasks, actors, objects and workers.

The rows have Ray's field names; they can be read as attributes, as a mapping, or turned into a
dict with `StateRow.asdict`. Everything comes from one snapshot of the running engine, so the
answers of one call fit together. There is one job; there is one node, but for a Ray cluster's.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter as Tallies
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from raynb import api as ray
from raynb.util.state import making as rows
from raynb.util.state.common import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    StateRow,
    TaskState,
    WorkerState,
)

Filter = tuple[str, str, Any]
Row = TypeVar("Row", bound=StateRow)

#: How many rows a list has at most unless it is told otherwise, as in Ray.
DEFAULT_LIMIT = 100


def _matches(row: StateRow, filters: Iterable[Filter]) -> bool:
    for key, predicate, wanted in filters:
        found = row[key]
        if isinstance(found, str) and isinstance(wanted, str):
            same = found.lower() == wanted.lower()
        else:
            same = found == wanted or str(found) == str(wanted)
        if same != (predicate == "="):
            return False
    return True


def _choose(
    make: Callable[[rows.Source], Iterator[Row]],
    kind: type[Row],
    filters: list[Filter] | None,
    limit: int,
    detail: bool,
) -> list[Row]:
    """Returns the rows that match.

    Raises:
        ValueError: a filter names an unknown column or predicate, or the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")
    for one in filters or ():
        if len(one) != 3 or one[1] not in ("=", "!="):
            raise ValueError(f'A filter is (column, "=" or "!=", value), not {one!r}')
        if one[0] not in kind.columns():
            raise ValueError(f"{kind.__name__} has no column {one[0]!r}; it has {', '.join(kind.columns())}")
    found: list[Row] = []
    for row in make(rows.Source.now()):
        if _matches(row, filters or ()):
            if not detail:
                row.hide_details()
            found.append(row)
            if len(found) == limit:
                break
    return found


class Lister(Protocol[Row]):
    """Ray's signature of the ``list_...`` functions.

    Args:
        address: accepted for compatibility: there is one runtime.
        filters: ``(column, "=" or "!=", value)``; all must hold.
        limit: how many rows at most.
        timeout: accepted for compatibility: the answer is at hand.
        detail: fill in the columns that take more room.
        raise_on_missing_output: accepted for compatibility: nothing is missing.

    Raises:
        ValueError: a filter or the limit makes no sense.
    """

    def __call__(
        self,
        address: str | None = None,
        filters: list[Filter] | None = None,
        limit: int = DEFAULT_LIMIT,
        timeout: int = 30,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Row]: ...


def _lister(name: str, make: Callable[[rows.Source], Iterator[Row]], kind: type[Row], what: str) -> Lister[Row]:
    """Returns the function ``name``, which lists the rows of one kind."""

    def lister(
        address: str | None = None,
        filters: list[Filter] | None = None,
        limit: int = DEFAULT_LIMIT,
        timeout: int = 30,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Row]:
        return _choose(make, kind, filters, limit, detail)

    lister.__name__ = lister.__qualname__ = name
    rest = inspect.cleandoc(Lister.__doc__ or "").partition("\n\n")[2]
    example = f"Example:\n    >>> rows = ray.util.state.{name}(limit=10)\n    >>> len(rows) <= 10\n    True"
    lister.__doc__ = f"Returns {what}.\n\n{rest}\n\n{example}"
    return lister


list_tasks = _lister("list_tasks", rows.tasks, TaskState, "tasks, the newest last")
list_actors = _lister("list_actors", rows.actors, ActorState, "actors")
list_objects = _lister("list_objects", rows.objects, ObjectState, "objects, one row an object")
list_workers = _lister("list_workers", rows.workers, WorkerState, "worker processes")
list_nodes = _lister("list_nodes", rows.nodes, NodeState, "the node, or those of a cluster")
list_jobs = _lister("list_jobs", rows.jobs, JobState, "the one job")
list_placement_groups = _lister(
    "list_placement_groups", rows.placement_groups, PlacementGroupState, "placement groups"
)
list_runtime_envs = _lister(
    "list_runtime_envs", rows.runtime_envs, RuntimeEnvState, "the runtime environment of the job, if it has one"
)


def _one(found: list[Row]) -> Row | None:
    return found[0] if found else None


def get_task(id: Any, address: str | None = None, timeout: int = 30, _explain: bool = False) -> TaskState | None:
    """Returns a task by its id (hex) or one of its refs; None if it isn't known.

    Args:
        id: hex digits, or a ref that the task returns.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ref = ray.remote(lambda: 1).remote()
        >>> ray.get(ref), ray.util.state.get_task(ref).type
        (1, 'NORMAL_TASK')
    """
    ref = getattr(id, "_ref", id)  # a generator has one
    # raynb's own name of the task, which is in the rows: on a cluster a ref's `task_id` is Ray's.
    name = ray.ObjectRef.task_id(ref) if isinstance(ref, ray.ObjectRef) else id
    wanted = name if isinstance(name, str) else name.hex()
    return _one(list_tasks(filters=[("task_id", "=", wanted)], detail=True))


def get_actor(id: str, address: str | None = None, timeout: int = 30, _explain: bool = False) -> ActorState | None:
    """Returns an actor by its id (hex); None if it isn't known.

    Args:
        id: hex digits.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ray.util.state.get_actor("00" * 16) is None
        True
    """
    return _one(list_actors(filters=[("actor_id", "=", id)], detail=True))


def get_worker(id: str, address: str | None = None, timeout: int = 30, _explain: bool = False) -> WorkerState | None:
    """Returns a worker by its id (hex); None if it isn't known.

    Args:
        id: hex digits.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ray.util.state.get_worker("00" * 28) is None
        True
    """
    return _one(list_workers(filters=[("worker_id", "=", id)], detail=True))


def get_node(id: str, address: str | None = None, timeout: int = 30, _explain: bool = False) -> NodeState | None:
    """Returns the node if this is its id (hex); otherwise None.

    Args:
        id: hex digits.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ray.util.state.get_node(ray.get_runtime_context().get_node_id()).state
        'ALIVE'
    """
    return _one(list_nodes(filters=[("node_id", "=", id)], detail=True))


def get_job(id: str, address: str | None = None, timeout: int = 30, _explain: bool = False) -> JobState | None:
    """Returns the job if this is its id (hex); otherwise None.

    Args:
        id: hex digits.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ray.util.state.get_job(ray.get_runtime_context().get_job_id()).type
        'DRIVER'
    """
    return _one(list_jobs(filters=[("job_id", "=", id)], detail=True))


def get_placement_group(
    id: str,
    address: str | None = None,
    timeout: int = 30,
    _explain: bool = False,
) -> PlacementGroupState | None:
    """Returns a placement group by its id (hex); None if it isn't known.

    Args:
        id: hex digits.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ray.util.state.get_placement_group("00" * 18) is None
        True
    """
    return _one(list_placement_groups(filters=[("placement_group_id", "=", id)], detail=True))


def get_objects(id: Any, address: str | None = None, timeout: int = 30, _explain: bool = False) -> list[ObjectState]:
    """Returns what is known of an object by its id (hex) or its ref.

    Args:
        id: hex digits, or the ref.
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.

    Example:
        >>> ref = ray.put([1, 2])
        >>> [row.object_id == ref.hex() for row in ray.util.state.get_objects(ref)]
        [True]
    """
    name = id.hex() if isinstance(id, ray.ObjectRef) else id
    return list_objects(filters=[("object_id", "=", name)], detail=True)


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = 30,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[str]:
    """Yields the lines that a task, an actor or a worker process has printed.

    Args:
        actor_id: of this actor (hex).
        task_id: of this task (hex).
        pid: of this process.
        tail: only the last lines; -1: all.
        suffix: "out" or "err".
        filter_ansi_code: without terminal escapes.
        address, node_id, node_ip, timeout, encoding, errors, attempt_number, _interval: accepted for Ray's sake.

    Raises:
        ValueError: none of the three was given, or the suffix is another.
        NotImplementedError: ``filename``, ``submission_id`` or ``follow``: there are no log files.

    Example:
        >>> ref = ray.remote(lambda: print("said on a worker")).remote()
        >>> ray.get(ref)
        >>> for line in ray.util.state.get_log(task_id=ref.task_id().hex()):
        ...     assert line == "said on a worker"
    """
    if filename is not None or submission_id is not None or follow:
        raise NotImplementedError("raynb keeps no log files; ask by task_id=, actor_id= or pid=, without follow=")
    if suffix not in ("out", "err"):
        raise ValueError(f'suffix must be "out" or "err", not {suffix!r}')
    if task_id is None and actor_id is None and pid is None:
        raise ValueError("get_log() needs task_id=, actor_id= or pid=")
    lines = rows.log_lines(task_id, actor_id, pid, "stdout" if suffix == "out" else "stderr")
    chosen = lines[max(0, len(lines) - tail) :] if tail >= 0 else lines
    yield from (_ESCAPES.sub("", line) for line in chosen) if filter_ansi_code else chosen


def _summary(groups: dict[str, Any], by: str, **totals: Any) -> dict[str, Any]:
    return {"cluster": {"summary": groups, "summary_by": by, **totals}}


def summarize_tasks(
    address: str | None = None, timeout: int = 30, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """Returns how many tasks of each function are in each state, in Ray's shape.

    Args:
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.
        raise_on_missing_output: accepted for Ray's sake: nothing is missing.

    Example:
        >>> done = ray.get(ray.remote(lambda: 1).remote())
        >>> ray.util.state.summarize_tasks()["cluster"]["total_tasks"] > 0
        True
    """
    groups: dict[str, Any] = {}
    kinds: Tallies[str] = Tallies()
    for task in rows.tasks(rows.Source.now()):
        group = groups.setdefault(
            task.func_or_class_name,
            {"func_or_class_name": task.func_or_class_name, "type": task.type, "state_counts": {}},
        )
        group["state_counts"][task.state] = group["state_counts"].get(task.state, 0) + 1
        kinds[task.type] += 1
    return _summary(
        groups,
        "func_name",
        total_tasks=kinds["NORMAL_TASK"],
        total_actor_tasks=kinds["ACTOR_TASK"],
        total_actor_scheduled=kinds["ACTOR_CREATION_TASK"],
    )


def summarize_actors(
    address: str | None = None, timeout: int = 30, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """Returns how many actors of each class are in each state, in Ray's shape.

    Args:
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.
        raise_on_missing_output: accepted for Ray's sake: nothing is missing.

    Example:
        >>> "total_actors" in ray.util.state.summarize_actors()["cluster"]
        True
    """
    groups: dict[str, Any] = {}
    total = 0
    for actor in rows.actors(rows.Source.now()):
        group = groups.setdefault(actor.class_name, {"class_name": actor.class_name, "state_counts": {}})
        group["state_counts"][actor.state] = group["state_counts"].get(actor.state, 0) + 1
        total += 1
    return _summary(groups, "class", total_actors=total)


def summarize_objects(
    address: str | None = None, timeout: int = 30, raise_on_missing_output: bool = True, _explain: bool = False
) -> dict[str, Any]:
    """Returns number and size (MiB) of the objects by the function that made them.

    Args:
        address: accepted for Ray's sake: there is one runtime.
        timeout: accepted for Ray's sake: the answer is at hand.
        raise_on_missing_output: accepted for Ray's sake: nothing is missing.

    Example:
        >>> ref = ray.put([1, 2])
        >>> ray.util.state.summarize_objects()["cluster"]["total_objects"] > 0
        True
    """
    groups: dict[str, Any] = {}
    total, size = 0, 0
    source = rows.Source.now()
    makers = {task.id: task.name for task in source.snapshot.tasks}
    for row, made in zip(source.snapshot.objects, rows.objects(source), strict=True):
        site = makers.get(row.task, "put")
        group = groups.setdefault(
            site, {"total_objects": 0, "total_size_mb": 0.0, "task_state_counts": {}, "ref_type_counts": {}}
        )
        group["total_objects"] += 1
        group["total_size_mb"] += made.object_size / 2**20
        counted = (("task_state_counts", made.task_status), ("ref_type_counts", made.reference_type))
        for column, value in counted:
            group[column][value] = group[column].get(value, 0) + 1
        total, size = total + 1, size + made.object_size
    return _summary(groups, "callsite", total_objects=total, total_size_mb=size / 2**20)


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Writes or returns what ran when, as a Chrome trace (``raynb.timeline``).

    Args:
        filename: where to write it; None: return it as a list of events, whose times are microseconds.

    Example:
        >>> done = ray.get(ray.remote(lambda: 1).remote())
        >>> len(ray.util.state.timeline()) > 0
        True
    """
    return ray.timeline(filename)
