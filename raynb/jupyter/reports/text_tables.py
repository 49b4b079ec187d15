"""The runtime's tasks, actors, objects, workers and logs as text tables (``%raynb tasks`` and kin)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raynb.base import ids
from raynb.base.rows import TASK_ENDED, ObjectRow, Output, Snapshot, TaskRow
from raynb.base.text import printable
from raynb.jupyter.formatting import (
    PLACE_WORDS,
    STATE_WORDS,
    format_bytes,
    format_seconds,
    memory_added,
    short_error,
    short_task,
)
from raynb.jupyter.output.folding import prefix_of
from raynb.jupyter.output.registry import cell_name
from raynb.jupyter.views.kernels import found, is_own, slots, title
from raynb.jupyter.views.view_model import Labels, actor_label, held_by

#: Rows that a table shows at most; it says how many there are.
MAX_ROWS = 50


def size(count: int) -> str:
    """Returns a size, or nothing where it isn't known."""
    return format_bytes(count) if count else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    """Returns aligned columns; ``empty`` when there are no rows."""
    listed = [tuple(printable(cell).replace("\n", " ") for cell in row) for row in rows]
    if not listed:
        return empty
    shown = listed[:MAX_ROWS]
    widths = [max(len(line[i]) for line in [tuple(head), *shown]) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in [tuple(head), *shown]
    ]
    if len(listed) > MAX_ROWS:
        lines.append(f"… {len(listed) - MAX_ROWS:,} more")
    return "\n".join(lines)


def took(row: TaskRow, now: float) -> str:
    """Returns how long a task ran, or has been running."""
    if not row.started:
        return ""
    return format_seconds(max(0.0, (row.ended or now) - row.started))


def tasks(picture: Snapshot, name: str = "") -> str:
    """Returns the tasks, unfinished ones first, newest first; only those of one function if named."""
    rows = [row for row in picture.tasks if not name or row.name == name or row.name.startswith(f"{name} ")]
    rows.sort(key=lambda row: (row.state in TASK_ENDED, -row.id))
    return table(
        ("task", "state", "time", "attempt", "cell", "worker", "memory", "error"),
        (
            (f"{row.name}#{short_task(row.id)}", STATE_WORDS[row.state], took(row, picture.now), str(row.attempt + 1),
             cell_name(row.scope), str(row.worker or ""),
             memory_added(row.peak, row.added), short_error(row.error, row.error_type)[:60])
            for row in rows
        ),
        "There are no tasks yet." if not name else f"There are no tasks of {name!r}.",
    )  # fmt: skip


def actors(picture: Snapshot) -> str:
    """Returns the actors as a table."""
    return table(
        ("actor", "name", "state", "pending", "restarts", "pid", "memory", "why it ended"),
        (
            (f"{row.class_name}#{short_task(row.id)}", row.name, STATE_WORDS[row.state], str(row.pending),
             str(row.restarts), str(row.pid or ""), size(row.rss), row.death_cause[:60])
            for row in picture.actors
        ),
        "There are no actors yet.",
    )  # fmt: skip


def objects(picture: Snapshot, labels: Labels) -> str:
    """Returns the stored objects by the notebook's names, largest first, with who holds them."""
    makers = {row.id: row.name for row in picture.tasks}
    actors = {row.worker: actor_label(row) for row in picture.actors if row.worker}
    rows = sorted(picture.objects, key=lambda row: -row.size)

    def maker(row: ObjectRow) -> str:
        return makers.get(row.task, "") if ids.index_of(row.id) else "put"

    def holders(row: ObjectRow) -> str:
        return ", ".join(held_by(row, labels.names(row.id), actors, labels.holders(row.id)))

    def name(row: ObjectRow) -> str:
        called = ", ".join(labels.names(row.id)) or f"#{short_task(ids.task_of(row.id))}"
        why = labels.stale(ids.task_of(row.id))
        return f"{called} (stale: {why})" if why else called

    return table(
        ("object", "size", "where", "made by", "cell", "held by"),
        (
            (name(row), format_bytes(row.size),
             PLACE_WORDS[row.where], maker(row), cell_name(row.scope), holders(row))
            for row in rows
        ),
        "There are no objects yet.",
    )  # fmt: skip


