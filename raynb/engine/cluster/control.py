"""Cancelling, and functions for every worker: what a person at the notebook does to running tasks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray import exceptions as theirs

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.base.rows import TASK_ENDED, TaskRow
from raynb.base.scope import UNNUMBERED
from raynb.base.spec import TaskOptions
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.cluster_view import ClusterView
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.cluster.side import Shared
from raynb.engine.cluster.submission import Submission
from raynb.exceptions import ObjectLostError, RayActorError, RayTaskError, TaskCancelledError

_now = time.monotonic
MAX_CANCELLED = 10_000  # cancelled tasks that are remembered


class ClusterControls:
    """Cancels tasks, and adds to errors what the driver knows.

    Thread contract: any thread.
    """

    def __init__(self, shared: Shared, submission: Submission, rows: Rows, cluster: ClusterView, grace: float,
                 say: Callable[[str, int], None]) -> None:  # fmt: skip
        """``grace``: seconds until a cancelled task that does not notice ends with its worker; ``say`` shows a line in
        the cell of a scope."""
        self._shared = shared
        self._engine = shared.engine
        self._submission = submission
        self._streams = submission.streams
        self._rows = rows
        self._cluster = cluster
        self._grace = grace
        self._say = say
        self._cancel_deadlines: dict[int, float] = {}  # cancelled task → when its worker is killed
        self._sent_again: set[int] = set()  # those of actors, whose cancel went out a second time
        self._cancelled: OrderedDict[int, None] = OrderedDict()  # of the latest
        self._blobs: dict[str, bytes] = {}  # definitions: functions for every worker are made of them

    def forget(self) -> None:
        """Releases what the parts hold, at the end of the engine."""
        self._cancel_deadlines.clear()
        self._sent_again.clear()

    def defined(self, key: str, blob: bytes) -> None:
        """Keeps a definition, for setups that every worker runs."""
        self._blobs[key] = blob

    def cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels a task; one that does not notice ends with its worker after `Config.cancel_grace` seconds."""
        task = ids.task_of(ref._id)
        self._record_cancelled(task)
        self._submission.cancel(ref, force, recursive)
        if task in self._rows.open:
            self._cancel_deadlines[task] = _now() + self._grace

    def _record_cancelled(self, task: int) -> None:
        self._cancelled[task] = None
        if len(self._cancelled) > MAX_CANCELLED:
            self._cancelled.popitem(last=False)

    def was_cancelled(self, error: BaseException, task: int) -> bool:
        """Returns whether the error of a task only tells where its cancellation met it.

        That may be in Ray's own code around the task's, and what Ray raises then says anything; or in a wait for a task
        that was cancelled with it, whose error comes first.
        """
        inner: BaseException | None = error
        while isinstance(inner, RayTaskError) and inner.cause is not None:
            inner = inner.cause
        return (bridge.is_from_outside(error) or isinstance(inner, TaskCancelledError)) and self.is_cancelled(task)

    def is_cancelled(self, task: int) -> bool:
        """Returns whether a task was cancelled from here, by itself or with one that has submitted it."""
        while task and task not in self._cancelled:
            row: TaskRow | None = self._rows.row_store.row("tasks", task)
            task = 0 if row is None else row.parent
        return bool(task)

    def explained(self, error: BaseException, refs: Sequence[ObjectRef[object]]) -> BaseException:
        """Returns the error to raise for these refs: raynb's own for a cancellation, with what is known of a crash."""
        if len(refs) == 1 and self.was_cancelled(error, ids.task_of(refs[0]._id)):
            return TaskCancelledError(refs[0].hex())
        if not bridge.is_death(error) or len(refs) != 1:
            return error
        row: TaskRow | None = self._rows.row_store.row("tasks", ids.task_of(refs[0]._id))
        if row is None:
            return error
        told = [row.name]
        if 0 < row.scope < UNNUMBERED and row.name != f"In[{row.scope}]":
            told.append(f"of cell {row.scope}")
        worker = next((one for one in list(self._rows.workers.values()) if one.id == row.worker), None)
        if worker is not None:
            told.append(f"on {self._cluster.name_of(worker.node)}")
        text = f"{' '.join(told)}: {error}"
        if isinstance(error, RayActorError):
            error.error_msg = text  # it was made for this reader
            return error
        if isinstance(error, ObjectLostError):
            error.why = text
            return error
        made = type(error)(text)
        made.__cause__ = error.__cause__
        return made

    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by id (the dashboard's button), as `cancel` does with a ref.

        Raises:
            ValueError: it is over, or was submitted by another task.
        """
        self._engine.check_alive()
        entry = self._rows.open.get(task)
        if entry is None:
            raise ValueError("that task is over, or was submitted by another task: cancel that one")
        self._record_cancelled(task)
        try:
            rays.cancel(self._streams.get(task) or entry[0], force=force, recursive=True)
        except theirs.RayError as error:
            raise ValueError(f"that task cannot be cancelled: {bridge.short(error)}") from None
        self._cancel_deadlines[task] = _now() + self._grace

    def insist(self) -> None:
        """Ends the workers of tasks that were cancelled and go on: one that sleeps or is in native code
        does not notice. Ray leaves them alone, and their slots stay taken.

        Of an actor's call the cancel goes out a second time, since Ray loses one that meets a call on its way into an
        async actor; if that one goes on too, this only says so.
        """
        for task, until in list(self._cancel_deadlines.items()):
            entry = self._rows.open.get(task)
            if entry is not None and _now() < until:
                continue
            self._cancel_deadlines.pop(task, None)
            row: TaskRow | None = self._rows.row_store.row("tasks", task)
            again = task in self._sent_again
            self._sent_again.discard(task)
            if entry is None or row is None or rays.ready([entry[0]], 1, 0, False):
                continue  # over: of what never began, no worker reports the end
            if row.actor and again:
                told = "Ray interrupts no actor's call that runs, except an async one where it awaits"
                self._say(f"{row.name} goes on although it was cancelled: {told}. %kill, or ray.kill, ends the actor.",
                          row.scope)  # fmt: skip
                continue
            if row.actor:
                self._sent_again.add(task)
                self._cancel_deadlines[task] = _now() + self._grace
            with contextlib.suppress(ValueError, theirs.RayError):
                rays.cancel(self._streams.get(task) or entry[0], force=not row.actor, recursive=True)

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already ended)."""
        self._engine.check_alive()
        finished = sum(n for state, n in self._rows.row_store.scope_counts(scope).items() if state in TASK_ENDED)
        mine = self._rows.row_store.rows("tasks", lambda row: row.scope == scope and row.id in self._rows.open)
        for row in mine:
            try:
                self.cancel_task(row.id)
            except ValueError:
                continue  # over in this moment
        return len(mine), finished

    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns state → number of the cell's tasks."""
        return self._rows.row_store.scope_counts(scope)

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0,
        besides: Iterable[concurrent.futures.Future[object]] | None = None,
    ) -> list[concurrent.futures.Future[Any]]:  # fmt: skip
        """Has a function run first in each of Ray's workers, before its next task of ours.

        Ray doesn't let a driver choose workers, so there is nothing to wait for, and nothing that runs now.
        """
        self._engine.check_alive()
        if packed.contained or packed.deps:
            raise ValueError("What runs on every worker takes values, no ObjectRefs inside its arguments.")
        if only:
            raise NotImplementedError("On a Ray cluster a function cannot be sent to one worker.")
        if later:
            told = (self._blobs[options.function], packed.data, [bytes(buffer) for buffer in packed.buffers])
            bridge.keep(f"setup:{self._shared.nonce}:{self._shared.setups + 1}", pickle.dumps(told))
            self._shared.setups += 1
        return []
