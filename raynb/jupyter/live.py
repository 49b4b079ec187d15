"""Refs and handles as a cell shows them: live lines, and what a saved notebook keeps of them.

A shown ref is a display that is updated until its task has ended; the last update is what gets
saved. The display holds the ref's number only, so showing a ref pins nothing.
"""

from __future__ import annotations

import html
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.ref import ObjectRef
from raynb.base.rows import CANCELLED, FAILED, FINISHED, RUNNING, TASK_ENDED, ObjectRow, Snapshot, TaskRow
from raynb.jupyter.fold import short_task
from raynb.jupyter.inputs import in_words
from raynb.jupyter.progress import in_seconds

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between two updates of shown refs.
INTERVAL = 0.5

_DOTS = {RUNNING: "#1a73e8", FINISHED: "#188038", FAILED: "#c5221f", CANCELLED: "#777"}


class ShownRef(ObjectRef[Any]):
    """What ``Out[n]`` keeps of a ref: the same name, uncounted, so it keeps nothing alive.

    ``get`` works as long as somebody else holds the object.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Nothing was counted, so nothing is taken back."""


def describe(task: TaskRow | None, stored: ObjectRow | None, now: float, wall: float) -> str:
    """Returns the state of a ref in words that stay true in a saved notebook.

    Args:
        task: the task that makes it; None for a put, or a task that was forgotten.
        stored: the object's row, None when it was freed.
        now: the snapshot's time.
        wall: wall-clock time at monotonic zero.
    """
    size = f", {in_words(stored.size)}" if stored is not None and stored.size else ""
    if task is None:
        if stored is None:
            return "freed"
        return f"stored{size}"
    name = f"{task.name}#{short_task(task.id)}"
    if task.state == FINISHED:
        kept = size if stored is not None else ", freed"
        return f"{name} finished in {in_seconds(task.ended - task.started)}{kept}"
    if task.state == FAILED:
        return f"{name} failed after {in_seconds(max(0.0, task.ended - task.started))}: {_first_line(task)}"
    if task.state == CANCELLED:
        return f"{name} was cancelled"
    if task.state == RUNNING:
        since = time.strftime("%H:%M:%S", time.localtime(wall + task.started))
        return f"{name} running since {since}, {in_seconds(max(0.0, now - task.started))}"
    since = time.strftime("%H:%M:%S", time.localtime(wall + task.submitted))
    what = "waiting for its inputs" if task.state == "PENDING_ARGS_AVAIL" else "queued"
    return f"{name} {what} since {since}"


def _first_line(task: TaskRow) -> str:
    text = task.error.strip().split("\n")[0][:200] or task.error_type
    return text if not task.error_type or text.startswith(task.error_type) else f"{task.error_type}: {text}"


def bundle_of(text: str, state: str, code: str) -> dict[str, str]:
    """Returns a ref's line as a mime bundle."""
    colour = _DOTS.get(state, "#b06000")
    markup = (
        f'<div class="raynb-ref" style="font:13px/1.6 system-ui,sans-serif">'
        f'<span aria-hidden="true" style="color:{colour}">●</span> '
        f"<code>ObjectRef</code> {html.escape(text)} "
        f'<small style="opacity:.6">{html.escape(code)}</small></div>'
    )
    return {"text/plain": f"ObjectRef({text})", "text/html": markup}


@dataclass(slots=True)
class _Line:
    object_id: int
    nonce: int
    scope: int
    display_id: str
    last: str = ""


