"""Refs and handles as a cell shows them: live lines, and what a saved notebook keeps of them.

A shown ref is a display that is updated until its task has ended, a shown handle until its actor has;
the last update is what gets saved. The display holds numbers only, so showing pins nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynb.api.actor import ActorHandle
from raynb.api.definitions import redefined
from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.interfaces import DriverEngine
from raynb.base.ref import ObjectRef, is_ref
from raynb.base.rows import DEAD, FINISHED, TASK_ENDED, ActorRow, ObjectRow, Snapshot, TaskRow
from raynb.exceptions import RuntimeGoneError
from raynb.jupyter.formatting import at, bundle_of, describe, describe_actor, gone
from raynb.jupyter.output.displays import live
from raynb.jupyter.output.displays import shown as displays
from raynb.jupyter.output.shown import ShownHandle, ShownRef, uncounted

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

#: Seconds between two updates of shown refs.
INTERVAL_SECONDS = 0.5

#: Lines that are kept live at once; of more, the oldest stay as they are.
MAX_LIVE_LINES = 200

_KINDS = (ObjectRef, ShownRef, ActorHandle, ShownHandle)


@dataclass(slots=True)
class _Line:
    """One display: which ref or actor it shows, and the rows that say how that one is."""

    nonce: int
    scope: int
    display_id: str
    code: str
    object_id: int = 0
    actor_id: int = 0
    class_name: str = ""
    task: TaskRow | None = None
    stored: ObjectRow | None = None
    actor: ActorRow | None = None
    kind: str = ""  # the name of the value's type
    last: str = ""

    def look(self, engine: DriverEngine, why: Callable[[int], str]) -> tuple[str, str, bool]:
        """Takes the rows of what it shows; returns (text, state, whether they will change).

        Args:
            why: task → why what it has made is stale.
        """
        if self.actor_id:
            picture = engine.rows(actors=(self.actor_id,))
        else:
            picture = engine.rows(tasks=(ids.task_of(self.object_id),), objects=(self.object_id,))
            self.task = picture.tasks[0] if picture.tasks else self.task
            self.stored = picture.objects[0] if picture.objects else None
            if self.task is None or self.task.state == FINISHED:
                self.kind = engine.kinds((self.object_id,)).get(self.object_id, "")
            if self.task is not None and self.task.actor:
                picture.actors = engine.rows(actors=(self.task.actor,)).actors
        self.actor = picture.actors[0] if picture.actors else self.actor
        return self.words(picture, why(ids.task_of(self.object_id)))

    def words(self, picture: Snapshot, stale: str = "") -> tuple[str, str, bool]:
        """Returns (text, state, whether they will change)."""
        if self.actor_id:
            text = describe_actor(self.actor, self.class_name, redefined)
            state = self.actor.state if self.actor is not None else DEAD
            return text, state, state != DEAD
        # A constructor and a method call are both the class's code.
        class_key = self.actor.definition if self.actor is not None else ""
        text = describe(self.task, self.stored, picture.now, picture.wall, redefined, class_key, stale, self.kind)
        state = self.task.state if self.task is not None else FINISHED
        return text, state, state not in TASK_ENDED

    def bundle(self, text: str, state: str, goes_on: bool) -> dict[str, Any]:
        """Returns the display.

        Args:
            text: what is said of it.
            state: of its task or actor; empty: its runtime is gone.
            goes_on: whether that will change.
        """
        kind = "Actor" if self.actor_id else "ObjectRef"
        if self.actor_id and state:
            text = at(text, time.time())
        end = gone(text) if goes_on else ""
        mark = live(self.display_id, goes_on, text, end, kind=kind, state=state, code=self.code)
        data = {**bundle_of(text, state, self.code, kind), **mark}
        return {"data": data, "metadata": {}, "transient": {"display_id": self.display_id}}


class LiveLines:
    """Keeps shown refs and handles up to date until they have ended.

    Thread contract: `show` from any thread; one thread of ours updates, and exists only while
    something shown can change.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._lines: list[_Line] = []
        self._ended: deque[_Line] = deque(maxlen=MAX_LIVE_LINES)  # whose results may still become stale
        self._lock = threading.Lock()  # guards the lines
        self._updating = threading.Lock()  # one update at a time
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False

    def install(self) -> None:
        """Replaces how refs and handles are displayed in this shell."""
        formatter = self.notebook.shell.display_formatter.ipython_display_formatter
        for kind in _KINDS:
            formatter.for_type(kind, self.show)
        self.notebook.cells.on_end.append(self._unpin)
        self.notebook.at_rest.append(self.refresh)
        self.notebook.lineage.on_change.append(self.look_again)

    def uninstall(self) -> None:
        """Restores the display of refs and handles, and stops updating."""
        formatter = self.notebook.shell.display_formatter.ipython_display_formatter
        for kind in _KINDS:
            formatter.type_printers.pop(kind, None)
        self._stopped = True
        if self.refresh in self.notebook.at_rest:
            self.notebook.at_rest.remove(self.refresh)
        if self.look_again in self.notebook.lineage.on_change:
            self.notebook.lineage.on_change.remove(self.look_again)
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self.refresh()

    def show(self, value: ObjectRef[object] | ActorHandle) -> None:
        """Displays a ref or a handle, and follows it while it can change."""
        notebook = self.notebook
        notebook.router.drain()
        line = self._line(value)
        engine = engines.driver()
        text, state, goes_on = gone(), "", False
        if engine is not None and engine.nonce == line.nonce:
            notebook.lineage.refresh()
            text, state, goes_on = line.look(engine, notebook.lineage.why)
        line.last = text
        bundle = line.bundle(text, state, goes_on)
        displays.record(bundle)
        notebook.shell.display_pub.publish(bundle["data"], {}, transient=bundle["transient"])
        if getattr(notebook.shell, "kernel", None) is not None:
            if goes_on:
                self._follow(line)
            else:
                self._ended.append(line)

    def _line(self, value: ObjectRef[object] | ActorHandle) -> _Line:
        name = f"raynb-ref-{id(self):x}-{time.monotonic_ns():x}"
        scope = self.notebook.scope
        if isinstance(value, ObjectRef):
            return _Line(value._engine.nonce, scope, name, value.hex(), object_id=value._id)
        spec = value._ray_spec
        nonce = value._ray_ref._engine.nonce
        code = value._actor_id.hex()
        return _Line(nonce, scope, name, code, actor_id=spec.actor_id, class_name=spec.class_name)

    def _follow(self, line: _Line) -> None:
        with self._lock:
            self._lines.append(line)
            del self._lines[:-MAX_LIVE_LINES]
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._serve, name="raynb-refs", daemon=True)
                thread.start()
                self._thread = thread  # only now: where no thread can be made, the next one tries again

    def _serve(self) -> None:
        while not self._stopped:
            self._wake.wait(INTERVAL_SECONDS)
            with self._lock:
                if not self._lines:
                    self._thread = None
                    return
            self.refresh()

    def refresh(self) -> None:
        """Brings every followed line up to date now: the last moment at which a saved notebook takes it."""
        with self._updating:
            with self._lock:
                lines = list(self._lines)
            engine = engines.driver()
            ended = [line for line in lines if not self._update(line, engine)]
            with self._lock:
                self._lines = [line for line in self._lines if line not in ended]
                self._ended.extend(ended)

    def look_again(self) -> None:
        """Brings the lines whose tasks have ended up to date: another result is stale than before."""
        with self._updating:
            engine = engines.driver()
            for line in tuple(self._ended):
                if engine is not None and engine.nonce == line.nonce:
                    self._update(line, engine)

    def _update(self, line: _Line, engine: DriverEngine | None) -> bool:
        """Updates one line; returns whether it goes on."""
        text, state, goes_on = gone(line.last), "", False
        if engine is not None and engine.nonce == line.nonce:
            try:
                text, state, goes_on = line.look(engine, self.notebook.lineage.why)
            except RuntimeGoneError:  # it was shut down in this moment
                pass
        if text != line.last:
            line.last = text
            self.notebook.router.show_rich(line.scope, "update_display", line.bundle(text, state, goes_on))
        return goes_on

    def _unpin(self, cell: object, result: Any) -> None:
        """Makes ``Out[n]`` and ``_n`` name what was shown without keeping it alive."""
        namespace = self.notebook.shell.user_ns
        number = getattr(result, "execution_count", None)
        outputs = namespace.get("Out")
        value = outputs.get(number) if isinstance(outputs, dict) else None
        if value is None or not (is_ref(value) or type(value) is ActorHandle):
            return
        shown = uncounted(value)
        outputs[number] = shown
        for place in (namespace, self.notebook.shell.user_ns_hidden):
            if place.get(f"_{number}") is value:
                place[f"_{number}"] = shown
        if getattr(result, "result", None) is value:
            result.result = shown
