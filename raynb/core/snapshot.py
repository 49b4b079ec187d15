"""The rows that views show, made from the machine's tables: all of them, or only those that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from raynb.base.ids import task_of
from raynb.base.rows import (
    ACTOR_CREATION_TASK,
    ACTOR_TASK,
    LOST,
    MEMORY,
    NORMAL_TASK,
    PENDING,
    RUNNING,
    SHARED,
    SPILLED,
    ActorRow,
    ObjectRow,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)  # fmt: skip
from raynb.base.spec import TaskOptions, Value
from raynb.core.history import Ended, plain
from raynb.core.scheduling.resources import to_floats
from raynb.core.vocabulary.records import Actor, Obj, Task, Worker
from raynb.core.vocabulary.transitions import O_LOST, O_PENDING, O_READY

if TYPE_CHECKING:
    from raynb.core.machine import Machine

#: Finished and unfinished tasks, and objects, in the picture for a reader that fell behind.
CATCH_UP_ROWS = 250


def task_row(m: Machine, task: Task) -> TaskRow:
    """Returns the views' row of a task."""
    return _task_row(m, plain(task), task.spec.options)


def _task_row(m: Machine, task: Ended, options: TaskOptions) -> TaskRow:
    (identity, state, number, attempt, scope, actor, creates, parent, submitted, started, fetched, ran, ended,
     error, text, size, inputs, after, peak, before) = task  # fmt: skip
    worker = m.pool.table.get(number)
    kind = ACTOR_CREATION_TASK if creates else ACTOR_TASK if actor else NORMAL_TASK
    return TaskRow(
        identity, options.name, kind, state, number, worker.pid if worker else 0, attempt, scope,
        actor or (identity if creates else 0), parent, submitted, started, fetched, ran, ended,
        error, text, size, to_floats(options.resources), options.function_name or options.name,
        options.function, inputs, after, peak, max(0, peak - before) if before >= 0 else 0,
    )  # fmt: skip


def actor_row(m: Machine, actor: Actor) -> ActorRow:
    """Returns the views' row of an actor."""
    spec = actor.spec
    worker = m.pool.table.get(actor.worker)
    return ActorRow(
        spec.actor_id, spec.class_name, spec.name, spec.namespace, actor.state, actor.worker, actor.pid,
        actor.pending, actor.restarts, spec.max_restarts, worker.rss if worker else 0, _why_dead(actor.cause),
        actor.scope, spec.lifetime == "detached", spec.class_key,
    )  # fmt: skip


def _why_dead(cause: Value | None) -> str:
    """Returns the text of the error value that a dead actor's calls get."""
    if type(cause) is not tuple:
        return ""
    if cause[1] != "ActorDiedError":  # its process was ended for want of memory
        return str(cause[2][0])
    _, why, *more = cause[2]
    if why == "creation":
        return "its constructor failed"
    return str(more[-1]) if more else "all handles to it are gone"


def object_row(m: Machine, obj: Obj) -> ObjectRow:
    """Returns the views' row of an object."""
    value = obj.value
    if obj.state == O_PENDING:
        where = PENDING
    elif obj.state == O_LOST:
        where = LOST
    elif type(value) is tuple and value[0] == "shm":
        where = SHARED
    elif type(value) is tuple and value[0] == "file":
        where = SPILLED
    else:
        where = MEMORY
    return ObjectRow(
        obj.id, obj.size, where, task_of(obj.id), obj.scope, obj.refs, tuple(obj.lends or ()), obj.args,
        obj.containers, obj.views, obj.error,
    )  # fmt: skip


def worker_row(m: Machine, worker: Worker) -> WorkerRow:
    """Returns the views' row of a worker."""
    task = worker.queue[0].spec.task_id if worker.queue else 0
    return WorkerRow(
        worker.id, worker.pid, worker.state, task, worker.actor, worker.rss, worker.cpu, worker.started,
        worker.finished, worker.exit,
    )  # fmt: skip


def store_row(m: Machine, limit: int) -> StoreRow:
    """Returns the views' row of the object store."""
    objects = m.objects
    return StoreRow(
        limit=limit, used=objects.shared_bytes, spilled=objects.spilled_bytes, inline=objects.inline_bytes,
        objects=len(objects.table),
    )  # fmt: skip


