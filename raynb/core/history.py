"""What happened to whom: one bounded ring serves the stories, the views' changes and the errors.

Every transition takes the next version number. `changed_since` says which ids to look at again,
so views travel as changes; a reader that fell behind the ring gets the whole picture.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import itemgetter

from raynb.base.rows import TASK_STATES
from raynb.core.records import Task

RING = 100_000

#: Events from which on a reader is better served with the latest rows than with all that changed.
MOST_CHANGES = 20_000


_KIND_AND_ID = itemgetter(2, 3)


class History:
    def __init__(self, kept: int) -> None:
        self.version = 0
        self.ring: deque[tuple[int, float, str, int, str]] = deque(maxlen=RING)
        self.finished: deque[Task] = deque()
        self.kept = kept
        self.groups: dict[str, dict[str, int]] = {}
        self.dropped: deque[tuple[int, int]] = deque(maxlen=RING)  # (version, task) no longer kept

    def note(self, now: float, kind: str, identity: int, what: str) -> None:
        self.version = version = self.version + 1
        self.ring.append((version, now, kind, identity, what))

    def group(self, name: str) -> dict[str, int]:
        """Returns the counts by state of all tasks of a name."""
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = dict.fromkeys(TASK_STATES, 0)
        return found

    def keep(self, task: Task) -> None:
        """Keeps a finished task for the views; the oldest makes room."""
        self.finished.append(task)
        if len(self.finished) > self.kept:
            gone = self.finished.popleft()
            self.dropped.append((self.version, gone.spec.task_id))

    def changed_since(self, version: int) -> dict[str, set[int]] | None:
        """Returns kind → ids that changed after ``version``; None when that is too much or too long ago."""
        count = self.version - version  # each event takes one number
        if count > min(MOST_CHANGES, len(self.ring)):
            return None
        changed: dict[str, set[int]] = {}
        # Distinct pairs first: an id changes several times.
        for kind, identity in set(map(_KIND_AND_ID, islice(reversed(self.ring), max(count, 0)))):
            changed.setdefault(kind, set()).add(identity)
        return changed

    def dropped_since(self, version: int) -> list[int]:
        gone = []
        for at, task in reversed(self.dropped):
            if at < version:
                break
            gone.append(task)
        return gone

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what) of one id, oldest first, as far back as the ring goes."""
        return [(now, f"{kind} {what}") for _, now, kind, who, what in self.ring if who == identity]
