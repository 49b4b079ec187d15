"""What the cluster's workers tell the driver, written into the rows of the views."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base import ids
from raynb.base.ref import ObjectRef
from raynb.base.rows import (
    ACTOR,
    ACTOR_CREATION_TASK,
    ALIVE,
    BUSY,
    CANCELLED,
    DEAD,
    FAILED,
    IDLE,
    RESTARTING,
    RUNNING,
    TASK_ENDED,
    ActorRow,
    Output,
    TaskRow,
    WorkerRow,
)
from raynb.base.scope import UNNUMBERED
from raynb.core.tasks.unasked import KNOWN
from raynb.engine import notices
from raynb.engine.cluster import rays
from raynb.engine.cluster.bridge import Failure
from raynb.engine.logs import Logs
from raynb.engine.named_later import NamedLater
from raynb.engine.row_store import RowStore
from raynb.engine.unasked import UnaskedFailures

_now = time.monotonic
#: Seconds of difference from which on two clocks differ, and a batch was not just on its way.
SKEW_FROM = 0.25
#: Tasks whose submission was not reported yet, and of which something else was.
MAX_EARLY = 10_000
#: Seconds that a worker's word on the end of a task is waited for at the most.
REPORT_SECONDS = 2.0
#: Returns of one task that are counted.
MAX_RETURNS = 10_000
_RAYS_LOG = "ray._private.worker"


def death_cause(told: dict[str, Any]) -> str:
    """Returns why an actor died, of a row of Ray's table of actors, in a sentence."""
    cause = told.get("DeathCause")
    text = ""
    for part in ("actor_died_error_context", "creation_task_failure_context"):
        context = cause.get(part) if isinstance(cause, dict) else getattr(cause, part, None)
        if context:
            for name in ("error_message", "formatted_exception_string"):
                found = context.get(name) if isinstance(context, dict) else getattr(context, name, "")
                text = text or str(found or "")
    return text.strip().split("\n", 1)[0].split(". ", 1)[0] or "Ray ended it"


class Unheard:
    """The part of `ClusterEngine` that tells of failures that nobody asks about: in the cell, once.

    Ray tells of some of them by itself, in its log, with the frames of what runs the task: of those that are ours
    it is silenced.

    Thread contract: any thread; `task_failed` under ``_rows_lock``.
    """

    book: Any  # a RowStore that is up to date
    unasked: UnaskedFailures
    deliver: Callable[[Output], None]
    wait: Any
    _natives: dict[int, list[Any]]
    _actor_keys: dict[str, int]
    _cluster: Any
    _rows_lock: Any
    _workers: dict[str, WorkerRow]
    _unhear: Callable[[], None]

    def listen_for_failures(self) -> None:
        self._unhear = rays.hear_notices(self._noticed)
        self.unasked = UnaskedFailures(self._tell_of_failure)
        logging.getLogger(_RAYS_LOG).addFilter(_is_not_ours)

    def stop_listening(self) -> None:
        """Tells of what is still to be told."""
        self._unhear()
        self.unasked.look(over=True)
        logging.getLogger(_RAYS_LOG).removeFilter(_is_not_ours)

    def task_failed(self, row: TaskRow) -> None:
        """Takes the end of a task. Of what a task submitted, only that one's code can have asked."""
        if row.state != FAILED or row.parent or row.error_type in KNOWN:
            return
        if row.kind == ACTOR_CREATION_TASK:
            self.unasked.actor_failed(str(row.actor or row.id), row)
            return
        indices = range(1, MAX_RETURNS)
        there = itertools.takewhile(lambda index: ids.object_id(row.id, index) in self._natives, indices)
        self.unasked.task_failed(row, sum(1 for _ in there))

    def is_unasked(self, ref: ObjectRef[Any]) -> bool:
        """See `DriverEngine.is_unasked`."""
        self.wait([ref], 1, None, False)
        task, end = ids.task_of(ref._id), _now() + REPORT_SECONDS
        while (row := self.book.row("tasks", task)) is not None and row.state not in TASK_ENDED and _now() < end:
            time.sleep(0.01)
        return self.unasked.has(task)

    def asked(self, refs: Sequence[ObjectRef[Any]], error: BaseException | None = None) -> None:
        """Somebody reads the errors of these refs, or gives them to a task."""
        actor = getattr(error, "actor_id", None)
        number = self._actor_keys.get(actor, 0) if isinstance(actor, str) else 0
        for ref in refs:
            self.unasked.asked(ids.task_of(ref._id), str(number) if number else "")

    def dropped(self, identities: Sequence[int]) -> None:
        """This process names these objects no more."""
        for identity in identities:
            self.unasked.freed(ids.task_of(identity))

    def _noticed(self, text: str) -> str:
        """Says in a line, in its cell, what Ray says in a page; returns what Ray is to print instead."""
        died = notices.worker_death(text)
        if died is None:
            return notices.notice(text)
        pid, node_id, why = died
        with self._rows_lock:
            node = self._cluster.number_of(node_id)
            worker = next((one for one in self._workers.values() if (one.pid, one.node) == (pid, node)), None)
            task: TaskRow | None = self.book.row("tasks", worker.task) if worker is not None and worker.task else None
            actor: ActorRow | None = self.book.row("actors", worker.actor) if worker is not None else None
        of, scope = "", 0
        if task is not None:
            of, scope = f" of {task.name}", task.scope
        elif actor is not None:
            of, scope = f" of actor {actor.class_name}", actor.scope
        if 0 < scope < UNNUMBERED:
            of += f" (cell {scope})"
        self._tell_of_failure(f"the worker{of} with pid {pid} on {self._cluster.name_of(node)} died: {why}", scope)
        return ""

    def _tell_of_failure(self, text: str, scope: int) -> None:
        self.deliver(Output("stderr", 0, scope, 0, 0, "raynb", 0, f"raynb: {text}\n"))


