"""Decides what the feed sends: merges changes, and paces pulls. No threads and no clock.

Time is given, so the tests use a virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from raynb.base.rows import TASK_ENDED, Snapshot

KINDS = ("tasks", "actors", "objects", "workers")

#: Rows of one kind in one message. More wait for the next message; counts are exact all the time.
ROWS_A_MESSAGE = 400


class PendingChanges:
    """Changes that were pulled and not yet sent; of a row that changed twice, the last state.

    Thread contract: used by the feed's thread only.
    """

    def __init__(self, rows_a_message: int = ROWS_A_MESSAGE) -> None:
        self.rows_a_message = rows_a_message
        self._rows: dict[str, dict[int, Any]] = {kind: {} for kind in KINDS}
        self._gone: dict[str, dict[int, None]] = {kind: {} for kind in KINDS}
        self._latest: Snapshot | None = None
        self._since = -1
        self._scalars: tuple[Any, ...] = ()
        self._full = False
        self._sent: dict[str, dict[int, Any]] = {"workers": {}, "actors": {}}
        # Ids that a view has heard of: only these need to be called gone. Most small results come
        # and go between two looks.
        self._heard: dict[str, set[int]] = {"tasks": set(), "objects": set()}
        self._running: Set[int] = frozenset()  # ids that were named as running last

    def add(self, change: Snapshot) -> None:
        """Merges what ``engine.changes`` returned; a full picture replaces what waits."""
        if change.since < 0:
            self._full = True
            for sent in self._sent.values():
                sent.clear()
            for kind in KINDS:
                self._rows[kind].clear()
                self._gone[kind].clear()
        if self._latest is None:
            self._since = change.since
        for kind in KINDS:
            rows, gone, heard = self._rows[kind], self._gone[kind], self._heard.get(kind)
            for identity in change.gone.get(kind, ()):
                rows.pop(identity, None)
                if heard is None or identity in heard:
                    gone[identity] = None
            known = self._sent.get(kind)
            for row in getattr(change, kind):
                # The engine names every worker and actor each time; most are as they were.
                if known is not None and known.get(row.id) == row and row.id not in rows:
                    continue
                # Popped first, so that the order is that of the last change.
                rows.pop(row.id, None)
                rows[row.id] = row
                gone.pop(row.id, None)
        self._latest = change

    def sent_picture(self, picture: Snapshot) -> None:
        """Records a full picture that a view got beside these messages."""
        for kind, heard in self._heard.items():
            heard.update(row.id for row in getattr(picture, kind))

    def take(self) -> Snapshot | None:
        """Returns the next message's content, or None when nothing has changed.

        Unfinished tasks go first, then what has changed last; the rest waits.
        """
        latest = self._latest
        if latest is None:
            return None
        scalars = (
            latest.store, latest.available, latest.total, latest.groups, [row.id for row in latest.running],
            latest.paused,
        )  # fmt: skip
        if not self._full and not self.waiting and scalars == self._scalars:
            return None
        self._scalars = scalars
        # Running tasks are sent whole each time, whatever else has to wait: a task in that list has a row.
        running = {row.id: row for row in latest.running}
        for identity, row in running.items():
            self._gone["tasks"].pop(identity, None)
            if identity in self._rows["tasks"]:
                self._rows["tasks"][identity] = row
        parts: dict[str, Any] = {}
        for kind in KINDS:
            parts[kind] = self._take_all(kind) if self._full else self._take_some(kind)
        parts["tasks"] += self._unheard(running, parts["tasks"])
        self._running = running.keys()
        for kind, was in self._sent.items():
            was.update((row.id, row) for row in parts[kind])
            for identity in self._gone[kind]:
                was.pop(identity, None)
        for kind, heard in self._heard.items():
            if self._full:
                heard.clear()
            heard.difference_update(self._gone[kind])
            heard.update(row.id for row in parts[kind])
        gone = {kind: list(self._gone[kind]) for kind in KINDS if self._gone[kind]}
        for kind in KINDS:
            self._gone[kind].clear()
        since = -1 if self._full else self._since
        self._full = False
        self._since = latest.version
        return Snapshot(
            version=latest.version, now=latest.now, wall=latest.wall, since=since, store=latest.store,
            nodes=latest.nodes, total=latest.total, available=latest.available, groups=latest.groups, gone=gone,
            running=latest.running, paused=latest.paused, **parts,
        )  # fmt: skip

    def _unheard(self, running: dict[int, Any], sent: list[Any]) -> list[Any]:
        """Returns the rows of running tasks that have changed or that the views don't have as running."""
        told = {row.id for row in sent}
        changed = [identity for identity in running if self._rows["tasks"].pop(identity, None) is not None]
        new = [identity for identity in running if identity not in self._running]
        return [running[identity] for identity in dict.fromkeys(changed + new) if identity not in told]

    @property
    def waiting(self) -> int:
        """Returns how many rows (and ids that are gone) wait."""
        return sum(len(self._rows[kind]) + len(self._gone[kind]) for kind in KINDS)

    def _take_all(self, kind: str) -> list[Any]:
        rows = list(self._rows[kind].values())
        self._rows[kind].clear()
        return rows

    def _take_some(self, kind: str) -> list[Any]:
        rows = self._rows[kind]
        if len(rows) <= self.rows_a_message:
            return self._take_all(kind)
        if kind == "tasks":
            # Half at most: behind thousands that wait, nothing of what has run would come.
            live = (i for i, row in rows.items() if row.state not in TASK_ENDED)
            first = list(islice(live, self.rows_a_message // 2))
        else:
            first = []
        chosen = dict.fromkeys(first)
        for identity in reversed(rows):
            if len(chosen) >= self.rows_a_message:
                break
            chosen[identity] = None
        return [rows.pop(identity) for identity in chosen]


@dataclass(slots=True)
class FeedPace:
    """Computes how long the feed rests between two pulls.

    At most one pull every ``interval`` seconds, and never more than ``share`` of one core: a pull
    that was dear is followed by a longer rest, up to ``ceiling`` seconds, so that the picture
    still moves. What that doesn't pay for, such as a whole picture of 10,000 tasks, the rests after it do: up to
    ``most_owed`` seconds of work, and until the feed begins afresh.
    """

    interval: float = 0.2
    share: float = 0.015
    ceiling: float = 4.0
    beat: float = 5.0
    most_owed: float = 1.0
    _last_sent: float = field(default=float("-inf"))
    _owed: float = 0.0

    def begin(self) -> None:
        """Forgets what is owed: the feed begins, with another runtime or after a time without watchers."""
        self._owed = 0.0

    def rest(self, spent: float) -> float:
        """Returns the seconds to rest after a pull that took ``spent`` seconds of work."""
        owed = self._owed + spent
        rest = max(self.interval, min(self.ceiling, owed / self.share - spent))
        self._owed = min(self.most_owed, max(0.0, owed - (rest + spent) * self.share))
        return rest

    def sent(self, now: float) -> None:
        """Records that something was sent at ``now`` (seconds)."""
        self._last_sent = now

    def beat_due(self, now: float) -> bool:
        """Returns whether watchers have heard nothing for so long that they should hear a beat."""
        return now - self._last_sent >= self.beat


class NameChanges:
    """Notices when the notebook's names of objects change, which the engine cannot see.

    Thread contract: used by the feed's thread only.
    """

    def __init__(self, interval: float = 1.0, most: int = 2_000) -> None:
        self._interval = interval
        self._most = most
        self._objects: dict[int, Any] = {}
        self._names: dict[int, list[str]] = {}
        self._next = 0.0
        self._turn: list[int] = []  # ids that this round has still to look at

    def record(self, change: Snapshot) -> None:
        """Records which objects exist."""
        if change.since < 0:
            self._objects.clear()
            self._names.clear()
        for identity in change.gone.get("objects", ()):
            self._objects.pop(identity, None)
            self._names.pop(identity, None)
        for row in change.objects:
            self._objects[row.id] = row

    def renamed(self, names: Callable[[int], list[str]], now: float) -> list[Any]:
        """Returns the rows of objects whose names differ from the last look (once a second, so many in turn)."""
        if now < self._next:
            return []
        self._next = now + self._interval
        if not self._turn:
            self._turn = list(reversed(self._objects))
        looked, self._turn = self._turn[-self._most :], self._turn[: -self._most]
        changed = []
        for identity in reversed(looked):
            row = self._objects.get(identity)
            if row is None:
                continue
            found = names(identity)
            if found != self._names.get(identity, []):
                self._names[identity] = found
                changed.append(row)
        return changed


@dataclass(slots=True)
class Leases:
    """Watchers whose page may vanish without a word: they stay while they renew.

    A watcher without a lease (``renew`` never called with one) stays until it leaves.
    """

    seconds: float = 60.0
    _until: dict[Any, float] = field(default_factory=dict)

    def renew(self, watcher: object, now: float) -> None:
        """Extends a watcher's lease from ``now`` (seconds) on."""
        self._until[watcher] = now + self.seconds

    def drop(self, watcher: object) -> None:
        """Removes a watcher's lease."""
        self._until.pop(watcher, None)

    def expired(self, now: float) -> list[Any]:
        """Returns, and forgets, the watchers that have not renewed in time."""
        late = [watcher for watcher, until in self._until.items() if until < now]
        for watcher in late:
            del self._until[watcher]
        return late


#: Sends one of the `messages`.
Send = Callable[[Any], None]
