"""Converts snapshots to JSON for the views. Pure: no engine, no clock, no Jupyter.

One message has the same shape whether it is the full picture or what changed since an earlier version:
the receiver replaces everything, or lays the rows over those it has. `messages` says what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from raynb.base.ids import index_of, task_of
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import (
    RUNNING,
    TASK_ENDED,
    ActorRow,
    NodeRow,
    ObjectRow,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)
from raynb.jupyter.formatting import counted, short_error
from raynb.jupyter.views import messages

#: The most rows of a kind in one message: what a page can hold and a person can look through.
#: Counts (``groups``, ``store``) are over everything.
MAX_ROWS = 10_000

NO_NAMES: list[str] = []  # of all objects without any; nobody adds to it

COLUMNS: messages.Columns = {
    "tasks": list(messages.Task._fields),
    "actors": list(messages.Actor._fields),
    "objects": list(messages.Obj._fields),
    "workers": list(messages.Worker._fields),
    "nodes": list(messages.Node._fields),
}


def _no_names(object_id: int) -> list[str]:
    return []


def _no_holders(object_id: int) -> tuple[list[str], int]:
    return [], 0


def _true(task_id: int) -> str:
    return ""


def _no_cell(scope: int) -> str:
    return ""


def _no_place(filename: str) -> str:
    return ""


def _nothing() -> None:
    return None


@dataclass(slots=True)
class Labels:
    """The notebook's names for what the engine knows by number.

    Args:
        cell: the label of a scope, such as ``"In [3]"``; ``""`` when unknown.
        names: the notebook's names of an object, such as ``["xs", "Out[5]"]``.
        holders: what else holds an object there and is no name of it (``"_"``, a traceback), and how
            many different `ObjectRef`s the names and these are.
        stale: why what a task has made is no longer true; ``""``: it is.
        title: what a task of a loop is called, such as ``"In[6] depth=7"``; ``""``: as its function.
        graph: the graph of cells, as markup.
        graphed: counts its changes; 0: there is none.
        place: the cell's name of a file, such as ``"Cell In[5]"``; ``""`` when it is no cell.
        refresh: called once before each look, so that the others can be plain look-ups.
    """

    cell: Callable[[int], str] = _no_cell
    names: Callable[[int], list[str]] = _no_names
    holders: Callable[[int], tuple[list[str], int]] = _no_holders
    stale: Callable[[int], str] = _true
    title: Callable[[int], str] = _true
    graph: Callable[[], str] = str
    graphed: Callable[[], int] = int
    place: Callable[[str], str] = _no_place
    refresh: Callable[[], None] = _nothing

    def everything(self, object_id: int) -> list[str]:
        """Returns everything that is said of an object; another list means another row."""
        return [*self.names(object_id), *self.holders(object_id)[0], self.stale(task_of(object_id))]


def key(identity: int) -> str:
    """Returns an id as the views write it; ``""`` for none."""
    return f"{identity:x}" if identity else ""


def from_key(text: str) -> int:
    """Returns the id that `key` spelled.

    Raises:
        ValueError: the text is no id.
    """
    try:
        return int(text, 16)
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not an id of a task, actor or object.") from None


def held_by(
    row: ObjectRow, names: list[str], workers: dict[int, str], others: tuple[list[str], int] = ([], 0)
) -> list[str]:
    """Returns in plain words who keeps an object alive.

    Args:
        row: the object.
        names: its names in the notebook.
        workers: worker id → what to call it (the actor it hosts), where it has a name.
        others: what else holds it in the notebook, and how many refs that and the names are.
    """
    held = [*names, *others[0]]
    unnamed = row.local_refs - (others[1] or len(held))
    if unnamed > 0:
        held.append(counted(unnamed, "other ref" if held else "ref") + " in the kernel")
    if row.views:
        held.append(counted(row.views, "array view"))
    if row.pending_args:
        held.append("argument of " + counted(row.pending_args, "task"))
    if row.containers:
        held.append("inside " + counted(row.containers, "stored object"))
    held.extend(workers.get(worker) or f"worker {worker}" for worker in row.borrowers)
    return held


def _tasks(rows: list[TaskRow], labels: Labels) -> list[messages.Task]:
    """Returns the rows of tasks.

    A picture of 10,000 follows each flood, on the budget of the feed: times are cut to microseconds by hand, which
    takes a third of the time of `round`, and what most tasks lack costs no call.
    """
    row_of, title = messages.Task._make, labels.title
    micro = 1e6  # in a second
    return [
        row_of((
            f"{row.id:x}", row.name, row.kind, row.state, row.worker, row.pid, row.attempt, row.scope,
            f"{row.actor:x}" if row.actor else "", f"{row.parent:x}" if row.parent else "",
            int(row.submitted * micro + 0.5) / micro, int(row.started * micro + 0.5) / micro,
            int(row.fetched * micro + 0.5) / micro, int(row.ran * micro + 0.5) / micro,
            int(row.ended * micro + 0.5) / micro, row.error_type,
            short_error(row.error, row.error_type) if row.error else row.error_type, row.size, row.inputs,
            f"{row.after:x}" if row.after else "", row.added, title(row.id),
        ))
        for row in rows
    ]  # fmt: skip


def _actor(row: ActorRow) -> messages.Actor:
    return messages.Actor(
        f"{row.id:x}", row.class_name, row.name, row.namespace, row.state, row.worker, row.pid,
        row.pending, row.restarts, row.max_restarts, row.rss, row.death_cause, row.scope, row.detached,
    )  # fmt: skip


def _worker(row: WorkerRow) -> messages.Worker:
    return messages.Worker(
        row.id, row.pid, row.state, key(row.task), key(row.actor), row.rss, round(row.cpu, 3),
        round(row.started, 3), row.finished, row.exit, row.node,
    )  # fmt: skip


def _node(row: NodeRow) -> messages.Node:
    return messages.Node(
        row.id, row.node_id, row.host, row.address, row.alive, row.head, row.driver, row.cpus, row.cpus_used,
        row.gpus, row.gpus_used, round(row.cpu, 3), row.memory, row.memory_used, row.store, row.store_used,
        row.spilled, row.workers, row.resources, row.labels, row.death_cause,
    )  # fmt: skip


def _objects(rows: list[ObjectRow], labels: Labels, workers: dict[int, str]) -> list[messages.Obj]:
    """Returns the rows of objects. Most have no name and are held by the same few things: those are said once."""
    row_of, names_of, holders_of, stale = messages.Obj._make, labels.names, labels.holders, labels.stale
    unnamed: dict[tuple[object, ...], list[str]] = {}
    found = []
    for row in rows:
        names, others = names_of(row.id), holders_of(row.id)
        if names or others[0]:
            held = held_by(row, names, workers, others)
        else:
            names = NO_NAMES
            kind = (row.local_refs, row.views, row.pending_args, row.containers, row.borrowers, others[1])
            held = unnamed.get(kind) or unnamed.setdefault(kind, held_by(row, names, workers, others))
        task = row.task if index_of(row.id) else 0  # a put has an id of its own, but no task
        found.append(row_of((
            f"{row.id:x}", row.size, row.where, key(task), row.scope, names, held, row.error, stale(task_of(row.id)),
        )))  # fmt: skip
    return found


def _store(row: StoreRow) -> messages.Store:
    return {
        "limit": row.limit, "used": row.used, "spilled": row.spilled, "pinned": row.pinned, "inline": row.inline,
        "objects": row.objects, "resident": row.resident,
    }  # fmt: skip


def actor_label(row: ActorRow) -> str:
    """Returns how people call an actor: its name, else its class."""
    return f"actor {row.name}" if row.name else f"actor {row.class_name}"


def _cells(labels: Labels, rows: Iterable[Any]) -> dict[str, str]:
    scopes = {row.scope for row in rows if row.scope}
    found = ((scope, labels.cell(scope)) for scope in sorted(scopes))
    return {str(scope): label for scope, label in found if label}


def _gone(gone: dict[str, list[int]]) -> messages.Gone:
    sent: messages.Gone = {}
    for kind in ("tasks", "actors", "objects"):
        if gone.get(kind):
            sent[kind] = [f"{number:x}" for number in gone[kind]]
    if gone.get("workers"):
        sent["workers"] = list(gone["workers"])
    return sent


def worth_showing(tasks: list[TaskRow], most: int) -> list[TaskRow]:
    """Returns at most ``most`` tasks: running ones, then the latest ended, then waiting ones.

    A million queued tasks must not become a message of 100 MB. Of the rest, half is for the ended
    and half for the waiting, if there are enough of both.
    """
    if len(tasks) <= most:
        return tasks
    running = [row for row in tasks if row.state == RUNNING][:most]
    ended = [row for row in tasks if row.state in TASK_ENDED]
    waiting = [row for row in tasks if row.state not in TASK_ENDED and row.state != RUNNING]
    room = most - len(running)
    for_ended = min(len(ended), max(room - len(waiting), room // 2))
    # Rows come in the order in which tasks ended, or were submitted.
    latest = ended[len(ended) - for_ended :]
    return latest + running + waiting[: room - for_ended]


def message(
    snapshot: Snapshot, labels: Labels | None = None, most: int = MAX_ROWS, runtime: str = ""
) -> messages.PictureMessage:
    """Returns the message for a full picture (``since`` is −1) or for what changed.

    Args:
        snapshot: from ``engine.snapshot()`` or ``engine.changes(since)``.
        labels: the notebook's names for cells and objects.
        most: rows of one kind that it may hold.
        runtime: the runtime's name (`runtime_name`).
    """
    labels = labels or Labels()
    tasks = worth_showing(snapshot.tasks, most)
    objects = snapshot.objects
    if len(objects) > most:
        objects = sorted(objects, key=lambda row: row.size)[len(objects) - most :]
    workers = {row.worker: actor_label(row) for row in snapshot.actors if row.worker}
    return {
        "v": messages.VERSION,
        "kind": "full" if snapshot.since < 0 else "change",
        "runtime": runtime,
        "version": snapshot.version,
        "since": snapshot.since,
        "now": round(snapshot.now, 3),
        "wall": round(snapshot.wall, 3),
        "columns": COLUMNS,
        "tasks": _tasks(tasks, labels),
        "actors": [_actor(row) for row in snapshot.actors],
        "objects": _objects(objects, labels, workers),
        "workers": [_worker(row) for row in snapshot.workers],
        "nodes": [_node(row) for row in snapshot.nodes],
        "running": [f"{row.id:x}" for row in snapshot.running],
        "paused": [f"{task:x}" for task in snapshot.paused],
        "store": _store(snapshot.store),
        "total": dict(snapshot.total),
        "available": dict(snapshot.available),
        "groups": {name: dict(states) for name, states in snapshot.groups.items()},
        "cells": _cells(labels, [*tasks, *snapshot.actors, *objects]),
        "graph": labels.graphed(),
        "gone": _gone(snapshot.gone),
    }


def runtime_name(engine: DriverEngine) -> str:
    """Returns a name that differs for each start of the runtime."""
    return f"{engine.nonce:x}"


def no_runtime(state: messages.StatusState = "stopped", why: str = "") -> messages.StatusMessage:
    """Returns the message that says there is nothing to show.

    Args:
        state: ``"stopped"``, ``"starting"`` or ``"failed"``.
        why: one sentence, shown as it is.
    """
    return {"v": messages.VERSION, "kind": "status", "state": state, "why": why}