class LiveLines:
    """Keeps shown refs up to date until their tasks have ended.

    Thread contract: `show` from any thread; one thread of ours updates, and exists only while a
    shown ref's task is unfinished.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._lines: list[_Line] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False

    def install(self) -> None:
        """Takes over how refs are displayed in this shell."""
        formatter = self.notebook.shell.display_formatter.ipython_display_formatter
        formatter.for_type(ObjectRef, self.show)
        formatter.for_type(ShownRef, self.show)
        self.notebook.cells.on_end.append(self._unpin)
        self.notebook.at_rest.append(self.refresh)

    def uninstall(self) -> None:
        formatter = self.notebook.shell.display_formatter.ipython_display_formatter
        for kind in (ObjectRef, ShownRef):
            formatter.type_printers.pop(kind, None)
        self._stopped = True
        if self.refresh in self.notebook.at_rest:
            self.notebook.at_rest.remove(self.refresh)
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def show(self, ref: ObjectRef[Any]) -> None:
        """Displays a ref, and follows it if it isn't ready."""
        notebook = self.notebook
        notebook.router.drain()
        engine: Any = engines.peek()
        if engine is None or engine.nonce != ref._engine.nonce:
            text, state, live = "its runtime is gone; run the cell that made it again", "", False
        else:
            text, state, live = self._look(engine.snapshot(), ref._id)
        line = _Line(
            ref._id,
            ref._engine.nonce,
            notebook.scope,
            f"raynb-ref-{id(self):x}-{ref._id:x}-{time.monotonic_ns():x}",
        )
        line.last = text
        bundle = {
            "data": bundle_of(text, state, ref.hex()),
            "metadata": {},
            "transient": {"display_id": line.display_id},
        }
        notebook.shell.display_pub.publish(bundle["data"], {}, transient=bundle["transient"])
        if live and getattr(notebook.shell, "kernel", None) is not None:
            self._follow(line)

    def _follow(self, line: _Line) -> None:
        with self._lock:
            self._lines.append(line)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="raynb-refs", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while not self._stopped:
            self._wake.wait(INTERVAL)
            with self._lock:
                lines = list(self._lines)
                if not lines:
                    self._thread = None
                    return
            engine = engines.peek()
            ended = [line for line in lines if not self._update(engine, line)]
            with self._lock:
                self._lines = [line for line in self._lines if line not in ended]

    def refresh(self) -> None:
        """Brings every followed line up to date now: the last moment at which a saved notebook takes it."""
        engine = engines.peek()
        with self._lock:
            lines = list(self._lines)
        ended = [line for line in lines if not self._update(engine, line)]
        with self._lock:
            self._lines = [line for line in self._lines if line not in ended]

    def _update(self, engine: Any, line: _Line) -> bool:
        """Updates one line; returns whether it goes on."""
        if engine is None or engine.nonce != line.nonce:
            text, state, live = "its runtime is gone; run the cell that made it again", "", False
        else:
            text, state, live = self._look(engine.snapshot(), line.object_id)
        if text != line.last or not live:
            line.last = text
            code = ids.to_hex(line.object_id, line.nonce, ids.OBJECT_HEX)
            bundle = {
                "data": bundle_of(text, state, code),
                "metadata": {},
                "transient": {"display_id": line.display_id},
            }
            self.notebook.router.show_rich(line.scope, "update_display", bundle)
        return live

    @staticmethod
    def _look(picture: Snapshot, object_id: int) -> tuple[str, str, bool]:
        """Returns (words, state, whether it will change)."""
        made_by = ids.task_of(object_id)
        task = next((row for row in picture.tasks if row.id == made_by), None)
        stored = next((row for row in picture.objects if row.id == object_id), None)
        text = describe(task, stored, picture.now, picture.wall)
        state = task.state if task is not None else FINISHED
        return text, state, state not in TASK_ENDED

    def _unpin(self, cell: Any, result: Any) -> None:
        """Lets ``Out[n]`` and ``_n`` name a shown ref without keeping its data alive."""
        namespace = self.notebook.shell.user_ns
        number = getattr(result, "execution_count", None)
        outputs = namespace.get("Out")
        value = outputs.get(number) if isinstance(outputs, dict) else None
        if type(value) is not ObjectRef:
            return
        shown = ShownRef(value._id, value._engine)
        outputs[number] = shown
        for place in (namespace, self.notebook.shell.user_ns_hidden):
            if place.get(f"_{number}") is value:
                place[f"_{number}"] = shown
        if getattr(result, "result", None) is value:
            result.result = shown
