"""Actions of a person on the runtime, as plain functions.

Magics, the dashboard's buttons and the lab panel all call these; none knows Jupyter. Each
returns one sentence that says what was done. `answer` is the one door for the browser.

Thread contract: safe from any thread; while a cell is busy the browser's requests arrive on
another thread than the kernel's main one.
"""

from __future__ import annotations

import linecache
import re
import time
from collections.abc import Callable
from typing import Any

from raynb.base import ids
from raynb.base.interfaces import DriverEngine
from raynb.base.ref import ObjectRef
from raynb.base.rows import (
    ACTOR_CREATION_TASK,
    DEAD,
    PENDING,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
    RUNNING,
    SUBMITTED_TO_WORKER,
    TASK_ENDED,
    ActorRow,
    NodeRow,
    ObjectRow,
    Snapshot,
    TaskRow,
)
from raynb.exceptions import RayError
from raynb.jupyter.formatting import counted, format_bytes, short_error
from raynb.jupyter.views import kernels, messages, series
from raynb.jupyter.views.runtime_actions import WITHOUT_RUNTIME, scale
from raynb.jupyter.views.stacks import profile_of, stack_of
from raynb.jupyter.views.view_model import Labels, from_key, runtime_name

#: The most characters of a task's log that a look at it brings.
LOG_CHARS = 20_000


class ActionError(ValueError):
    """An action cannot be done; the message says why, and what can be done."""


def counted_ref(engine: DriverEngine, object_id: int) -> ObjectRef[object]:
    """Returns a ref to an object by its id, counted as if it had been unpickled here."""
    engine.ref_log.append(~object_id)
    return engine.new_ref(object_id, engine)


def find_task(engine: DriverEngine, task: int) -> TaskRow:
    """Returns the row of a task.

    Raises:
        ActionError: it is not, or no longer, known.
    """
    found: list[TaskRow] = engine.rows(tasks=(task,)).tasks
    if not found:
        raise ActionError(f"Task {task:x} is not known any more; it ended and was forgotten.")
    return found[0]


def _find_actor(engine: DriverEngine, actor: int) -> ActorRow:
    found: list[ActorRow] = engine.rows(actors=(actor,)).actors
    if not found:
        raise ActionError(f"Actor {actor:x} is not known any more.")
    return found[0]


def _find_object(engine: DriverEngine, object_id: int) -> ObjectRow:
    found: list[ObjectRow] = engine.rows(objects=(object_id,)).objects
    if not found:
        raise ActionError("The object is gone already.")
    return found[0]


def _cancel_rows(engine: DriverEngine, rows: list[TaskRow], force: bool) -> tuple[int, str]:
    """Cancels those that have not ended; returns how many, and why another one could not be, "" if none.

    On a cluster only the process that has submitted a task can cancel it; with that process's own task it goes, too.
    """
    done, refused = 0, ""
    for row in rows:
        if row.state in TASK_ENDED or row.kind == ACTOR_CREATION_TASK:
            continue
        try:
            # Ray refuses force for actor tasks; a group may hold both kinds.
            engine.cancel_task(row.id, force and not row.actor)
            done += 1
        except ValueError as error:
            refused = str(error)
    return done, refused


def cancel_task(engine: DriverEngine, task: int, force: bool = False) -> str:
    """Cancels one task, queued or running (Ray: ``ray.cancel``).

    Args:
        engine: the driver's engine.
        task: the task's id.
        force: kill the worker instead of interrupting it.
    """
    row = find_task(engine, task)
    if row.state in TASK_ENDED:
        return f"{row.name} has already ended ({row.state.lower()})."
    if row.kind == ACTOR_CREATION_TASK:
        raise ActionError(f"{row.name} creates an actor; kill the actor instead.")
    _, refused = _cancel_rows(engine, [row], force)
    if refused:
        raise ActionError(f"{row.name}: {refused}")
    return f"Cancelling {row.name}."


def cancel_group(engine: DriverEngine, name: str, scope: int | None = None, force: bool = False) -> str:
    """Cancels every unfinished task of one function (of one cell, if ``scope`` is given)."""
    rows = [r for r in engine.snapshot().tasks if r.name == name and (scope is None or r.scope == scope)]
    done, refused = _cancel_rows(engine, rows, force)
    if refused and not done:
        raise ActionError(f"{name}: {refused}")
    return f"Cancelling {counted(done, 'task')} of {name}." if done else f"No task of {name} is unfinished."


