"""Computes what a cell's time went into: rows in, seconds and one plain sentence out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from raynb.base.rows import FAILED, FINISHED, ObjectRow, Snapshot, TaskRow
from raynb.base.text import printable
from raynb.jupyter.formatting import counted, format_bytes, format_seconds
from raynb.jupyter.reports.serialisation_log import Serialised
from raynb.jupyter.views.view_model import Labels

SERIALISE, QUEUE, FETCH, RUN, STORE = "serialise", "queue", "fetch", "run", "store"

#: What people read. Waiting is nobody's work and has no share.
PHASES = {
    SERIALISE: "serialising in the kernel", FETCH: "fetching inputs", RUN: "running", STORE: "storing results",
    QUEUE: "waiting in the queue",
}  # fmt: skip
WORK = (SERIALISE, FETCH, RUN, STORE)

#: Mean seconds of a task under which grouping is worth a word, and from how many tasks on.
TINY_TASK_SECONDS, MANY_TASKS = 0.002, 50

#: Strips of one worker; what overlaps even more is laid over the last one.
MAX_PARTS = 6


@dataclass(slots=True)
class Span:
    """A stretch of one phase. Times are `time.monotonic` seconds."""

    phase: str
    begin: float
    end: float


def spans(task: TaskRow, now: float) -> list[Span]:
    """Returns the phases of one task; what has not ended reaches to ``now``."""
    found: list[Span] = []

    def add(phase: str, begin: float, end: float) -> None:
        if begin and end >= begin:
            found.append(Span(phase, begin, end))

    add(QUEUE, task.submitted, task.started or task.ended or now)
    if not task.started:
        return found
    end = task.ended or now
    # Workers report their times with the result: until then, all that is known is that it runs.
    fetched = task.fetched or task.started
    add(FETCH, task.started, fetched)
    add(RUN, fetched, task.ran or end)
    add(STORE, task.ran, end)
    return found


@dataclass(slots=True)
class Strip:
    """Tasks of one worker that don't overlap, in order. ``part``: 0 for a worker's first strip."""

    worker: int
    part: int
    tasks: list[TaskRow]


def strips(tasks: Iterable[TaskRow]) -> list[Strip]:
    """Returns the strips in the order of the workers' ids; a worker that runs several tasks at once has several.

    The live timeline has the same (`labextension/src/ui/lanes.ts`): `lanes.cases.json` there is tested on both.
    """
    found: dict[int, list[Strip]] = {}
    for task in sorted((one for one in tasks if one.worker and one.started), key=lambda one: one.started):
        own = found.setdefault(task.worker, [])
        strip = next((one for one in own if 0 < one.tasks[-1].ended <= task.started), None)
        if strip is None:
            if len(own) < MAX_PARTS:
                own.append(Strip(task.worker, len(own), []))
            strip = own[-1]
        strip.tasks.append(task)
    return [strip for worker in sorted(found) for strip in found[worker]]


@dataclass(slots=True)
class Cut:
    """One cell's part of the picture.

    Attributes:
        title: the cell (``In[5]``).
        slots: CPU slots of the runtime.
    """

    title: str
    tasks: list[TaskRow]
    serialised: list[Serialised]
    objects: list[ObjectRow]
    labels: Labels
    slots: float
    now: float
    numbers: dict[str, int] = field(default_factory=dict)  # function → its colour's number
    sums: dict[str, float] = field(default_factory=dict)
    nexts: dict[int, float] = field(default_factory=dict)  # task → when its worker began the next one
    begin: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        self.sums = dict.fromkeys(PHASES, 0.0)
        self.sums[SERIALISE] = sum(note.took for note in self.serialised)
        self.begin = min([t.submitted for t in self.tasks] + [n.began for n in self.serialised])
        for before, after in pairwise(sorted(self.tasks, key=lambda task: (task.worker, task.started))):
            if before.worker == after.worker and 0 < before.ran <= after.started:
                self.nexts[before.id] = after.started
        self.end = max([t.ended or self.now for t in self.tasks] + [n.began + n.took for n in self.serialised])
        for task in self.tasks:
            for span in self.spans(task):
                self.sums[span.phase] += span.end - span.begin

    def spans(self, task: TaskRow) -> list[Span]:
        """Returns the phases of one of the tasks. While the kernel serialises it takes no results: that
        is not the storing's time. Nor is what comes after the worker has begun its next task."""
        found = spans(task, self.now)
        if found and found[-1].phase == STORE:
            last = found[-1]
            last.end = max(last.begin, min(last.end, self.nexts.get(task.id, last.end)))
            last.end -= sum(
                max(0.0, min(last.end, note.began + note.took) - max(last.begin, note.began))
                for note in self.serialised
            )
        return found

    @property
    def wall(self) -> float:
        """The seconds from the cell's first submission to its last end."""
        return max(self.end - self.begin, 1e-9)

    @property
    def work(self) -> float:
        """Seconds that the kernel and the workers worked for the cell."""
        return sum(self.sums[phase] for phase in WORK)

    @property
    def workers(self) -> list[int]:
        """The workers that ran tasks of the cell."""
        return sorted({task.worker for task in self.tasks if task.worker and task.started})

    @property
    def workers_time(self) -> float:
        """Seconds that the workers had together; more only where an actor did several things at once."""
        return max(self.wall * max(1, len(self.workers)), sum(self.sums[phase] for phase in (FETCH, RUN, STORE)))

    def share(self, phase: str) -> float:
        """Returns the part of the kernel's or of the workers' time that went into a phase."""
        return self.sums[phase] / (self.wall if phase == SERIALISE else self.workers_time)

    def head(self) -> str:
        """Returns ``In[5]: 8 tasks in 3.2 s on 2 workers``."""
        tasks = counted(len(self.tasks), "task")
        return f"{self.title}: {tasks} in {format_seconds(self.wall)} on {counted(len(self.workers), 'worker')}"


