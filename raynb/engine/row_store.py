"""The views' rows of engines without a machine, each with the version it changed at."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base.process.waits import time
from raynb.base.rows import RUNNING, TASK_ENDED, TASK_STATES, Snapshot, StoreRow, TaskRow

_now = time.monotonic
MAX_GONE = 10_000


class RowStore:
    """Rows by kind (``"tasks"``, ``"actors"``, ``"objects"``, ``"workers"``) and what changed when.

    Thread contract: any thread.
    """

    def __init__(self, kept: int, version: int = 0) -> None:
        self.version = version
        self.wall = time.time() - _now()
        self._kept = kept
        self._first = version
        self._lock = threading.RLock()
        self._rows: dict[str, OrderedDict[int, tuple[int, Any]]] = {
            kind: OrderedDict() for kind in ("tasks", "actors", "objects", "workers")
        }
        self._tasks = self._rows["tasks"]
        self._gone: deque[tuple[int, str, int]] = deque(maxlen=MAX_GONE)
        self._groups: dict[str, dict[str, int]] = {}
        self._scopes: dict[int, dict[str, int]] = {}
        self._ended: deque[int] = deque()
        self._running: dict[int, None] = {}
        self._stories: dict[int, list[tuple[float, str]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    # -- writing -------------------------------------------------------------------------------
    def put(self, kind: str, row: Any) -> None:
        """Enters a row, new or changed."""
        with self._lock:
            self.version += 1
            table = self._rows[kind]
            table[row.id] = (self.version, row)
            table.move_to_end(row.id)

    def _put_task(self, row: TaskRow) -> None:
        """Enters a task's row, as `put` does, under the lock."""
        self.version = version = self.version + 1
        identity = row.id
        self._tasks[identity] = (version, row)
        self._tasks.move_to_end(identity)

    def drop(self, kind: str, identity: int) -> None:
        """Forgets a row."""
        with self._lock:
            if self._rows[kind].pop(identity, None) is not None:
                self.version += 1
                self._gone.append((self.version, kind, identity))

    def new_task(self, row: TaskRow) -> None:
        """Enters a task that was just submitted."""
        with self._lock:
            self._count(row, 1)
            self._record(row.id, row.state)
            self._put_task(row)

    def move_task(self, row: TaskRow, state: str) -> None:
        """Moves a task to another state, and evicts the oldest ended tasks over the limit."""
        with self._lock:
            if row.state == state:
                self._put_task(row)
                return
            self._count(row, -1)
            row.state = state
            self._count(row, 1)
            self._record(row.id, f"{state} {row.error}".rstrip() if row.error else state)
            self._put_task(row)
            if state in TASK_ENDED:
                self._ended.append(row.id)
                if len(self._ended) > self._kept:
                    old = self._ended.popleft()
                    self._stories.pop(old, None)
                    self.drop("tasks", old)

    def _count(self, row: TaskRow, by: int) -> None:
        group = self._groups.get(row.name)
        if group is None:
            group = self._groups[row.name] = dict.fromkeys(TASK_STATES, 0)
        group[row.state] += by
        scope = self._scopes.get(row.scope)
        if scope is None:
            scope = self._scopes[row.scope] = {}
        scope[row.state] = scope.get(row.state, 0) + by
        if row.state == RUNNING:
            if by > 0:
                self._running[row.id] = None
            else:
                self._running.pop(row.id, None)

    def _record(self, identity: int, what: str) -> None:
        story = self._stories.get(identity)
        if story is None:
            self._stories[identity] = [(_now(), what)]
        else:
            story.append((_now(), what))

    # -- reading -------------------------------------------------------------------------------
    def row(self, kind: str, identity: int) -> Any:
        """Returns a row, or None."""
        found = self._rows[kind].get(identity)
        return found[1] if found is not None else None

    def rows(self, kind: str, which: Callable[[Any], bool] = lambda row: True) -> list[Any]:
        """Returns the rows of a kind that ``which`` accepts."""
        with self._lock:
            return [row for _, row in self._rows[kind].values() if which(row)]

    def picture_of(self, tasks: Sequence[int], actors: Sequence[int], objects: Sequence[int]) -> Snapshot:
        """Returns a picture of these ids only."""
        with self._lock:
            shot = Snapshot(self.version, _now(), self.wall)
            for kind, wanted in (("tasks", tasks), ("actors", actors), ("objects", objects)):
                table = self._rows[kind]
                setattr(shot, kind, [copy.copy(table[i][1]) for i in wanted if i in table])
        return shot

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what happened) of an id, oldest first."""
        return [(at, f"task {what}") for at, what in self._stories.get(identity, ())]

    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns state → number of the cell's tasks."""
        with self._lock:
            return {state: n for state, n in self._scopes.get(scope, {}).items() if n}

    def changes(self, since: int, store: StoreRow, total: dict[str, float], available: dict[str, float]) -> Snapshot:
        """Returns the whole picture (``since`` -1, or too long ago), or what changed after ``since``."""
        with self._lock:
            whole = since < self._first or bool(
                len(self._gone) == MAX_GONE and self._gone[0][0] > since + 1
            )
            shot = Snapshot(self.version, _now(), self.wall, -1 if whole else since)
            for kind, table in self._rows.items():
                found = []
                for version, row in reversed(table.values()):
                    if not whole and version <= since and kind != "workers":
                        break
                    found.append(copy.copy(row))  # ours goes on changing
                setattr(shot, kind, found[::-1])
            shot.running = [copy.copy(self._rows["tasks"][i][1]) for i in self._running]
            shot.groups = {name: {s: n for s, n in counts.items() if n} for name, counts in self._groups.items()}
            if not whole:
                shot.gone = {"tasks": [], "objects": [], "workers": []}
                for version, kind, identity in reversed(self._gone):
                    if version <= since:
                        break
                    shot.gone.setdefault(kind, []).append(identity)
        shot.store, shot.total, shot.available = store, total, available
        return shot