def cancel_cell(engine: DriverEngine, scope: int) -> str:
    """Cancels every unfinished task that one cell submitted."""
    cancelled, finished = engine.cancel_scope(scope)
    return f"Cancelled {counted(cancelled, 'task')}; {finished:,} had finished."


def cancel_all(engine: DriverEngine, force: bool = False) -> str:
    """Cancels every unfinished task."""
    return f"Cancelling {counted(_cancel_rows(engine, engine.snapshot().tasks, force)[0], 'task')}."


def _actor_title(row: ActorRow) -> str:
    return f"{row.class_name} {row.name!r}" if row.name else row.class_name


def kill_actor(engine: DriverEngine, actor: int) -> str:
    """Kills an actor for good (Ray: ``ray.kill``)."""
    row = _find_actor(engine, actor)
    if row.state == DEAD:
        return f"Actor {_actor_title(row)} is dead already."
    engine.kill(actor, True)
    return f"Killed actor {_actor_title(row)}."


def restart_actor(engine: DriverEngine, actor: int) -> str:
    """Kills an actor's process and lets it start again (``ray.kill(no_restart=False)``).

    Raises:
        ActionError: the actor has no restart left.
    """
    row = _find_actor(engine, actor)
    if row.state == DEAD:
        raise ActionError(f"Actor {_actor_title(row)} is dead; create it again.")
    if row.max_restarts >= 0 and row.restarts >= row.max_restarts:
        raise ActionError(
            f"Actor {_actor_title(row)} has no restart left ({row.restarts} of {row.max_restarts} used); "
            "create it with max_restarts= to allow more."
        )
    engine.kill(actor, False)
    return f"Restarting actor {_actor_title(row)}."


def free_object(engine: DriverEngine, object_id: int) -> str:
    """Frees one object's bytes now; refs to it then raise ``ObjectFreedError``.

    Raises:
        ActionError: it is gone, or not made yet.
    """
    row = _find_object(engine, object_id)
    if row.where == PENDING:
        raise ActionError("The object is not made yet; cancel its task instead.")
    engine.free([counted_ref(engine, object_id)])
    return f"Freed {format_bytes(row.size)}."


def task_detail(engine: DriverEngine, task: int, labels: Labels | None = None) -> dict[str, Any]:
    """Returns what a closer look at a task shows: its whole error, its output, its story."""
    row = find_task(engine, task)
    pieces = engine.logs(task=task)
    text = "".join(piece.text for piece in pieces if piece.kind in ("stdout", "stderr"))
    return {
        "task": f"{task:x}",
        "why": why_it_waits(engine, row, labels or Labels()),
        "error": in_cells(row.error, labels or Labels()),
        "log": text[-LOG_CHARS:],
        "cut": max(0, len(text) - LOG_CHARS),
        "story": [[round(when, 6), what] for when, what in engine.story(task)],
    }


def why_it_waits(engine: DriverEngine, row: TaskRow, labels: Labels) -> str:
    """Returns a sentence on what an unfinished task waits for; empty for one that runs or has ended."""
    if row.state == PENDING_ARGS_AVAIL:
        return _awaited_inputs(engine, row, labels)
    if row.state == SUBMITTED_TO_WORKER:
        return f"It was sent to worker {row.worker} and runs when what that has before it is done."
    if row.state != PENDING_NODE_ASSIGNMENT:
        return ""
    if row.actor:
        actor = engine.rows(actors=(row.actor,)).actors
        pending = f", which has {counted(actor[0].pending, 'unfinished call')}" if actor else ""
        return f"It waits for its turn at its actor{pending}."
    total, available = engine.cluster()
    wanted = {name: amount for name, amount in row.resources.items() if amount > 0}
    for name, amount in wanted.items():
        if amount > total.get(name, 0.0):
            return f"It needs {amount:g} {name}, and there {_are(total.get(name, 0.0))} here: it can't run."
    short = [
        f"{amount:g} {name} ({available.get(name, 0.0):g} of {total[name]:g} free)"
        for name, amount in wanted.items()
        if amount > available.get(name, 0.0)
    ]
    return f"It waits for {', '.join(short)}." if short else "It is next when a worker is free."