def cut(picture: Snapshot, scope: int, title: str, serialised: Sequence[Serialised], labels: Labels) -> Cut | None:
    """Returns a cell's part of the picture; None when it submitted nothing (or that was forgotten)."""
    tasks = sorted((row for row in picture.tasks if row.scope == scope), key=lambda row: (row.submitted, row.id))
    if not tasks:
        return None
    made = {row.id for row in tasks}
    objects = [row for row in picture.objects if row.task in made]
    slots = picture.total.get("CPU", 0.0)
    # A function keeps its colour: that of its place among all, as in the live timeline.
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*picture.groups, *(t.name for t in tasks)]))}
    return Cut(title, tasks, list(serialised), objects, labels, slots, picture.now, numbers)


def latest_scope(picture: Snapshot) -> int:
    """Returns the cell that submitted a task last; 0 when none did."""
    rows = [row for row in picture.tasks if row.scope]
    return max(rows, key=lambda row: (row.submitted, row.id)).scope if rows else 0


# -- the verdict ---------------------------------------------------------------------------------
def verdict(found: Cut) -> list[str]:
    """Returns plain sentences: what most of the time was, how busy the machine was, what to do."""
    if found.work <= 0:
        waited = format_seconds(found.sums[QUEUE] / len(found.tasks))
        return [f"Nothing has run yet; tasks have been waiting {waited} on average."]
    phase, share = main_phase(found)
    percent = round(100 * share) if phase == SERIALISE else shares_of_workers(found)[phase]
    sentences = [f"{percent} % of the time was {_what(found, phase)}."]
    if found.workers:
        sentences.append(workers_time(found))
    sentences += _waited(found)
    sentences += _advice(found, phase, share)
    return sentences


def main_phase(found: Cut) -> tuple[str, float]:
    """Returns what took most, and its share: of the kernel's time, or of that of all workers."""
    phase = max(WORK, key=found.share)
    return phase, found.share(phase)


def run_by_name(found: Cut) -> dict[str, float]:
    """Returns function → seconds that it ran."""
    by_name: dict[str, float] = {}
    for task in found.tasks:
        for span in found.spans(task):
            if span.phase == RUN:
                by_name[task.name] = by_name.get(task.name, 0.0) + span.end - span.begin
    return by_name


def shares_of_workers(found: Cut) -> dict[str, int]:
    """Returns the whole percents of the workers' time, which add up; ``""`` is for idle."""
    shares = [100 * found.share(phase) for phase in (RUN, FETCH, STORE)]
    return dict(zip((RUN, FETCH, STORE, ""), _rounded([*shares, max(0.0, 100 - sum(shares))]), strict=True))


