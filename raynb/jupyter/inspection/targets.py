"""Resolves what a command is about: a task, an actor, a worker, a cell, or whatever runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

from raynb.base import ids
from raynb.base.interfaces import DriverEngine, Inspection
from raynb.base.ref import ObjectRefGenerator, is_ref
from raynb.base.rows import RUNNING, TaskRow, WorkerRow


@dataclass(slots=True)
class Target:
    """A worker to ask, and the tasks there that are meant (none: whatever it does)."""

    worker: int
    pid: int
    tasks: tuple[int, ...] = ()


def find(engine: DriverEngine, text: str, namespace: dict[str, Any], cell: int | None = None) -> list[Target]:
    """Returns what a command's argument means.

    Args:
        engine: the driver's engine.
        text: a variable with a ref or an actor's handle; a task's or actor's id in hex, name or function; a
            worker's number, as ``worker 3`` or ``3``, or its pid; empty: everything that runs.
        namespace: the notebook's variables.
        cell: the number of a cell, whose running tasks are meant.

    Raises:
        UsageError: there is no such thing, or it does not run.
    """
    picture = engine.snapshot()
    workers = {row.id: row for row in picture.workers if not row.exit}
    running = [row for row in picture.tasks if row.state == RUNNING and row.worker in workers]
    if cell is not None:
        return _of_tasks([row for row in running if row.scope == cell], workers, f"No task of In[{cell}] runs now.")
    if not text:
        return _of_tasks(running, workers, "No task runs now.")
    if text in namespace:
        return _of_variable(engine, text, namespace[text], running, workers, picture.actors)
    word = text.removeprefix("worker").strip().removeprefix("#")
    if word.isdecimal():
        for worker in workers.values():
            if int(word) in (worker.id, worker.pid):
                return [Target(worker.id, worker.pid)]
    nonce = engine.nonce
    named = [
        row for row in running
        if text in (row.name, row.function_name, ids.to_hex(row.id, nonce, ids.TASK_HEX))
    ]  # fmt: skip
    if named:
        return _of_tasks(named, workers, "")
    for actor in picture.actors:
        if text in (actor.name, actor.class_name, ids.to_hex(actor.id, engine.nonce, ids.ACTOR_HEX)):
            return _of_worker(actor.worker, workers, f"The actor {text} does not run.")
    raise UsageError(
        f"{text!r} is no variable with a ref or a handle, no task that runs, no actor and no worker; "
        "`%raynb tasks`, `%raynb actors` and `%raynb workers` list them."
    )


def _of_variable(engine: DriverEngine, text: str, value: Any, running: list[TaskRow], workers: dict[int, WorkerRow],
                 actors: list[Any]) -> list[Target]:  # fmt: skip
    if isinstance(value, ObjectRefGenerator):
        value = value._ref
    if is_ref(value):
        task = ids.task_of(value._id)
        return _of_tasks([row for row in running if row.id == task], workers, f"The task of {text} does not run now.")
    if isinstance(value, (list, tuple)) and any(is_ref(item) for item in value):
        wanted = {ids.task_of(item._id) for item in value if is_ref(item)}
        return _of_tasks([row for row in running if row.id in wanted], workers, f"No task of {text} runs now.")
    if hasattr(value, "__ray_call__"):
        number = ids.from_hex(value._actor_id.hex())[1]
        found = next((row for row in actors if row.id == number), None)
        return _of_worker(found.worker if found is not None else 0, workers, f"The actor {text} does not run.")
    if callable(getattr(value, "remote", None)):
        name = getattr(value, "__name__", text)
        return _of_tasks([row for row in running if name in (row.name, row.function_name)], workers,
                         f"No task of {text} runs now.")  # fmt: skip
    raise UsageError(f"{text!r} is a {type(value).__name__}: neither a ref nor an actor's handle.")


def _of_tasks(rows: list[TaskRow], workers: dict[int, WorkerRow], none: str) -> list[Target]:
    if not rows:
        raise UsageError(none)
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row.worker, []).append(row.id)
    return [Target(worker, workers[worker].pid, tuple(tasks)) for worker, tasks in found.items()]


def _of_worker(worker: int, workers: dict[int, WorkerRow], none: str) -> list[Target]:
    if worker not in workers:
        raise UsageError(none)
    return [Target(worker, workers[worker].pid)]


def inspection_of(engine: DriverEngine, what: str) -> Inspection:
    """Returns the engine's `Inspection`. Raises: UsageError: this engine has none.

    Raises:
        UsageError: this engine cannot.
    """
    if engine.inspection is not None:
        return engine.inspection
    if engine.config.local_mode:
        raise UsageError(f"{what}: tasks run in the kernel itself (local_mode); use `%debug`, `breakpoint()` and "
                         "`%prun` as for any code, and `%raynb stack kernel`.")  # fmt: skip
    raise UsageError(f"{what}: this engine's workers cannot be asked.")