def _are(amount: float) -> str:
    return "is none" if not amount else f"are only {amount:g}"


def _awaited_inputs(engine: DriverEngine, row: TaskRow, labels: Labels) -> str:
    missing: list[int] = engine.awaited(row.id)
    if not missing:
        return "It waits for its inputs."
    makers = {task.id: task.name for task in engine.rows(tasks=[ids.task_of(one) for one in missing[:3]]).tasks}
    named = []
    for one in missing[:3]:
        maker = makers.get(ids.task_of(one), "")
        name = ", ".join(labels.names(one)) or "a result"
        named.append(f"{name} of {maker}" if maker else name)
    more = f" and {counted(len(missing) - 3, 'more input')}" if len(missing) > 3 else ""
    return f"It waits for {'; '.join(named)}{more}."


def history() -> dict[str, Any]:
    """Returns the runtime's life as numbers over time.

    Raises:
        ActionError: the extension isn't loaded, so nobody records them.
    """
    recorder = series.shared()
    if recorder is None:
        raise ActionError("The history is recorded while the extension is loaded: run %load_ext raynb.")
    return recorder.reply(time.time() - time.monotonic())


_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)(?P<rest>.*)\n(?P<source>    .*\n)?', re.MULTILINE)


def in_cells(traceback: str, labels: Labels) -> str:
    """Returns a traceback with the notebook's names of its cells instead of their files', and with the
    source lines that only the kernel knows."""

    def named(found: re.Match[str]) -> str:
        place = labels.place(found["file"]) or f'File "{found["file"]}"'
        source = linecache.getline(found["file"], int(found["line"])).strip()
        shown = found["source"] or (f"    {source}\n" if source else "")
        return f"  {place}, line {found['line']}{found['rest']}\n{shown}"

    return _FRAME.sub(named, traceback)


def totals(snapshot: Snapshot) -> dict[str, int]:
    """Returns state → number of tasks, over all functions, counting forgotten ones too."""
    counts: dict[str, int] = {}
    for states in snapshot.groups.values():
        for state, count in states.items():
            counts[state] = counts.get(state, 0) + count
    return counts


def node_line(row: NodeRow) -> str:
    """Returns what a node of a cluster has and does, in one line."""
    name = f"{row.host or row.address} ({row.node_id[:8]})"
    if not row.alive:
        return f"{name} is dead{': ' + row.death_cause if row.death_cause else ''}"
    said = [f"{row.cpus_used:g} of {row.cpus:g} CPUs busy"]
    if row.gpus:
        said.append(f"{row.gpus_used:g} of {row.gpus:g} GPUs busy")
    if row.memory:
        said.append(f"memory {format_bytes(row.memory_used)} of {format_bytes(row.memory)}")
    said.append(f"store {format_bytes(row.store_used)} of {format_bytes(row.store)}")
    if row.spilled:
        said.append(f"{format_bytes(row.spilled)} on disk")
    roles = [role for role, has in (("head", row.head), ("this kernel", row.driver)) if has]
    return f"{name}{' [' + ', '.join(roles) + ']' if roles else ''}: {', '.join(said)}"


def status_lines(engine: DriverEngine | None) -> list[tuple[str, str]]:
    """Returns the runtime's state as (what, value) pairs: the text form of the dashboard."""
    if engine is None or not engine.alive:
        return [("raynb", "no runtime; start one with %raynb start or raynb.init()")]
    if engine.failure:
        return [("raynb", f"failed; go on with %raynb restart\n{engine.failure}")]
    picture = engine.snapshot()
    cpus = picture.total.get("CPU", 0)
    busy = cpus - picture.available.get("CPU", 0)
    # A task that got what it waited for goes on at once, also when its slot was given away meanwhile.
    resumed = f", {busy - cpus:g} more resumed" if busy > cpus else ""
    counts = totals(picture)
    ended = sum(counts.get(state, 0) for state in TASK_ENDED)
    waiting = sum(counts.values()) - ended - counts.get(RUNNING, 0)
    tasks = f"{counts.get(RUNNING, 0):,} running, {waiting:,} waiting, {counts.get('FINISHED', 0):,} finished"
    for state in ("FAILED", "CANCELLED"):
        if counts.get(state):
            tasks += f", {counts[state]:,} {state.lower()}"
    store = picture.store
    where = f"{format_bytes(store.used)} of {format_bytes(store.limit)} in {counted(store.objects, 'object')}"
    if store.spilled:
        where += f", {format_bytes(store.spilled)} on disk"
    workers = [row for row in picture.workers if not row.exit]
    alive = [row for row in picture.actors if row.state != DEAD]
    memory = format_bytes(sum(row.rss for row in workers))
    return [
        ("CPUs", f"{min(busy, cpus):g} of {cpus:g} busy{resumed}"),
        ("tasks", tasks),
        ("actors", counted(len(alive), "actor")),
        ("store", where),
        ("workers", f"{counted(len(workers), 'process', 'processes')}, {memory}"),
        *(("node", node_line(row)) for row in picture.nodes),
        *([("others", others)] if (others := kernels.others_line()) else []),
    ]


