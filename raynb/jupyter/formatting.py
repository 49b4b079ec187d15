"""Formats numbers, ids, errors, refs and handles as text.

The words stay true in a saved notebook: nothing "is running", it has been since a time of day.
"""

from __future__ import annotations

import difflib
import html
import time
from collections.abc import Callable, Iterable
from typing import Any

from raynb.base import ids
from raynb.base.rows import (
    ALIVE,
    CANCELLED,
    DEAD,
    FAILED,
    FINISHED,
    RESTARTING,
    RUNNING,
    SPILLED,
    ActorRow,
    ObjectRow,
    TaskRow,
)
from raynb.base.text import printable

#: An error's text in a row; the whole is fetched when somebody looks at the task.
ERROR_CHARS = 200
GONE = "its runtime is gone; run the cell that made it again"


def gone(last: str = "") -> str:
    """Returns the text for a ref or a handle whose runtime is gone.

    Args:
        last: its text before.
    """
    return f"{last} when last seen; {GONE}" if last else GONE


_GREEN, _RED = "#188038", "#c5221f"
_DOTS = {
    RUNNING: "#1a73e8", FINISHED: _GREEN, FAILED: _RED, CANCELLED: "#777", ALIVE: _GREEN, DEAD: _RED,
}  # fmt: skip


def memory_added(peak: int, added: int) -> str:
    """Returns the memory that a task added at its peak, as ``+1.5 MB``; nothing if it was too short to be sampled."""
    return f"+{format_bytes(added)}" if peak else ""


def format_bytes(size: int) -> str:
    """Returns a size for people, in powers of 1000: ``1.5 MB``."""
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def short_task(task: int) -> str:
    """Returns a task's number as people see it: ``12``, or ``3.12`` for one that worker 3 submitted.

    On a cluster every process has a large random number: of the others' its last digits are shown.
    """
    # The counter's highest bit only marks calls of actors.
    process, counter = ids.process_of(task), task & ((1 << (ids.COUNTER_BITS - 1)) - 1)
    if process in ids.homes:
        return str(counter)
    return f"{process % 10_000}.{counter}"