def picture(m: Machine, now: float, wall: float, since: int, limit: int) -> Snapshot:
    """Returns what changed after version ``since``; everything when ``since`` is -1. When it is too
    long ago, or too much has changed: the latest finished and the first unfinished tasks, the latest
    objects, and everything else."""
    changed = m.history.changed_since(since) if since >= 0 else None
    shot = Snapshot(m.history.version, now, wall, since if changed is not None else -1)
    shot.store = store_row(m, limit)
    shot.total = to_floats(m.resources.total)
    shot.available = to_floats(m.resources.available)
    shot.groups = {name: {s: n for s, n in counts.items() if n} for name, counts in m.history.groups.items()}
    shot.running = running(m)
    shot.paused = list(m.cancelling.paused)
    if changed is None:
        # A reader that fell behind under load must not cost more than one that keeps up.
        most = CATCH_UP_ROWS if since >= 0 else max(len(m.history.finished), len(m.tasks.table))
        latest = list(islice(_latest(m), most))
        shot.tasks = [_task_row(m, *ended) for ended in reversed(latest)]
        shot.tasks += [task_row(m, t) for t in islice(m.tasks.table.values(), most)]
        shot.actors = [actor_row(m, a) for a in m.actors.table.values()]
        objects = m.objects.table.values()
        shown = islice(reversed(objects), CATCH_UP_ROWS) if since >= 0 else iter(objects)
        shot.objects = [object_row(m, o) for o in shown if not o.actor]
        shot.workers = [worker_row(m, w) for w in m.pool.table.values()]
        return shot
    _changes(m, shot, changed, since)
    return shot


def _latest(m: Machine) -> Iterator[tuple[Ended, TaskOptions]]:
    return zip(reversed(m.history.finished), reversed(m.history.options), strict=True)


def _tasks(m: Machine, wanted: Iterable[int]) -> list[TaskRow]:
    """Returns the rows of the tasks of these ids: the unfinished, then the finished in the order in
    which they ended. Costs nothing for the others, however many there are."""
    alive, places = m.tasks.table, m.history.places()
    open_, over = [], []
    for identity in wanted:
        if identity in alive:
            open_.append(task_row(m, alive[identity]))
        elif identity in places:
            over.append(identity)
    over.sort(key=places.__getitem__)
    ended = (m.history.ended(identity) for identity in over)
    return open_ + [_task_row(m, *entry) for entry in ended if entry is not None]


def rows(
    m: Machine, now: float, wall: float, tasks: Sequence[int], actors: Sequence[int], objects: Sequence[int]
) -> Snapshot:
    """Returns a picture of these ids only."""
    shot = Snapshot(m.history.version, now, wall)
    shot.tasks = _tasks(m, tasks)
    shot.actors = [actor_row(m, m.actors.table[i]) for i in actors if i in m.actors.table]
    shot.objects = [object_row(m, m.objects.table[i]) for i in objects if i in m.objects.table]
    return shot


def awaited(m: Machine, task: int) -> list[int]:
    """Returns the ids of the objects that a task still waits for."""
    found = m.tasks.table.get(task)
    if found is None:
        return []
    return [dep for dep in found.spec.deps if m.objects.table[dep].state != O_READY]


def running(m: Machine) -> list[TaskRow]:
    """Returns every task that runs now: workers hold normal tasks, actors their calls."""
    held = {task.spec.task_id: task for worker in m.pool.table.values() for task in worker.queue}
    for actor in m.actors.table.values():
        held.update(actor.inflight)
    return [task_row(m, task) for task in held.values() if task.state == RUNNING]


def _changes(m: Machine, shot: Snapshot, changed: dict[str, set[int]], since: int) -> None:
    shot.tasks = _tasks(m, changed.get("task", ()))
    # An actor's pending calls change with its calls, which are noted under their own ids.
    actors = changed.get("actor", set()) | {row.actor for row in shot.tasks if row.actor}
    shot.actors = [actor_row(m, m.actors.table[i]) for i in actors if i in m.actors.table]
    gone = []
    for identity in changed.get("object", ()):
        obj = m.objects.table.get(identity)
        if obj is None:
            gone.append(identity)
        elif not obj.actor:
            shot.objects.append(object_row(m, obj))
    # workers change all the time (memory, task), and they are few
    shot.workers = [worker_row(m, w) for w in m.pool.table.values()]
    shot.gone = {
        "objects": gone,
        "tasks": list(changed.get("dropped", ())),
        "workers": [i for i in changed.get("worker", ()) if i not in m.pool.table],
    }