def status_text(engine: DriverEngine | None) -> str:
    """Returns the runtime's state as lines of text."""
    return "\n".join(f"{what:<8} {value}" for what, value in status_lines(engine))


def _text(done: str) -> dict[str, Any]:
    return {"text": done}


#: What the browser may ask for: name → what to do with the engine and the request.
REQUESTS: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "cancel_task": lambda e, r: _text(cancel_task(e, from_key(r["task"]), bool(r.get("force")))),
    "cancel_group": lambda e, r: _text(cancel_group(e, str(r["name"]), r.get("scope"), bool(r.get("force")))),
    "cancel_cell": lambda e, r: _text(cancel_cell(e, int(r["scope"]))),
    "cancel_all": lambda e, r: _text(cancel_all(e, bool(r.get("force")))),
    "kill_actor": lambda e, r: _text(kill_actor(e, from_key(r["actor"]))),
    "restart_actor": lambda e, r: _text(restart_actor(e, from_key(r["actor"]))),
    "stack": stack_of,
    "profile": profile_of,
    "scale": lambda e, r: _text(scale(e, int(r["cpus"]))),
    "free": lambda e, r: _text(free_object(e, from_key(r["object"]))),
    "history": lambda e, r: history(),
    "graph": lambda e, r: {"markup": r["labels"].graph() if r.get("labels") else ""},
    "detail": lambda e, r: task_detail(e, from_key(r["task"]), r.get("labels")),
}


def answer(engine: DriverEngine | None, request: dict[str, Any], labels: Labels | None = None) -> dict[str, Any]:
    """Does what a view asks for; never raises, because nobody would catch it there.

    Args:
        engine: the driver's engine, or None.
        request: ``{"do": name of the request, "n": its number, "runtime": name of the runtime that the
            view shows, ...}``. Ids count from one in every runtime, so a click on a row of a runtime
            that was restarted meanwhile would mean something else: it is refused.
        labels: the notebook's names.

    Returns:
        ``{"kind": "reply", "n", "do", "ok", "text", ...}``.
    """
    do = request.get("do")
    reply: dict[str, Any] = {"v": messages.VERSION, "kind": "reply", "n": request.get("n"), "do": do, "ok": False}
    act = REQUESTS.get(do) if isinstance(do, str) else None
    alone = WITHOUT_RUNTIME.get(do) if isinstance(do, str) else None
    if act is None and alone is None:
        known = ", ".join(sorted([*REQUESTS, *WITHOUT_RUNTIME]))
        return reply | {"text": f"This version of raynb doesn't know the request {do!r}; it knows: {known}."}
    if alone is None and (engine is None or not engine.alive):
        return reply | {"text": "No runtime is running; start one with %raynb start."}
    seen = request.get("runtime")
    if seen and engine is not None and engine.alive and seen != runtime_name(engine):
        return reply | {"text": "Nothing was done: the runtime was restarted while you looked; look again."}
    try:
        if alone is not None:
            return reply | {"ok": True, "text": ""} | alone(request)
        assert act is not None
        assert engine is not None
        return reply | {"ok": True, "text": ""} | act(engine, request | {"labels": labels})
    except KeyError as missing:
        return reply | {"text": f"The request {do!r} lacks {missing}."}
    except (ActionError, ValueError, TypeError, RayError) as error:
        return reply | {"text": short_error(str(error)) or type(error).__name__}
    except Exception as error:  # a view must hear about a bug of ours instead of waiting for ever
        return reply | {"text": f"{do} failed: {type(error).__name__}: {error}"}
