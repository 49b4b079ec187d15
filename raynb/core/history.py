"""What happened to whom: one bounded ring serves the stories, the views' changes and the errors.

Every transition takes the next version number. `changed_since` says which ids to look at again,
so views travel as changes; a reader that fell behind the ring gets the whole picture.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import itemgetter

from raynb.base.rows import TASK_STATES
from raynb.base.spec import TaskOptions
from raynb.core.records import Task

RING = 100_000

#: Events from which on a reader is better served with the latest rows than with all that changed.
MOST_CHANGES = 20_000


_KIND_AND_ID = itemgetter(1, 2)

#: What is kept of an ended task: id, state, worker, attempt, scope, actor, does it create one, parent, the
#: five times, type and text of its error, size of its results. Plain values only: the garbage collector
#: lets go of such tuples, while rows of tables would be looked through again and again.
Ended = tuple[int, str, int, int, int, int, bool, int, float, float, float, float, float, str, str, int]


def plain(task: Task) -> Ended:
    """Returns what views want to know of a task, besides its options."""
    spec = task.spec
    kind, text = task.error
    return (
        spec.task_id, task.state, task.worker, spec.attempt, spec.scope, spec.actor, spec.creates_actor, spec.parent,
        task.submitted, task.started, task.fetched, task.ran, task.ended, kind, text, task.size,
    )  # fmt: skip


class History:
    def __init__(self, kept: int) -> None:
        self.version = 0
        #: (time, kind, id, what happened), the last one of number `version`, each before it one less
        self.ring: deque[tuple[float, str, int, str]] = deque(maxlen=RING)
        self.finished: deque[Ended] = deque()
        self.options: deque[TaskOptions] = deque()  # those of `finished`, in the same order
        self.kept = kept
        self.groups: dict[str, dict[str, int]] = {}
        self.dropped: deque[tuple[int, int]] = deque(maxlen=RING)  # (version, task) no longer kept

    def note(self, now: float, kind: str, identity: int, what: str) -> None:
        self.version += 1
        self.ring.append((now, kind, identity, what))

    def group(self, name: str) -> dict[str, int]:
        """Returns the counts by state of all tasks of a name."""
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = dict.fromkeys(TASK_STATES, 0)
        return found

    def keep(self, task: Task) -> None:
        """Keeps a finished task for the views; the oldest makes room."""
        finished = self.finished
        finished.append(plain(task))
        self.options.append(task.spec.options)
        if len(finished) > self.kept:
            self.options.popleft()
            self.dropped.append((self.version, finished.popleft()[0]))

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
        return [(now, f"{kind} {what}") for now, kind, who, what in self.ring if who == identity]
