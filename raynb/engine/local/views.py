"""Reads the machine's tables for views: rows, counts and stories."""

from __future__ import annotations

from collections.abc import Sequence

from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.base.rows import Snapshot
from raynb.core import invariants, snapshot
from raynb.engine.loop.loop import Loop
from raynb.store import Ledger, Store

_now = time.monotonic


class Views:
    """Reads the machine's tables for views, magics and the state API. Works after a failure, too: the tables
    are then shown as they were when the runtime failed.

    Thread contract: every method from any thread; takes the loop's lock.
    """

    def __init__(self, loop: Loop, store: Store, ledger: Ledger, wall: float) -> None:
        self._loop = loop
        self._machine = loop.machine
        self._store = store
        self._ledger = ledger
        self._wall = wall  # the wall-clock time at monotonic zero

    def _drain_ref_log(self, now: float) -> None:
        if not self._loop.health.broken:
            self._loop.drain_logs(now)

    def snapshot(self, settled: bool = False) -> Snapshot:  # they always are
        """Returns the rows of everything (`changes` since the beginning)."""
        return self.changes(-1)

    @sheltered
    def changes(self, since: int) -> Snapshot:
        """Returns the rows that changed after version ``since``; all of them if that is too old."""
        now = _now()
        with self._loop.lock:
            self._drain_ref_log(now)
            shot = snapshot.picture(self._machine, now, self._wall, since, self._store.limit)
        stats = self._store.stats()
        shot.store.pinned = stats.pinned
        shot.store.resident = self._ledger.resident()
        return shot

    @sheltered
    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        """Returns the rows of these ids only."""
        now = _now()
        with self._loop.lock:
            self._drain_ref_log(now)
            return snapshot.rows(self._machine, now, self._wall, tasks, actors, objects)

    @sheltered
    def awaited(self, task: int) -> list[int]:
        """Returns the ids of the objects that a task still waits for."""
        with self._loop.lock:
            return snapshot.awaited(self._machine, task)

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""
        shot = self.changes(1 << 60)
        return shot.total, {k: v for k, v in shot.available.items() if v > 0}

    @sheltered
    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what happened) of an id, oldest first."""
        with self._loop.lock:
            story: list[tuple[float, str]] = self._machine.story(identity)
        return story

    @sheltered
    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished."""
        with self._loop.lock:
            found = self._machine.actors.table.get(actor)
            return found.pending if found is not None else 0

    @sheltered
    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns state → number of the cell's tasks."""
        tasks = self._machine.tasks
        with self._loop.lock:
            counts = dict(tasks.scopes.get(scope, {}))
            for task_id in tasks.open_in.get(scope, ()):
                state = tasks.table[task_id].state
                counts[state] = counts.get(state, 0) + 1
        return counts

    def check_invariants(self) -> None:
        """Raises `InvariantBroken` if a rule of the machine does not hold."""
        with self._loop.lock:
            invariants.check(self._machine)
