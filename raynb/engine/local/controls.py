"""Cancels tasks and frees objects on request."""

from __future__ import annotations

from collections.abc import Sequence

from raynb.base import ids
from raynb.base.engine import Engine
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef, taken_from
from raynb.core.vocabulary import events as e
from raynb.engine.loop.loop import Loop
from raynb.engine.refs import OwnRefs

_now = time.monotonic


class LocalControls:
    """Cancels tasks and frees objects. Thread contract: every method from any thread."""

    def __init__(self, engine: Engine, loop: Loop, refs: OwnRefs) -> None:
        self._engine = engine
        self._loop = loop
        self._refs = refs

    @sheltered
    def cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels the task that makes an object; ``force`` kills its worker, ``recursive`` cancels its children too."""
        self._engine.check_alive()
        self._refs.check(ref)
        self._loop.dispatch(e.CancelAsked(_now(), ids.task_of(ref._id), force, recursive))

    @sheltered
    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by its id; ``force`` kills its worker."""
        self._engine.check_alive()
        self._loop.dispatch(e.CancelAsked(_now(), task, force, True))

    @sheltered
    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already ended)."""
        self._engine.check_alive()
        tasks = self._loop.machine.tasks
        with self._loop.lock:
            finished = sum(tasks.scopes.get(scope, {}).values())
            open_ones = [tasks.table[t] for t in tasks.open_in.get(scope, ()) if not tasks.table[t].spec.creates_actor]
            count = sum(1 for task in open_ones if not task.spec.parent)
            self._loop.apply(e.ScopeCancelAsked(_now(), scope))
        self._loop.flush()
        self._loop.run_callbacks()
        return count, finished

    def free(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Releases values although refs to them exist; reading one raises `ObjectFreedError` then."""
        self._engine.check_alive()
        self.free_ids(self._refs.ids_of(refs))

    @sheltered
    def free_ids(self, wanted: tuple[int, ...]) -> None:
        """Frees objects by id (for workers that free)."""
        self._loop.dispatch(e.FreeAsked(_now(), wanted))

    def forget_dropped(self) -> None:
        """Reports the failures of dropped refs that nobody has asked about, and skips freeing the others.

        At the end all goes with the store; one by one, a million refs take 1.7 s.
        """
        log = self._loop.ref_log
        with self._loop.lock:
            failed = self._loop.machine.tasks.unasked.failed
            log.extend(change for change in taken_from(log) if ids.task_of(max(change, ~change)) in failed)
            self._loop.view_log.clear()
