"""The views' rows of what this driver, and the tasks and actors it started, have submitted."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from raynb.base import ids
from raynb.base.config import RESOURCE_UNIT
from raynb.base.engine import Packed
from raynb.base.process import trace
from raynb.base.ref import ObjectRef
from raynb.base.rows import (
    ACTOR_CREATION_TASK,
    ACTOR_TASK,
    ALIVE,
    FINISHED,
    MEMORY,
    NORMAL_TASK,
    PENDING_ARGS_AVAIL,
    PENDING_CREATION,
    SHARED,
    TASK_ENDED,
    ActorRow,
    ObjectRow,
    TaskRow,
    WorkerRow,
)
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.refs import Refs
from raynb.engine.row_store import RowStore

_now = time.monotonic
INLINE_MAX_BYTES = 100 * 1024  # bytes up to which Ray keeps values in memory
#: Returns of one task that are counted.
MAX_RETURNS = 10_000
#: Seconds after which no word of an ended task is expected any more: its worker has died.
WORD_SECONDS = 5.0
#: Open tasks that one look asks Ray for.
MAX_ASKED = 1000


def _write(write: Callable[..., None], *given: object) -> None:
    """Makes a queued call; its error leaves a trace: the others' rows are written, and whoever looks goes on."""
    try:
        write(*given)
    except Exception as error:
        trace.swallowed("writing a row of the views", error)