def workers(picture: Snapshot) -> str:
    """Returns the workers as a table."""
    names = {row.id: row.name for row in picture.tasks}
    hosts = {row.id: row.host or row.address for row in picture.nodes}
    head = ("worker", "pid", "state", "task", "memory", "cpu", "tasks done", "why it ended")
    return table(
        (*head, "node") if hosts else head,
        (
            (str(row.id), str(row.pid), STATE_WORDS["EXITED" if row.exit else row.state], names.get(row.task, ""),
             format_bytes(row.rss) if row.rss else "", f"{row.cpu:.0%}", f"{row.finished:,}", row.exit[:60],
             *((hosts.get(row.node, ""),) if hosts else ()))
            for row in picture.workers
        ),
        "There are no workers yet.",
    )  # fmt: skip


def nodes(picture: Snapshot) -> str:
    """Returns the machines of a cluster, with what each has and what of it is taken."""
    return table(
        ("node", "host", "state", "CPUs", "GPUs", "cpu", "memory", "store", "on disk", "workers", "resources",
         "labels"),
        (
            (f"{row.node_id[:8]}{' (head)' if row.head else ''}{' (this kernel)' if row.driver else ''}",
             row.host or row.address, "ALIVE" if row.alive else "DEAD", f"{row.cpus_used:g}/{row.cpus:g}",
             f"{row.gpus_used:g}/{row.gpus:g}" if row.gpus else "", f"{row.cpu:.0%}" if row.memory else "",
             f"{format_bytes(row.memory_used)}/{format_bytes(row.memory)}" if row.memory else "",
             f"{format_bytes(row.store_used)}/{format_bytes(row.store)}", size(row.spilled), str(row.workers or ""),
             ", ".join(f"{name}: {amount:g}" for name, amount in row.resources.items()),
             ", ".join(f"{name}={value}" for name, value in row.labels.items()))
            for row in picture.nodes
        ),
        "There is one machine, this one; nodes are those of a Ray cluster (%raynb start --address ...).",
    )  # fmt: skip


def kernels() -> str:
    """Returns the runtimes of this user on this machine.

    Raises:
        ValueError: as `raynb.jupyter.views.kernels.found`.
    """
    return table(
        ("notebook", "process", "CPUs busy", "tasks", "memory", "store", "on disk", "share"),
        (
            (f"{title(row)}{' (this one)' if is_own(row) else ''}", str(row.pid), slots(row), f"{row.unfinished:,}",
             format_bytes(row.memory), f"{format_bytes(row.store_used)} of {format_bytes(row.store)}",
             size(row.spilled), row.share)
            for row in found()
        ),
        "No runtime of yours is running on this machine.",
    )  # fmt: skip


def logs(outputs: Iterable[Output], scope: int | None = None, pattern: str = "") -> str:
    """Returns what tasks printed, one line each with who said it.

    Args:
        outputs: the engine's log.
        scope: only of this cell.
        pattern: only lines that contain this text.
    """
    unfinished: dict[tuple[str, str], str] = {}
    lines: list[str] = []
    for output in outputs:
        if scope is not None and output.scope != scope:
            continue
        who = prefix_of(output)
        if output.kind not in ("stdout", "stderr"):
            lines.append(f"{who} [{output.kind}]")
            continue
        key = (who, output.kind)
        *whole, unfinished[key] = (unfinished.get(key, "") + output.text).split("\n")
        lines.extend(f"{who} {line}" for line in whole)
    lines.extend(f"{who} {rest}" for (who, _), rest in unfinished.items() if rest)
    lines = [printable(line, colours=True) for line in lines]
    if pattern:
        lines = [line for line in lines if pattern in line]
    return "\n".join(lines) if lines else "Nothing was printed."