def _is_not_ours(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not (text.startswith("Unhandled error") and f"{Failure.__module__}.{Failure.__name__}" in text)


class News(Unheard):
    """The part of `ClusterEngine` that listens.

    Thread contract: `_take` on the listener's thread; the rest under ``_rows_lock``.
    """

    logs_kept: Logs
    on_output: list[Callable[[Output], None]]
    _rows_lock: Any
    _workers: dict[str, WorkerRow]
    _actor_keys: dict[str, int]
    _cluster: Any
    _early: OrderedDict[int, list[Any]]
    _speaks = ""  # whose batch is being taken
    _to_here = 0.0  # what makes its clock's times this process's monotonic ones
    _open: dict[int, list[Any]]
    _new_row: Any
    _object_rows: Any
    _natives: dict[int, list[Any]]
    _book: RowStore
    _unread: deque[tuple[Any, ...]]  # what rows are to be written from, in order: a function and its arguments
    _told: dict[str, int]  # reporter → how many rows of it came
    _reading: bool
    later: NamedLater

    @property
    def book(self) -> RowStore:
        """The rows, up to date. They are written when somebody looks: a call costs nothing for them before."""
        if self._unread:
            self.read_all()
        return self._book

    def read_all(self) -> None:
        """Writes the rows of what came since somebody last looked."""
        with self._rows_lock:
            if self._reading:
                return  # this very thread is at it
            self._reading = True
            try:
                for _ in range(len(self._unread)):
                    write, *given = self._unread.popleft()
                    write(*given)
                for identity in [row.id for row in self._book.rows("objects")]:
                    if identity not in self._natives:
                        self._book.drop("objects", identity)
            finally:
                self._reading = False

    def _was_told(self, worker: str, behind: float, soon: bool, told: bytes) -> None:
        """Takes a batch of what became of tasks, to be read when somebody looks, or at once."""
        self._unread.append((self._read, worker, behind, told))
        if soon:
            self.read_all()

    def _read(self, worker: str, behind: float, told: bytes) -> None:
        before, events = pickle.loads(told)
        if before >= self._told.get(worker, 0):  # else it was sent again, by a worker that had no answer
            self._told[worker] = before + len(events)
            self._take(worker, events, behind)

    def _take(self, worker: str, events: list[Any], behind: float) -> None:
        """Writes a batch into the rows.

        Args:
            worker: the reporter's name.
            events: (kind, ...) each.
            behind: seconds that the worker's clock is behind this process's.
        """
        if abs(behind) < SKEW_FROM:
            behind = 0.0  # that is how long the batch was on its way
        handlers: dict[str, Callable[..., None]] = {
            "out": self._printed, "start": self._began, "end": self._ended, "actor": self._actor_changed,
            "submit": self._submitted_there, "hello": self._came, "machine": self._measured,
        }  # fmt: skip
        with self._rows_lock:
            self._speaks, self._to_here = worker, behind - self._book.wall
            for kind, *rest in events:
                handlers[kind](*rest)

    def _came(self, pid: int, node_id: str) -> None:
        """A worker reports for the first time. Two machines may have the same process ids: it gets a number."""
        number = len(self._workers) + 1
        row = WorkerRow(number, pid, IDLE, started=_now(), node=self._cluster.number_of(node_id))
        self._workers[self._speaks] = row
        self.book.put("workers", row)

    def _measured(self, node_id: str, cpu: float, memory: int, used: int, rss: int, share: float) -> None:
        self._cluster.machine(node_id, cpu, memory, used)
        known = self._workers.get(self._speaks)
        if known is not None:
            known.rss, known.cpu = rss, share
            self.book.put("workers", known)
            actor: ActorRow | None = self.book.row("actors", known.actor) if known.actor else None
            if actor is not None:
                actor.rss = rss
                self.book.put("actors", actor)

    def _printed(self, kind: str, task: int, texts: list[str], bundle: Any, scope: int, name: str, actor: int,
                 pid: int) -> None:  # fmt: skip
        if scope < 0:
            scope = self.later.find(scope)[1] or self._scope_of_actor(actor)
        self.deliver(Output(kind, self._number(task), scope, pid, pid, name, actor, "".join(texts), bundle))

    def _number(self, task: int) -> int:
        return task if task >= 0 else self.later.find(task)[0]

    def _scope_of_actor(self, actor: int) -> int:
        """Of what a thread says whose call ended long ago: the cell that made the actor."""
        row: ActorRow | None = self.book.row("actors", actor)
        return 0 if row is None else row.scope

    def deliver(self, output: Output) -> None:
        """Hands a task's output on (listeners only queue it)."""
        self.logs_kept.add(output)
        for listener in list(self.on_output):
            listener(output)

    def _began(self, task: int, wall: float) -> None:
        task = self._number(task)
        row: TaskRow | None = self.book.row("tasks", task)
        known = self._workers.get(self._speaks)
        if known is not None:
            known.state, known.task = BUSY, task
            self.book.put("workers", known)
        if row is None:
            self._keep_early(task, ("start", task, wall))
            return
        if row.started and row.state == RUNNING:
            row.attempt += 1  # again: its worker died, or what it raised is retried
        self._where(row, known)
        row.started = wall + self._to_here
        self._heard(task)
        if row.state not in TASK_ENDED:
            self.book.move_task(row, RUNNING)

    def _where(self, row: TaskRow, known: WorkerRow | None) -> None:
        if known is not None:
            row.worker, row.pid = known.id, known.pid
            if row.actor:
                known.actor = row.actor

    def _heard(self, task: int) -> None:
        entry = self._open.get(task)
        if entry is not None:
            entry[1] = _now()

    def _ended(self, task: int, state: str, times: tuple[float, ...], kind: str, text: str, size: int) -> None:
        known = self._workers.get(self._speaks)
        if known is not None:
            known.state, known.task = ACTOR if known.actor else IDLE, 0
            known.finished += 1
            self.book.put("workers", known)
        number, task = task, self._number(task)
        self.later.over(number)
        self._open.pop(task, None)
        row: TaskRow | None = self.book.row("tasks", task)
        if row is None:
            self._keep_early(task, ("end", task, state, times, kind, text, size))
        if row is None or row.state in (FAILED, CANCELLED):
            return
        self._where(row, known)
        row.started, row.fetched, row.ran, row.ended = (at + self._to_here for at in times)
        row.error_type, row.error, row.size = kind, text, size
        self.book.move_task(row, state)
        self._object_rows(row)
        self.task_failed(row)

    def _actor_changed(self, actor: int, state: str, pid: int, cause: str) -> None:
        row: ActorRow | None = self.book.row("actors", actor)
        if row is not None and row.state != DEAD:
            if state == ALIVE and row.state in (ALIVE, RESTARTING) and row.pid and row.pid != pid:
                row.restarts += 1
            known = self._workers.get(self._speaks) if state == ALIVE else None
            if known is not None:
                known.actor, known.state = actor, ACTOR
                row.worker = known.id
                self.book.put("workers", known)
            row.state, row.pid, row.death_cause = state, pid or row.pid, cause
            self.book.put("actors", row)
            if state == DEAD:
                for worker in self._workers.values():
                    if worker.actor == actor and not worker.exit:
                        self._worker_gone(worker, "its actor died")

    def _worker_gone(self, worker: WorkerRow, why: str) -> None:
        worker.exit, worker.task = why, 0
        self.book.put("workers", worker)

    def actors_told(self, found: dict[str, dict[str, Any]]) -> None:
        """Takes Ray's own table of actors: those that died without a word of ours."""
        with self._rows_lock:
            for key, told in found.items():
                row: ActorRow | None = self.book.row("actors", self._actor_keys.get(key, 0))
                state = told.get("State", "")
                if row is None or row.state == DEAD or state in ("", row.state):
                    continue
                if state == DEAD:
                    self._speaks = ""
                    self._actor_changed(row.id, DEAD, 0, death_cause(told))
                elif state == RESTARTING:
                    row.state = RESTARTING
                    self.book.put("actors", row)

    def nodes_told(self, dead: set[int]) -> None:
        """Takes which nodes are dead: so are their workers."""
        with self._rows_lock:
            for worker in self._workers.values():
                if worker.node in dead and not worker.exit:
                    self._worker_gone(worker, "its node died")

    def _keep_early(self, task: int, event: tuple[Any, ...]) -> None:
        """A worker reports what another one submitted, whose own report is still on its way."""
        if not task:
            return  # a call that ended long ago
        self._early.setdefault(task, []).append((self._speaks, self._to_here, event))
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)

    def _submitted_there(self, task: int, told: Any, scope: int, parent: int, actor: int, creates: bool,
                         wall: float) -> None:  # fmt: skip
        name, function, amounts = told
        if scope < 0:
            scope = self.later.find(scope)[1]
        parent = self._number(parent)
        self._new_row(task, name, function, amounts, scope, parent, actor, creates, wall + self._to_here)
        self._replay(task)

    def _replay(self, task: int) -> None:
        """Takes what was told of a task before its submission was."""
        if task not in self._early:
            return
        before = self._speaks, self._to_here
        for speaks, to_here, (kind, *rest) in self._early.pop(task, ()):
            self._speaks, self._to_here = speaks, to_here
            (self._began if kind == "start" else self._ended)(*rest)
        self._speaks, self._to_here = before