def workers_time(found: Cut) -> str:
    """Returns what the workers' time went into, in whole percents that add up; the live timeline says the same."""
    run, fetch, store, idle = shares_of_workers(found).values()
    by_name = sorted(run_by_name(found).items(), key=lambda item: -item[1])
    parts = [(name, value / found.workers_time) for name, value in by_name[:3]]
    named = [f"{_code(name)} {_percent(share)}" for name, share in parts if share >= 0.01]
    inside = f" ({', '.join(named)})" if len(by_name) > 1 and named else ""
    said = [f"{run} % running{inside}"]
    said += [f"{value} % {what}" for value, what in ((fetch, "fetching inputs"), (store, "storing results")) if value]
    said.append(f"{idle} % idle")
    count = len(found.workers)
    free = found.slots - count
    spare = f"; {free:g} of {found.slots:g} CPU slots had nothing to do" if free >= 1 else ""
    whose = f"{count} workers'" if count > 1 else "worker's"
    return f"The {whose} time: {', '.join(said)}{spare}."


def _rounded(shares: list[float]) -> list[int]:
    """Returns whole percents with the same sum (largest remainders)."""
    whole = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: whole[i] - shares[i])
    for i in order[: round(sum(shares)) - sum(whole)]:
        whole[i] += 1
    return whole


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _what(found: Cut, phase: str) -> str:
    if phase == SERIALISE:
        name, size, times = main_serialised(found)
        again = f", {times:,} times" if times > 1 else ""
        return f"serialising {_code(name)} ({format_bytes(size)}{again})"
    if phase == FETCH:
        return "fetching and unpickling inputs"
    if phase == STORE:
        names = sorted(found.objects, key=lambda row: -row.size)[:1]
        if all(task.state == FAILED for task in found.tasks):
            return "pickling and storing errors"
        known = found.labels.names(names[0].id) if names else []
        what = f"{_code(known[0])} ({format_bytes(names[0].size)})" if known else "results"
        return f"pickling and storing {what}"
    by_name = run_by_name(found)
    name = max(by_name, key=lambda key: by_name[key])
    return f"running {_code(name)}" if len(by_name) == 1 else f"running, {_code(name)} the longest"


def main_serialised(found: Cut) -> tuple[str, int, int]:
    """Returns (name, bytes of one, how often) of what took longest to serialise."""
    sums: dict[str, list[float]] = {}
    for note in found.serialised:
        entry = sums.setdefault(note.name, [0.0, 0, 0])
        entry[0] += note.took
        entry[1] = max(entry[1], note.size)
        entry[2] += 1
    name = max(sums, key=lambda key: sums[key][0])
    _, size, times = sums[name]
    return name, int(size), int(times)


def _code(name: str) -> str:
    name = printable(name)
    return name if " " in name else f"`{name}`"


def _waited(found: Cut) -> list[str]:
    waited = found.sums[QUEUE] / len(found.tasks)
    if found.slots >= 1 and waited > 0.05 and waited > 0.1 * found.wall:
        return [f"Tasks waited {format_seconds(waited)} on average, for a free slot or for their inputs."]
    return []


def _advice(found: Cut, phase: str, share: float) -> list[str]:
    mean = found.sums[RUN] / len(found.tasks)
    if phase == SERIALISE and share > 0.3:
        name, _, times = main_serialised(found)
        if times > 1 and name.isidentifier():
            return [f"Put it into the store once, `{name}_ref = raynb.put({name})`, and pass the ref."]
        return ["What is stored once (`raynb.put`) travels as a ref, which costs nothing."]
    if len(found.tasks) >= MANY_TASKS and mean < TINY_TASK_SECONDS:
        return [f"The tasks are tiny ({mean * 1e6:,.0f} µs on average): let each do more (`--chunk auto`)."]
    if phase == FETCH and share > 0.3:
        return ["Arrays and frames arrive without a copy; lists and dicts of many objects must be rebuilt."]
    if phase == STORE and share > 0.3 and any(task.state == FINISHED for task in found.tasks):
        return ["Return arrays rather than lists of many objects, or only what is needed."]
    return []
