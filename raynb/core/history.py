"""Keeps what happened to each id: one bounded ring serves the stories, the views' changes and the errors.

Every transition takes the next version number. `changed_since` says which ids to look at again,
so views travel as changes; a reader that fell behind the ring gets the whole picture.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NoReturn

from raynb.base.rows import TASK_STATES
from raynb.base.spec import TaskOptions
from raynb.core.vocabulary.records import Task
from raynb.core.vocabulary.transitions import O_FREED, O_READY, ImpossibleState

#: What happened, and to which kind of thing.
Mark = tuple[str, str]

SUBMITTED: Mark = ("task", "submitted")
MOVED: dict[str, Mark] = {state: ("task", state) for state in TASK_STATES}
READY: Mark = ("object", O_READY)
FREED: Mark = ("object", O_FREED)
DROPPED: Mark = ("dropped", "no longer kept")  # a finished task made room for another

#: Times, marks and ids that are kept; two or three of them are an event.
RING_ENTRIES = 250_000

#: About so many of them are put away together.
CHUNK_ENTRIES = 4096

#: Time and mark are said again at least once in so many events (a power of two), so that the end of the
#: ring can be read without its beginning.
TIME_EVERY_EVENTS = 4096

#: Ids that are entered one by one, if there are fewer; and that are entered together, at most.
TOGETHER_MIN_IDS, TOGETHER_MAX_IDS = 4, 1024

#: Events from which on a reader is better served with the latest rows than with all that changed.
MAX_CHANGES = 20_000

#: What is kept of an ended task: id, state, worker, attempt, scope, actor, does it create one, parent, the
#: five times, type and text of its error, size of its results, inputs, after, peak and memory before. Plain values
#: only: the garbage collector lets go of such tuples, while rows of tables would be looked through again and again.
Ended = tuple[
    int, str, int, int, int, int, bool, int, float, float, float, float, float, str, str, int, int, int, int, int
]


def plain(task: Task) -> Ended:
    """Returns what views show of a task besides its options."""
    spec = task.spec
    kind, text = task.error
    return (
        spec.task_id, task.state, task.worker, spec.attempt, spec.scope, spec.actor, spec.creates_actor, spec.parent,
        task.submitted, task.started, task.fetched, task.ran, task.ended, kind, text, task.size,
        len(spec.deps), task.after, task.peak, task.before,
    )  # fmt: skip


def _taken_out(some: tuple[int, bytes]) -> list[float | Mark | int]:
    entries: list[float | Mark | int] = pickle.loads(some[1])
    return entries


class Ring:
    """The events in order: a time (float), then what happened, then to whom (ids), each id one version.

    Time and mark hold until the next ones. All but the newest lie pickled, a seventh of their size: packing them while
    they are in the processor's cache costs less than letting go of each long after that, and the garbage collector
    looks through none of them ("1,000 actor calls": 3 %).
    """

    __slots__ = ("_older", "_size", "newest")

    def __init__(self) -> None:
        self.newest: deque[float | Mark | int] = deque()
        self._older: deque[tuple[int, bytes]] = deque()  # how many, and they
        self._size = 0  # entries in them

    def put_away(self) -> None:
        """Makes room in `newest`, and evicts the oldest entries over the limit."""
        older, newest = self._older, self.newest
        older.append((len(newest), pickle.dumps(list(newest), pickle.HIGHEST_PROTOCOL)))
        self._size += len(newest)
        newest.clear()
        while self._size + CHUNK_ENTRIES > RING_ENTRIES and len(older) > 1:
            self._size -= older.popleft()[0]

    def __iter__(self) -> Iterator[float | Mark | int]:
        return chain(chain.from_iterable(map(_taken_out, self._older)), self.newest)

    def __reversed__(self) -> Iterator[float | Mark | int]:
        older = (reversed(_taken_out(some)) for some in reversed(self._older))
        return chain(reversed(self.newest), chain.from_iterable(older))


class History:
    """Records every transition with a version number, and the tasks that have finished.

    Invariant: `version` counts the ids in the ring's order, so "what changed since version v" is a walk from the end.
    """

    def __init__(self, kept: int) -> None:
        self.version = 0
        self.ring = Ring()  # the last id in it has number `version`
        self._newest = self.ring.newest
        self._now = -1.0
        self._mark: Mark = ("", "")
        self.finished: deque[Ended] = deque()
        self.options: deque[TaskOptions] = deque()  # those of `finished`, in the same order
        #: Id → how many tasks had finished before it: its place in `finished` plus `forgotten`. Only readers
        #: need it, and they enter what has ended since the last of them. Without that "1,000 tasks" takes 1 % longer.
        self._places: dict[int, int] = {}
        self._placed = 0  # tasks that had finished when it was last brought up to date
        self._superseded: dict[int, int] = {}  # task that ran again → its earlier ends that are kept
        self.forgotten = 0  # tasks that made room in `finished`
        self.kept = kept
        self.groups: dict[str, dict[str, int]] = {}

    def add(self, now: float, mark: Mark, identity: int) -> None:
        """Records an event. ``mark``: one of the constants above, or another that is used once."""
        self.version = version = self.version + 1
        newest = self._newest
        if mark is not self._mark:
            if now is not self._now:
                self._now = now
                if len(newest) > CHUNK_ENTRIES:
                    self.ring.put_away()
                newest.append(now)
            self._mark = mark
            newest.append(mark)
        elif now is not self._now or not version % TIME_EVERY_EVENTS:
            self._now = now
            if len(newest) > CHUNK_ENTRIES:
                self.ring.put_away()
            newest.append(now)
            newest.append(mark)
        newest.append(identity)

    def add_many(self, now: float, mark: Mark, identities: Sequence[int]) -> None:
        """Records one event of several ids ("1,000 actor calls": one at a time they take 1 % longer)."""
        if len(identities) < TOGETHER_MIN_IDS:
            for identity in identities:
                self.add(now, mark, identity)
            return
        for at in range(0, len(identities), TOGETHER_MAX_IDS):
            self._now = -1.0  # so that the time is said, with old entries put away before
            first, *others = identities[at : at + TOGETHER_MAX_IDS]
            self.add(now, mark, first)
            self.version += len(others)
            self._newest.extend(others)
        self._now = -1.0  # the next one says it, too: the place in the count at which `add` would has been passed

    def record(self, now: float, kind: str, identity: int, what: str) -> None:
        """Records a rare event."""
        self._bound()
        self.add(now, (kind, what), identity)

    def _bound(self) -> None:
        """Puts old entries away also where one event changes very much: the next entry says the time anew."""
        if len(self._newest) > CHUNK_ENTRIES:
            self._now = -1.0

    def group(self, name: str) -> dict[str, int]:
        """Returns the counts by state of all tasks of a name."""
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = dict.fromkeys(TASK_STATES, 0)
        return found

    def keep(self, task: Task) -> None:
        """Keeps a finished task for the views, and evicts the oldest ones over the limit."""
        # Every task comes by here: written out, "1,000 actor calls" takes 1 % less.
        if len(self._newest) > CHUNK_ENTRIES:
            self._now = -1.0  # as `_bound`
        finished = self.finished
        finished.append(plain(task))
        self.options.append(task.spec.options)
        if len(finished) > self.kept:
            self.options.popleft()
            oldest = finished.popleft()[0]
            self.forgotten += 1
            if not (self._places or self._superseded) or self._forget(oldest):
                self.add(task.ended, DROPPED, oldest)

    def _forget(self, task_id: int) -> bool:
        """Forgets a task's place (the one before `forgotten`); returns whether nothing of it is kept any more."""
        if self._places.get(task_id) == self.forgotten - 1:
            del self._places[task_id]
        superseded = self._superseded.pop(task_id, 0)
        if superseded > 1:
            self._superseded[task_id] = superseded - 1
        return not superseded

    def runs_again(self, task_id: int) -> None:
        """Removes a finished task that runs again for a lost object: its later end counts."""
        if task_id in self.places():
            self._superseded[task_id] = self._superseded.get(task_id, 0) + 1

    def places(self) -> dict[int, int]:
        """Returns id → how many tasks had finished before it, of all that are kept."""
        count = self.forgotten + len(self.finished)
        new = list(islice(reversed(self.finished), count - self._placed))
        if new:
            for place, kept in zip(range(count - len(new), count), reversed(new), strict=True):
                self._places[kept[0]] = place
            self._placed = count
        return self._places

    def ended(self, identity: int) -> tuple[Ended, TaskOptions] | None:
        """Returns what is kept of a finished task and its options; None when that was forgotten."""
        place = self.places().get(identity)
        if place is None:
            return None
        return self.finished[place - self.forgotten], self.options[place - self.forgotten]

    def changed_since(self, version: int) -> dict[str, set[int]] | None:
        """Returns kind → ids that changed after ``version``; None when that is too much or too long ago."""
        left = self.version - version
        if left > MAX_CHANGES:
            return None
        changed: dict[str, set[int]] = {}
        if left <= 0:
            return changed
        ids: list[int] = []
        for item in reversed(self.ring):
            kind = type(item)
            if kind is int:
                if left > 0:
                    left -= 1
                    ids.append(item)  # type: ignore[arg-type]
            elif kind is tuple:
                changed.setdefault(item[0], set()).update(ids)  # type: ignore[index]
                if left <= 0:
                    break
                ids = []
        return changed

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what) of one id, oldest first, as far back as the ring goes."""
        told: list[tuple[float, str]] = []
        now: float | None = None
        text = ""
        for item in self.ring:
            if type(item) is float:
                now = item
            elif type(item) is tuple:
                text = f"{item[0]} {item[1]}"
            elif item == identity and now is not None and text:
                told.append((now, text))
        return told

    def impossible(self, kind: str, identity: int, old: str, new: str) -> NoReturn:
        """Raises `ImpossibleState` with the story of the id."""
        story = "\n".join(f"  {now:.6f} {what}" for now, what in self.story(identity))
        raise ImpossibleState(f"{kind} {identity}: {old} -> {new} is in no table. Its story:\n{story}")