def format_seconds(seconds: float) -> str:
    """Returns a time for people: ``80 µs``, ``2.4 ms``, ``240 ms``, ``4.2 s``, ``18 s``, ``2 min 5 s``, ``1 h 12 min``.

    The views say it the same way (`labextension/src/ui/format.ts`).
    """
    if seconds <= 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.00995 else f"{seconds * 1e3:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def format_number(number: float) -> str:
    """Returns a rate for people: ``1,200``, ``85``, ``3.1``, ``0.25``."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def counted(count: int, one: str, many: str = "") -> str:
    """Returns ``"1 task"`` or ``"3 tasks"``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short_error(text: str, kind: str = "") -> str:
    """Returns the line of a traceback that names the error, cut to a row's length.

    Args:
        text: the traceback, or only its last lines.
        kind: name of the error's class; without it, the last line is taken.
    """
    if not text:
        return kind
    lines = text.rstrip().split("\n")
    line = lines[-1].strip()
    if kind:
        for candidate in reversed(lines):
            if candidate.partition(":")[0].rpartition(".")[2] == kind:
                line = candidate.strip()
                break
    return line if len(line) <= ERROR_CHARS else line[: ERROR_CHARS - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ``" (did you mean 'dashboard'?)"`` for a word that is near a known one, else nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


#: Ray's states in words, as the views say them (`labextension/src/ui/words.ts`).
STATE_WORDS = {
    "FINISHED": "finished", "RUNNING": "running", "SUBMITTED_TO_WORKER": "sent to worker",
    "PENDING_NODE_ASSIGNMENT": "queued", "PENDING_ARGS_AVAIL": "waiting for inputs", "CANCELLED": "cancelled",
    "FAILED": "failed", "DEPENDENCIES_UNREADY": "waiting for inputs", "PENDING_CREATION": "starting",
    "ALIVE": "alive", "RESTARTING": "restarting", "DEAD": "dead", "STARTING": "starting", "IDLE": "idle",
    "BUSY": "busy", "BLOCKED": "waiting in get", "ACTOR": "actor", "EXITED": "ended",
}  # fmt: skip

#: Where an object is, in words.
PLACE_WORDS = {
    "pending": "not made yet", "memory": "in memory", "shared": "in shared memory", "spilled": "on disk",
    "lost": "lost",
}  # fmt: skip


def dot(state: str) -> str:
    """Returns the coloured dot of a state, as HTML."""
    return f'<span aria-hidden="true" style="color:{_DOTS.get(state, "#b06000")}">●</span>'


def describe(
    task: TaskRow | None,
    stored: ObjectRow | None,
    now: float,
    wall: float,
    redefined: Callable[[str], str] | None = None,
    class_key: str = "",
    stale: str = "",
    kind: str = "",
) -> str:
    """Returns the state of a ref.

    Args:
        task: the task that makes it; None for a put, or a task that was forgotten.
        stored: the object's row, None when it was freed.
        now: the snapshot's time.
        wall: wall-clock time at monotonic zero.
        redefined: key of a definition → the name that means something else by now, or ``""``.
        class_key: key of the class, when it is a call of an actor.
        stale: why the result is no longer true; empty: it is, or nobody knows.
        kind: the name of the value's type; empty: nobody knows.
    """
    text = _ref_state(task, stored, now, wall, kind)
    name = redefined(class_key or task.function) if redefined is not None and task is not None else ""
    if stale and not (name and stale.startswith(f"`{name}` was redefined")):
        return f"{text}; stale: {stale}"
    if not name:
        return text
    what = "the class" if class_key else "the function"
    since = f"stale since {stale.rpartition(' in ')[2]}: " if " in " in stale else ""
    return f"{text}; {since}{what} {name} was redefined since, this is the old code's"


def _ref_state(task: TaskRow | None, stored: ObjectRow | None, now: float, wall: float, kind: str) -> str:
    size = f", {kind}" if kind else ""
    size += f", {format_bytes(stored.size)}" if stored is not None and stored.size else ""
    if stored is not None and stored.where == SPILLED:
        size += ", on disk"
    if task is None:
        return f"stored{size}" if stored is not None else "freed"
    name = f"{task.name}#{short_task(task.id)}"
    if task.state == FINISHED:
        kept = size if stored is not None else ", freed"
        return f"{name} finished in {format_seconds(task.ended - task.started)}{kept}"
    if task.state == FAILED:
        why = short_error(task.error, task.error_type)
        return f"{name} failed after {format_seconds(max(0.0, task.ended - task.started))}: {why}"
    if task.state == CANCELLED:
        return f"{name} was cancelled"
    if task.state == RUNNING:
        since = clock(wall + task.started)
        return f"{name} running since {since}, {format_seconds(max(0.0, now - task.started))}"
    what = "waiting for its inputs" if task.state == "PENDING_ARGS_AVAIL" else "queued"
    return f"{name} {what} since {clock(wall + task.submitted)}"


_ACTOR_STATES = {ALIVE: "alive", RESTARTING: "restarting"}


def describe_actor(row: ActorRow | None, class_name: str, redefined: Callable[[str], str]) -> str:
    """Returns the state of an actor, without the time at which it was so.

    Args:
        row: the actor's row, None when it is no longer known.
        class_name: of the handle.
        redefined: key of a definition → the name that means something else by now, or ``""``.
    """
    if row is None:
        return f"{class_name} has ended"
    name = f"{class_name} {row.name!r}" if row.name else class_name
    renewed = redefined(row.definition)
    old = f"; the class {renewed} was redefined since, this actor has the old code" if renewed else ""
    restarts = counted(row.restarts, "restart")
    if row.state == DEAD:
        why = row.death_cause.strip().split("\n")[0][:200]
        after = f" after {restarts}" if row.restarts else ""
        return f"{name} is dead{after}{f': {why}' if why else ''}{old}"
    state = _ACTOR_STATES.get(row.state, "starting")
    if row.restarts or row.max_restarts:
        most = "∞" if row.max_restarts < 0 else str(row.max_restarts)
        restarts = f"{row.restarts} of {most} restarts"
    process = f", pid {row.pid}" if row.pid and row.state == ALIVE else ""
    return f"{name} {state}, {counted(row.pending, 'call')} pending, {restarts}{process}{old}"


def short_code(code: str) -> str:
    """Returns the last digits of an id, which tell two apart; the whole is in a tooltip."""
    return f"…{code[-8:]}" if len(code) > 8 else code


def clock(when: float) -> str:
    """Returns a time of day."""
    return time.strftime("%H:%M:%S", time.localtime(when))


def at(text: str, when: float) -> str:
    """Returns a text with the time of day at which it was true."""
    return f"{text} (at {clock(when)})"


def picture_or_text(picture: str, text: str) -> str:
    """Returns a picture as HTML, with the text that stands in for it where a page takes SVG and styles out.

    JupyterLab does so in a notebook that is not trusted, GitHub in all: they leave a heap of the SVG's words.

    Args:
        picture: HTML with the picture and all that belongs to it alone.
        text: plain text that says the same.
    """
    # hidden="" would be taken out, too.
    return (
        "<style>.raynb-picture[hidden]{display:block!important}.raynb-text{display:none}</style>"
        f'<div class="raynb-picture" hidden="hidden">{picture}</div><pre class="raynb-text">{html.escape(text)}</pre>'
    )


def bundle_of(text: str, state: str, code: str, kind: str = "ObjectRef") -> dict[str, Any]:
    """Returns a ref's or a handle's line as a mime bundle."""
    short = short_code(code)
    markup = (
        f'<div class="raynb-ref" style="font:13px/1.6 system-ui,sans-serif">'
        f"{dot(state)} <code>{kind}</code> {html.escape(text)} "
        f'<small style="opacity:.7" title="{html.escape(code)}">{html.escape(short)}</small></div>'
    )
    return {"text/plain": f"{kind}({printable(text)})", "text/html": markup}