class Rows:
    """Rows, written when somebody looks.

    Args:
        refs: what this process names.
        streams: generator's task → Ray's own generator.
        kept: so many ended tasks keep their rows.

    Thread contract: any thread.
    """

    def __init__(self, refs: Refs, streams: dict[int, Any], kept: int) -> None:
        self.natives, self.named = refs.natives, refs.named
        self.lock = threading.RLock()
        self.workers: dict[str, WorkerRow] = {}  # by reporter
        self.actor_keys: dict[str, int] = {}  # Ray's id of an actor → ours
        #: Task → [native, heard of at]. Ended ones are not among them.
        self.open: dict[int, list[Any]] = {}
        #: Called with each task that was submitted here: something may have been told of it before.
        self.on_submitted: Callable[[int], None] = lambda task: None
        #: Called, under the lock, with the row of a worker that has ended, and why.
        self.worker_gone: Callable[[WorkerRow, str], None] = lambda worker, why: None
        self._streams = streams
        self._row_store = RowStore(kept)
        self._unread: deque[tuple[Any, ...]] = deque()  # what rows are to be written from, in order
        #: How many events the reports among it have: one report may have thousands.
        self.unread_events = 0
        self._reader = 0  # the thread that writes rows
        #: Tasks whose values were read, and when. A report tells more of their ends, if there is one.
        self._values_read: dict[int, float] = {}
        #: Those of them whose workers have not told yet where and when they ran.
        self.untold: dict[int, float] = {}

    @property
    def wall(self) -> float:
        """Returns the seconds to add to this process's monotonic times to get wall-clock times."""
        return self._row_store.wall

    def enqueue(self, write: Callable[..., None], *given: object) -> None:
        """Queues a call of ``write`` that is made when somebody looks, in the order of these calls.

        A function and no bound method: of the many that wait, each would be one object more for the garbage collector.
        """
        self._unread.append((write, *given))

    def unread(self) -> int:
        """Returns about how many rows are to be written once somebody looks."""
        return len(self._unread) + self.unread_events

    @property
    def row_store(self) -> RowStore:
        """Returns the rows after the queued calls are made: until somebody looks, a call costs nothing for them."""
        if self._unread and self._reader != get_ident():
            self.read_all()
        return self._row_store

    def read_all(self) -> None:
        """Writes the rows of what came since somebody last looked."""
        with self.lock:
            if self._reader:
                return  # this very thread is at it
            self._reader, self.unread_events = get_ident(), 0
            try:
                for _ in range(len(self._unread)):
                    _write(*self._unread.popleft())
                _write(self._were_read)
                for identity in [row.id for row in self._row_store.rows("objects")]:
                    if identity not in self.natives:
                        self._row_store.drop("objects", identity)
            finally:
                self._reader = 0

    def new_row(self, task: int, name: str, function: str, amounts: Any, scope: int, parent: int, actor: int,
                 creates: bool, at: float) -> None:  # fmt: skip
        """Enters the row of a submitted task."""
        kind = ACTOR_CREATION_TASK if creates else ACTOR_TASK if actor else NORMAL_TASK
        resources = {key: amount / RESOURCE_UNIT for key, amount in amounts}
        self._row_store.new_task(TaskRow(task, name, kind, PENDING_ARGS_AVAIL, scope=scope, parent=parent, actor=actor,
                                   submitted=at, resources=resources, function_name=function or name))  # fmt: skip

    def submitted(self, task: int, native: object, options: TaskOptions, actor: int, creates: bool) -> None:
        """Keeps Ray's ref of a submitted task, and queues the entry of its row."""
        now = _now()
        if native is not None:
            self.open[task] = [native, now]
        self.enqueue(Rows._was_submitted, self, task, options, current_scope(), actor, creates, now)

    def _was_submitted(self, task: int, options: TaskOptions, scope: int, actor: int, creates: bool, at: float) -> None:
        self.new_row(task, options.name, options.function_name, options.resources, scope, 0, actor, creates, at)
        self.on_submitted(task)

    def got(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Marks the tasks of values that were read as ended, whether or not their workers have reported it."""
        tasks = [ref._id >> ids.INDEX_BITS for ref in refs]
        streams, left = self._streams, self.open
        for task in tasks:
            if task not in streams:  # an item of a stream is not its end
                left.pop(task, None)
        self.enqueue(Rows._note_read, self, tasks, _now())

    def _note_read(self, tasks: list[int], at: float) -> None:
        self._values_read.update(dict.fromkeys(tasks, at))

    def _were_read(self) -> None:
        """Ends the rows of tasks whose values were read, and of which no report was among what was just written."""
        read, self._values_read = self._values_read, {}
        for task, at in read.items():
            row: TaskRow | None = self._row_store.row("tasks", task)
            if row is None or row.state in TASK_ENDED or row.kind == ACTOR_CREATION_TASK or task in self.open:
                continue
            row.ended, row.started = at, row.started or at
            self.untold[task] = at
            self._row_store.move_task(row, FINISHED)
            actor: ActorRow | None = self._row_store.row("actors", row.actor) if row.actor else None
            if actor is not None and actor.state == PENDING_CREATION:  # it has answered
                actor.state = ALIVE
                self._row_store.put("actors", actor)
            self.object_rows(row)

    def is_word_due(self) -> bool:
        """Returns whether a task has ended a short while ago and its worker has still to tell of it."""
        self.read_all()
        with self.lock:
            since = _now() - WORD_SECONDS
            self.untold = {task: at for task, at in self.untold.items() if at > since}
            if self.untold:
                return True
            left = [entry[0] for entry in itertools.islice(self.open.copy().values(), MAX_ASKED)]
        return rays.is_any_over(left)

    def object_rows(self, row: TaskRow) -> None:
        """Enters rows of a finished task's objects."""
        first = ids.object_id(row.id, 1)
        natives = self.natives
        if first not in natives and first + 1 not in natives and first + 2 not in natives:
            return  # nobody names it any more
        if row.kind == ACTOR_CREATION_TASK:
            return
        found: list[tuple[int, object, int]] = []
        left = self.named(row.id)
        for index in range(1, MAX_RETURNS):
            if len(found) >= left:
                break
            entry = self.natives.get(ids.object_id(row.id, index))
            if entry is not None:
                found.append((ids.object_id(row.id, index), *entry))
        for identity, native, count in found:
            size = row.size // len(found)
            where = SHARED if size > INLINE_MAX_BYTES else MEMORY
            self.row_store.put("objects", ObjectRow(identity, size, where, row.id, row.scope, count,
                                               error=row.state != FINISHED, hex=rays.hex_of(native)))  # fmt: skip

    def stored(self, identity: int, packed: Packed) -> None:
        """Enters the row of a put."""
        size = len(packed.data) + sum(buffer.nbytes for buffer in packed.buffers)
        self.enqueue(Rows._was_put, self, identity, size, current_scope())

    def _was_put(self, identity: int, size: int, scope: int) -> None:
        entry = self.natives.get(identity)
        where = SHARED if size > INLINE_MAX_BYTES else MEMORY
        self._row_store.put("objects", ObjectRow(identity, size, where, ids.task_of(identity), scope, 1,
                                            hex="" if entry is None else rays.hex_of(entry[0])))  # fmt: skip

    def has_actor(self, spec: ActorSpec, handle: object) -> None:
        """Enters the row of an actor that was made or found by its name."""
        with self.lock:
            self.actor_keys[bridge.actor_key(handle)] = spec.actor_id
            if self.row_store.row("actors", spec.actor_id) is None:
                self.row_store.put("actors", ActorRow(
                    spec.actor_id, spec.class_name, spec.name, spec.namespace, max_restarts=spec.max_restarts,
                    scope=current_scope(), detached=spec.lifetime == "detached"))  # fmt: skip
