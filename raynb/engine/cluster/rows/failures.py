"""Failures on the cluster that nobody asks about."""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from raynb.base import ids
from raynb.base.ref import ObjectRef
from raynb.base.rows import ACTOR_CREATION_TASK, FAILED, RUNNING, TASK_ENDED, ActorRow, Output, TaskRow
from raynb.base.scope import UNNUMBERED
from raynb.core.tasks.unasked import KNOWN
from raynb.engine import notices
from raynb.engine.cluster import rays
from raynb.engine.cluster.bridge import Failure
from raynb.engine.cluster.cluster_view import ClusterView
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.unasked import UnaskedFailures

_now = time.monotonic
#: Seconds that a worker's word on the end of a task is waited for at the most.
REPORT_SECONDS = 2.0
_RAYS_LOG = "ray._private.worker"
#: Begins Ray's text about a task whose worker died.
CRASH = "The worker died unexpectedly while executing this task"


class UnheardFailures:
    """Reports failures that nobody asks about, once, in the cell.

    Ray logs some of them itself, with the frames of the code that runs the task; for raynb's tasks that log is
    silenced.

    What Ray prints of the cluster's workers goes by here too: a page of its own becomes a line in the cell.

    Thread contract: any thread; `task_failed` under the rows' lock.
    """

    def __init__(self, rows: Rows, cluster: ClusterView, deliver: Callable[[Output], None]) -> None:
        self._rows = rows
        self._cluster = cluster
        self._deliver = deliver
        self._unasked = UnaskedFailures(self.report)
        # One of its own: of two runtimes in one process, the first to end would take the other's away.
        self._deaths_told: deque[bool] = deque(maxlen=1)  # not empty: notices come here, so each death is told of
        self._nameless: set[str] = set()  # namespaces without a name that were told of
        self._filter = functools.partial(_is_not_ours, self._deaths_told)
        logging.getLogger(_RAYS_LOG).addFilter(self._filter)
        self._unhear = rays.hear_notices(self._noticed)

    def look(self) -> None:
        """Reports the failures that nobody has asked about in time."""
        self._unasked.look()

    def stop_listening(self) -> None:
        """Reports the failures that are left, and ends."""
        self._unasked.look(over=True)
        rays.show_held()
        logging.getLogger(_RAYS_LOG).removeFilter(self._filter)
        self._unhear()

    def task_failed(self, row: TaskRow) -> None:
        """Enters a failed task. Failures of nested tasks are left to the code that submitted them."""
        if row.state == RUNNING:
            self._unasked.retried(row.id)
        if row.state != FAILED or row.parent or row.error_type in KNOWN:
            return
        if row.kind == ACTOR_CREATION_TASK:
            self._unasked.actor_failed(str(row.actor or row.id), row)
            return
        # It is reported when none of its returns is named, however many were: they go while this thread looks.
        named = self._rows.named
        self._unasked.task_failed(row, min(named(row.id), 1))
        if not named(row.id):  # another thread let go of them meanwhile: `dropped` knew of no failure yet
            self._unasked.freed(row.id)

    def is_unasked(self, ref: ObjectRef[object]) -> bool:
        """See `DriverEngine.is_unasked`."""
        ref._engine.wait([ref], 1, None, False)
        task, end = ids.task_of(ref._id), _now() + REPORT_SECONDS
        rows = self._rows
        while (row := rows.row_store.row("tasks", task)) is not None and row.state not in TASK_ENDED and _now() < end:
            time.sleep(0.01)
        return self._unasked.has(task)

    def asked(self, refs: Sequence[ObjectRef[object]], error: BaseException | None = None) -> None:
        """Marks failures as asked about: their errors are read, or given to a task."""
        actor = getattr(error, "actor_id", None)
        number = self._rows.actor_keys.get(actor, 0) if isinstance(actor, str) else 0
        for ref in refs:
            self._unasked.asked(ids.task_of(ref._id), str(number) if number else "")

    def dropped(self, identities: Sequence[int]) -> None:
        """Reports failures whose objects this process names no more."""
        if self._unasked.are_open():
            for identity in identities:
                task = ids.task_of(identity)
                if not self._rows.named(task):
                    self._unasked.freed(task)

    def report(self, text: str, scope: int) -> None:
        """Shows a line of raynb's in the cell of a scope."""
        self._deliver(Output("stderr", 0, scope, 0, 0, "raynb", 0, f"raynb: {text}\n"))

    def _noticed(self, text: str, only_known: bool) -> str | None:
        """Shows a notice of Ray's as one line in its cell; returns what Ray is to print instead.

        Args:
            text: the notice.
            only_known: leave it alone, and return None, unless a worker has died that this runtime knows.
        """
        died = notices.worker_death(text)
        if died is None:
            again = notices.retried(text)
            if again is not None:
                return self._tried_again(*again, only_known)
            return None if only_known else self._of_the_cluster(text)
        self._deaths_told.append(True)
        pid, node_id, why = died
        rows = self._rows
        with rows.lock:
            rows.read_all()  # the worker's first reports may be unread
            node = self._cluster.number_of(node_id)
            known = reversed(rows.workers.values())  # the latest: process ids are used again
            worker = next((one for one in known if (one.pid, one.node) == (pid, node)), None)
            if worker is None and only_known:
                return None
            running = worker.task if worker is not None else 0
            task: TaskRow | None = rows.row_store.row("tasks", running) if running else None
            actor: ActorRow | None = rows.row_store.row("actors", worker.actor) if worker is not None else None
            if worker is not None:
                rows.worker_gone(worker, why)
        of, scope = "", 0
        if task is not None:
            of, scope = f" of {task.name}", task.scope
        elif actor is not None:
            of, scope = f" of actor {actor.class_name}", actor.scope
        if 0 < scope < UNNUMBERED:
            of += f" (cell {scope})"
        self.report(f"the worker{of} with pid {pid} on {self._cluster.name_of(node)} died: {why}", scope)
        return ""

    def _of_the_cluster(self, text: str) -> str:
        """Says in a line what a notice says that concerns all of the program; returns what Ray is to print instead."""
        dead, count, namespace = notices.node_death(text), notices.recovering(text), notices.nameless(text)
        if dead is not None:
            node_id, why = dead
            self.report(f"{self._cluster.name_of(self._cluster.number_of(node_id))} is dead: {why}", 0)
        elif count is not None:
            many = "an object of this program was" if count == 1 else f"{count} objects of this program were"
            self.report(f"{many} lost: Ray takes another copy, or runs again the task that made it, as often as its "
                        "max_retries allows", 0)  # fmt: skip
        elif namespace is not None:
            if namespace not in self._nameless:  # it is the same for all of this program's actors
                self._nameless.add(namespace)
                self.report("this program's detached actors outlive it in a namespace that nobody has named: another "
                            f"program finds them by get_actor(name, namespace={namespace!r}). To name one, give the "
                            "actor namespace=, or start with init(namespace=...), c.Raynb.namespace", 0)  # fmt: skip
        else:
            return notices.notice(text)
        return ""

    def _tried_again(self, name: str, left: str, only_known: bool) -> str | None:
        """Shows that a task is tried again, in its cell if it is one of this runtime's."""
        rows = self._rows
        with rows.lock:
            mine: list[TaskRow] = rows.row_store.rows("tasks", lambda row: row.id in rows.open)
            named = [row for row in mine if name in (row.name, row.function_name.rpartition(".")[2])]
        if not named and only_known:
            return None
        scopes = {row.scope for row in named}
        scope = scopes.pop() if len(scopes) == 1 else 0
        self.report(f"{name} failed and is tried again, at most {left}", scope)
        return ""


def _is_not_ours(deaths_told: Sequence[bool], record: logging.LogRecord) -> bool:
    """Returns whether Ray's log is to say it: raynb tells of its own failures, and of each worker that died."""
    text = record.getMessage()
    if not text.startswith("Unhandled error"):
        return True
    return f"{Failure.__module__}.{Failure.__name__}" not in text and not (deaths_told and CRASH in text)
