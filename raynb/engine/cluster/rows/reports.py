"""Applies what the cluster's workers report to the rows of the views."""

from __future__ import annotations

import pickle
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from raynb.base import ids
from raynb.base.process import trace
from raynb.base.rows import (
    ACTOR,
    ALIVE,
    BUSY,
    CANCELLED,
    DEAD,
    FAILED,
    FINISHED,
    IDLE,
    RESTARTING,
    RUNNING,
    TASK_ENDED,
    ActorRow,
    Output,
    TaskRow,
    WorkerRow,
)
from raynb.engine.cluster.bridge import Failure
from raynb.engine.cluster.cluster_view import ClusterView
from raynb.engine.cluster.inspection.asking import ClusterInspection
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.named_later import NamedLater
from raynb.exceptions import TaskCancelledError

_now = time.monotonic
#: Seconds of difference from which on two clocks differ, and a batch was not just on its way.
SKEW_MIN_SECONDS = 0.25
#: About as many bytes a report of one task has.
EVENT_BYTES = 64
#: Tasks whose submission was not reported yet, and of which something else was.
MAX_EARLY = 10_000

#: Precedes the text of the user's error in what Ray tells of a constructor that failed.
_FAILURE = f"{Failure.__module__}.{Failure.__name__}: "


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
    reason = text.partition(_FAILURE)[2]
    if reason:  # a constructor raised it, and its worker reports the same, sooner or later than Ray
        return reason.strip()
    return text.strip().split("\n", 1)[0].split(". ", 1)[0] or "Ray ended it"


class Reports:
    """Takes what workers say.

    Thread contract: `take` and `take_rows` on the listener's thread; the rest locks the rows.
    """

    def __init__(self, rows: Rows, failed: Callable[[TaskRow], None], cluster: ClusterView,
                 deliver: Callable[[Output], None], later: NamedLater,
                 inspection: ClusterInspection) -> None:  # fmt: skip
        self._rows = rows
        self._failed = failed
        self._cluster = cluster
        self._deliver = deliver
        self._later = later
        self._inspection = inspection
        rows.on_submitted, rows.worker_gone = self._replay, self._worker_gone
        #: Says whether a task was cancelled from here; set once there is somebody who knows.
        self.is_cancelled: Callable[[int], bool] = lambda task: False
        self._early: OrderedDict[int, list[Any]] = OrderedDict()
        self._rows_taken: dict[str, int] = {}  # reporter → how many rows of it came
        self._unread: deque[bytes] = deque()  # reports that `close_ended` has not seen
        #: Tasks that failed as their workers say: Ray may try them again.
        self._raised: OrderedDict[int, None] = OrderedDict()
        self._speaks = ""  # whose batch is being taken
        self._to_here = 0.0  # what makes its clock's times this process's monotonic ones

    def take_rows(self, worker: str, behind: float, soon: bool, told: bytes) -> None:
        """Takes a batch of what became of tasks, to be read when somebody looks, or at once."""
        self._rows.enqueue(self._read, worker, behind, told)
        if soon:
            self._rows.read_all()
            return
        self._rows.unread_events += len(told) // EVENT_BYTES
        self._unread.append(told)

    def close_ended(self) -> None:
        """Takes the tasks of unread reports that have ended out of the open ones, of which values were not read.

        Else they would look silent until somebody looks.
        """
        while self._unread:
            told = self._unread.popleft()
            if self._rows.open:
                for event in pickle.loads(told)[1]:
                    if event[:1] == ("end",):
                        self._rows.open.pop(self._later.number_of(event[1]), None)

    def _read(self, worker: str, behind: float, told: bytes) -> None:
        before, events = pickle.loads(told)
        if before >= self._rows_taken.get(worker, 0):  # else it was sent again, by a worker that had no answer
            self._rows_taken[worker] = before + len(events)
            self.take(worker, events, behind)

    def take(self, worker: str, events: list[Any], behind: float) -> None:
        """Writes a batch into the rows.

        Args:
            worker: the reporter's name.
            events: (kind, ...) each.
            behind: seconds that the worker's clock is behind this process's.
        """
        if abs(behind) < SKEW_MIN_SECONDS:
            behind = 0.0  # that is how long the batch was on its way
        handlers: dict[str, Callable[..., None]] = {
            "out": self._printed, "start": self._began, "end": self._ended, "actor": self.actor_changed,
            "submit": self._submitted_there, "hello": self._came, "machine": self._measured,
            "answer": self._inspection.answered, "paused": self._paused, "cancelled": self._cancelled_there,
        }  # fmt: skip
        with self._rows.lock:
            self._speaks, self._to_here = worker, behind - self._rows.wall
            try:
                for event in events:
                    try:
                        handlers[event[0]](*event[1:])
                    except Exception as error:  # it costs its own row or text, and none of the others'
                        trace.swallowed("applying a report of a worker", error)
            finally:
                self._speaks = ""

    def _came(self, pid: int, node_id: str) -> None:
        """Enters a worker at its first report, under a number: two machines may have the same process ids."""
        number = len(self._rows.workers) + 1
        row = WorkerRow(number, pid, IDLE, started=_now(), node=self._cluster.number_of(node_id))
        self._rows.workers[self._speaks] = row
        self._rows.row_store.put("workers", row)

    def _paused(self, session: int, task: int, scope: int, *about: Any) -> None:
        known = self._rows.workers.get(self._speaks)
        if known is not None:
            scope = scope if scope >= 0 else self._later.find(scope)[1]
            self._inspection.paused(known.id, session, self._later.number_of(task), scope, *about)

    def _measured(self, node_id: str, cpu: float, memory: int, used: int, rss: int, share: float) -> None:
        self._cluster.machine(node_id, cpu, memory, used)
        known = self._rows.workers.get(self._speaks)
        if known is not None:
            self._task_measured(known, rss)
            known.rss, known.cpu = rss, share
            self._rows.row_store.put("workers", known)
            actor: ActorRow | None = self._rows.row_store.row("actors", known.actor) if known.actor else None
            if actor is not None:
                actor.rss = rss
                self._rows.row_store.put("actors", actor)

    def _task_measured(self, known: WorkerRow, rss: int) -> None:
        """Enters what the running task's worker has now; before the task it had what the last sample says."""
        row: TaskRow | None = self._rows.row_store.row("tasks", known.task) if known.task and not known.actor else None
        if row is not None and row.state == RUNNING:
            before = row.peak - row.added if row.peak else min(known.rss or rss, rss)
            row.peak = max(row.peak, rss)
            row.added = row.peak - before
            self._rows.row_store.put("tasks", row)

    def _printed(self, kind: str, task: int, texts: list[str], bundle: bytes | None, scope: int, name: str, actor: int,
                 pid: int) -> None:  # fmt: skip
        if scope < 0:
            scope = self._later.find(scope)[1] or self._scope_of_actor(actor)
        shown = pickle.loads(bundle) if bundle is not None else None
        self._deliver(Output(kind, self._later.number_of(task), scope, pid, pid, name, actor, "".join(texts), shown))

    def _scope_of_actor(self, actor: int) -> int:
        """Of what a thread says whose call ended long ago: the cell that made the actor."""
        row: ActorRow | None = self._rows.row_store.row("actors", actor)
        return 0 if row is None else row.scope

    def _began(self, task: int, wall: float) -> None:
        task = self._later.number_of(task)
        row: TaskRow | None = self._rows.row_store.row("tasks", task)
        known = self._rows.workers.get(self._speaks)
        if known is not None:
            known.state, known.task = BUSY, task
            self._rows.row_store.put("workers", known)
        if row is None:
            self._keep_early(task, ("start", task, wall))
            return
        if row.state == FAILED and task in self._raised:
            self._goes_on(row)
            row.attempt += 1
        elif row.started and row.state == RUNNING:
            row.attempt += 1  # again: its worker died, or what it raised is retried
        self._where(row, known)
        row.started = wall + self._to_here
        self._heard(task)
        if row.state not in TASK_ENDED:
            self._rows.row_store.move_task(row, RUNNING)

    def _where(self, row: TaskRow, known: WorkerRow | None) -> None:
        if known is not None:
            row.worker, row.pid = known.id, known.pid
            if row.actor:
                known.actor = row.actor

    def _heard(self, task: int) -> None:
        entry = self._rows.open.get(task)
        if entry is not None:
            entry[1] = _now()

    def _ended(self, task: int, state: str, times: tuple[float, ...], kind: str, text: str, size: int) -> None:
        rows = self._rows
        store, known = rows.row_store, rows.workers.get(self._speaks)
        if known is not None:
            known.state, known.task = ACTOR if known.actor else IDLE, 0
            known.finished += 1
            store.put("workers", known)
        number, task = task, self._later.number_of(task)
        self._later.over(number)
        rows.open.pop(task, None)
        rows.untold.pop(task, None)
        row: TaskRow | None = store.row("tasks", task)
        if row is None:
            self._keep_early(task, ("end", task, state, times, kind, text, size))
        if row is None:
            return
        if state == FINISHED and row.state == FAILED and task in self._raised:
            self._goes_on(row)  # its start came before the end of the attempt before, by another worker
            rows.open.pop(task, None)
        self._where(row, known)
        if row.state in (FAILED, CANCELLED):  # `Sweeper` has read it of its ref: here is where it ran
            row.started = row.started or times[0] + self._to_here
            store.put("tasks", row)
            return
        if state == FAILED and kind == TaskCancelledError.__name__ and self.is_cancelled(task):
            state = CANCELLED  # in a wait for a task that was cancelled with it
        add, (started, fetched, ran, ended) = self._to_here, times
        row.started, row.fetched, row.ran, row.ended = started + add, fetched + add, ran + add, ended + add
        row.error_type, row.error, row.size = kind, text, size
        store.move_task(row, state)
        rows.object_rows(row)
        if state == FAILED:
            self._raised[task] = None
            if len(self._raised) > MAX_EARLY:
                self._raised.popitem(last=False)
        self._failed(row)

    def _goes_on(self, row: TaskRow) -> None:
        """Takes the failure of a task back: what it raised is retried."""
        del self._raised[row.id]
        row.error_type, row.error, row.ended = "", "", 0.0
        entry = self._rows.natives.get(ids.object_id(row.id, 1))
        if entry is not None:
            self._rows.open[row.id] = [entry[0], _now()]
        self._rows.row_store.move_task(row, RUNNING)
        self._failed(row)  # which is none now

    def _cancelled_there(self, task: int) -> None:
        """Ends the row of a nested task that did not notice its cancellation: its worker was ended with it."""
        row: TaskRow | None = self._rows.row_store.row("tasks", task)
        if row is not None and row.state not in TASK_ENDED:
            row.ended, row.error_type = _now(), TaskCancelledError.__name__
            self._rows.row_store.move_task(row, CANCELLED)

    def actor_changed(self, actor: int, state: str, pid: int, cause: str) -> None:
        """Moves an actor's row to a state, with its process and its cause of death."""
        row: ActorRow | None = self._rows.row_store.row("actors", actor)
        if row is not None and row.state == DEAD == state and self._speaks and cause:
            row.death_cause = cause  # the worker's own word: Ray's table was read first
            self._rows.row_store.put("actors", row)
        elif row is not None and row.state != DEAD:
            if state == ALIVE and row.state in (ALIVE, RESTARTING) and row.pid and row.pid != pid:
                row.restarts += 1
            known = self._rows.workers.get(self._speaks) if state == ALIVE else None
            if known is not None:
                known.actor, known.state = actor, ACTOR
                row.worker = known.id
                self._rows.row_store.put("workers", known)
            row.state, row.pid, row.death_cause = state, pid or row.pid, cause
            self._rows.row_store.put("actors", row)
            if state == DEAD:
                for worker in self._rows.workers.values():
                    if worker.actor == actor and not worker.exit:
                        self._worker_gone(worker, "its actor died")

    def _worker_gone(self, worker: WorkerRow, why: str) -> None:
        worker.exit, worker.task = why, 0
        self._inspection.worker_gone(worker.id, why)
        self._rows.row_store.put("workers", worker)

    def apply_actors(self, found: dict[str, dict[str, Any]]) -> None:
        """Applies Ray's table of actors: some died without a report."""
        with self._rows.lock:
            for key, told in found.items():
                row: ActorRow | None = self._rows.row_store.row("actors", self._rows.actor_keys.get(key, 0))
                state = told.get("State", "")
                if row is None or row.state == DEAD or state in ("", row.state):
                    continue
                if state == DEAD:
                    self._speaks = ""
                    self.actor_changed(row.id, DEAD, 0, death_cause(told))
                elif state == RESTARTING:
                    row.state = RESTARTING
                    self._rows.row_store.put("actors", row)

    def apply_nodes(self, dead: set[int]) -> None:
        """Applies which nodes are dead, and with them their workers."""
        with self._rows.lock:
            for worker in self._rows.workers.values():
                if worker.node in dead and not worker.exit:
                    self._worker_gone(worker, "its node died")

    def _keep_early(self, task: int, event: tuple[object, ...]) -> None:
        """Keeps a report about a task whose submission another worker has not reported yet."""
        if not task:
            return  # a call that ended long ago
        self._early.setdefault(task, []).append((self._speaks, self._to_here, event))
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)

    def _submitted_there(self, task: int, told: Any, scope: int, parent: int, actor: int, creates: bool,
                         wall: float) -> None:  # fmt: skip
        name, function, amounts = told
        if scope < 0:
            scope = self._later.find(scope)[1]
        parent = self._later.number_of(parent)
        self._rows.new_row(task, name, function, amounts, scope, parent, actor, creates, wall + self._to_here)
        self._replay(task)

    def _replay(self, task: int) -> None:
        """Applies the reports that came before the task's submission."""
        if task not in self._early:
            return
        before = self._speaks, self._to_here
        try:
            for speaks, to_here, (kind, *rest) in self._early.pop(task, ()):
                self._speaks, self._to_here = speaks, to_here
                (self._began if kind == "start" else self._ended)(*rest)
        finally:
            self._speaks, self._to_here = before
