"""Executions of cells, what each read and made, and which of their results are still true. Pure: facts in, answers out.

A *run* is one execution: of a ``%%remote`` cell, of ``%remote``, or all calls of one function in one cell. It has
read names, each with the token that the name stood for (`raynb.lineage.tokens`), and of each name that held refs
the runs that had made them. `NotebookLineage.observe` says what names stand for now. From that follows whether a run
is stale:

- a name that it read stands for something else now, unless the run itself, or one made of it, has bound the name since
  (``total = total + x`` doesn't make itself stale);
- a run that it took something from is stale;
- its results were refs, and their runtime has ended.

A name that was deleted says nothing: there is nothing else that the result could be made of.

Thread contract: one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from raynb.lineage.tokens import CLASS, FUNCTION, MISSING, MODULE, REF, VARIABLE

#: How many runs are remembered, whatever lives of them.
MAX_RUNS = 2_000

CELL, LINE, CALLS = "cell", "line", "calls"

#: Kind of a `Reason`: the result itself is gone.
GONE = "gone"


@dataclass(slots=True, eq=False)
class Run:
    """One execution.

    Attributes:
        number: counts up.
        scope: of the cell that it is or was made in.
        kind: `CELL` (``%%remote``), `LINE` (``%remote``) or `CALLS` (of one function in one cell).
        cell: what is the same when the cell is executed again.
        line: its first line of code, or the function's name.
        direct: the names that its code itself reads; the others in ``reads`` are read by functions.
        reads: name → the token that it stood for.
        came_from: name that its code reads → the scope in which it had come to be.
        upstream: name → numbers of the runs that had made the refs in it.
        outputs: names that it binds.
        tasks: ids of its tasks.
        recipe: whatever it takes to submit it again; None: that can't be done.
    """

    number: int
    scope: int
    kind: str
    cell: str
    line: str
    direct: tuple[str, ...] = ()
    reads: dict[str, str] = field(default_factory=dict)
    came_from: dict[str, int] = field(default_factory=dict)
    upstream: dict[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    recipe: Any = None
    replaced: dict[str, tuple[int, str]] = field(default_factory=dict)  # who had bound its outputs before
    gone: bool = False  # its results were refs of a runtime that has ended


@dataclass(slots=True)
class Seen:
    """A name as it was seen last: its token, its kind, and the cell that changed it."""

    token: str
    kind: str
    scope: int


@dataclass(slots=True, frozen=True)
class Reason:
    """Why a run is stale.

    Attributes:
        name: what it read that is another now.
        kind: of what the name stands for now.
        scope: the cell in which it became so; 0: outside cells.
        via: the runs between, nearest first, each with the name that its result went by.
    """

    name: str
    kind: str
    scope: int
    via: tuple[tuple[str, int], ...] = ()


class NotebookLineage:
    """The runs of one notebook."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        self.now: dict[str, Seen] = {}
        self._makers: dict[str, tuple[int, str]] = {}  # name → (the run that bound it, the token that it then had)
        self._run_of_task: dict[int, int] = {}
        self._same: dict[str, str] = {}  # token of a ref → token of its value, where somebody has looked
        self._numbers = 0
        self._reasons: dict[int, Reason | None] | None = None

    # -- facts ---------------------------------------------------------------------------------
    def record(self, run: Run, kinds: Mapping[str, str]) -> Run:
        """Adds a run; gives it its number. ``upstream`` may be given as far as it is known.

        Args:
            kinds: name → what kind of thing it stood for.
        """
        self._numbers += 1
        run.number = self._numbers
        self.runs[run.number] = run
        for task in run.tasks:
            self._run_of_task[task] = run.number
        for name, token in run.reads.items():
            maker = self._makers.get(name)
            if maker is not None and maker[1] == token and maker[0] in self.runs:
                known = run.upstream.get(name, ())
                if maker[0] not in known:
                    run.upstream[name] = (*known, maker[0])
            if name not in self.now:
                self.now[name] = Seen(token, kinds.get(name, ""), run.came_from.get(name, 0))
        self.observe({name: (token, kinds.get(name, "")) for name, token in run.reads.items()}, run.scope)
        if self._reasons is not None:
            self._reasons[run.number] = self._reason(run, self._reasons)
        while len(self.runs) > MAX_RUNS:
            self._forget(next(iter(self.runs)))
        return run

    def bound(self, run: Run, tokens: Mapping[str, str]) -> None:
        """Says that a run has bound names, and what they stand for since."""
        for name, token in tokens.items():
            if name in self._makers and name not in run.replaced:
                run.replaced[name] = self._makers[name]
            self._makers[name] = run.number, token
            if name in self.now:
                self._reasons = None
        self.observe({name: (token, REF) for name, token in tokens.items() if name in self.now}, run.scope)

    def left(self, run: Run, name: str) -> None:
        """Says that a run has not bound a name after all, which has its earlier value again."""
        before = run.replaced.pop(name, None)
        if before is not None:
            self._makers[name] = before
        else:
            self._makers.pop(name, None)
        self._reasons = None

    def ended(self, gone: Collection[int]) -> None:
        """Says that the runtime has ended, and with it the results of these runs; the next one counts tasks anew."""
        for run in self.runs.values():
            run.tasks = ()
            run.gone = run.gone or run.number in gone
        self._run_of_task.clear()
        self._reasons = None

    def narrow(self, run: Run, names: Collection[str]) -> None:
        """Says that of the names that a run's code was thought to read, it reads only these."""
        for name in [name for name in run.direct if name not in names]:
            for table in (run.reads, run.upstream, run.came_from):
                table.pop(name, None)
        run.direct = tuple(name for name in run.direct if name in names)
        self._reasons = None

    def swapped(self, name: str, before: str, after: str, value: str) -> None:
        """Says that a name stands for the value of the ref that it was, or for a ref of the value that it was.

        Who has read the one has read the other.

        Args:
            before, after: tokens of the name.
            value: that of the two which stands for the value.
        """
        maker = self.maker_of(name, before)
        self._same[before if value == after else after] = value
        if maker is not None:
            self._makers[name] = maker.number, after
        if name in self.now:
            self.now[name].token = after
        self._reasons = None

    def observe(self, found: Mapping[str, tuple[str, str]], scope: int) -> None:
        """Says what tracked names stand for: name → (token, kind).

        Args:
            scope: the cell that has just run: what has changed has changed in it.
        """
        for name, (token, kind) in found.items():
            seen = self.now.get(name)
            if seen is None or seen.token != token:
                self.now[name] = Seen(token, kind, scope)
                self._reasons = None

    # -- answers -------------------------------------------------------------------------------
    def run_of(self, task: int) -> Run | None:
        """Returns the run that a task, or a put value, belongs to."""
        return self.runs.get(self._run_of_task.get(task, 0))

    def maker_of(self, name: str, token: str) -> Run | None:
        """Returns the run that has bound a name to what it stands for."""
        number, bound = self._makers.get(name, (0, ""))
        return self.runs.get(number) if bound == token else None

    def last_maker(self, name: str) -> tuple[Run | None, str]:
        """Returns (the run that bound a name last, what it stood for then)."""
        number, token = self._makers.get(name, (0, MISSING))
        return self.runs.get(number), token

    def verdicts(self) -> Mapping[int, Reason | None]:
        """Returns number → why that run is stale; the same object as long as nothing that counts has changed."""
        if self._reasons is None:
            self._reasons = self._judge()
        return self._reasons

    def reason(self, run: Run) -> Reason | None:
        """Returns why a run is stale, or that its results are gone; None: neither."""
        # What others have made of results while those were there is as true as before.
        return Reason("", GONE, 0) if run.gone else self.verdicts().get(run.number)

    def latest(self) -> dict[str, Run]:
        """Returns cell → its latest run, in the order of the runs."""
        return {run.cell: run for run in self.runs.values()}

    def _judge(self) -> dict[int, Reason | None]:
        found: dict[int, Reason | None] = {}
        for run in self.runs.values():  # in order: what a run took comes before it
            found[run.number] = self._reason(run, found)
        return found

    def _reason(self, run: Run, found: Mapping[int, Reason | None]) -> Reason | None:
        for name, token in run.reads.items():
            seen = self.now[name]
            if seen.token == MISSING != token or self._value(seen.token) == self._value(token):
                continue
            maker = self.maker_of(name, seen.token)
            if maker is None or not self._made_of(maker, run):
                return Reason(name, REF if maker is not None else seen.kind, seen.scope)
        for name, numbers in run.upstream.items():
            for number in numbers:
                why = found.get(number)
                if why is not None:
                    return Reason(why.name, why.kind, why.scope, ((name, self.runs[number].scope), *why.via))
        return None

    def _value(self, token: str) -> str:
        return self._same.get(token, token)

    def _made_of(self, run: Run, other: Run) -> bool:
        """Returns whether a run is another one, or took something, directly or not, that the other made."""
        waiting, seen = [run.number], set()
        while waiting:
            number = waiting.pop()
            if number == other.number:
                return True
            if number in seen or number < other.number:
                continue
            seen.add(number)
            made = self.runs.get(number)
            waiting += [one for numbers in made.upstream.values() for one in numbers] if made is not None else []
        return False

    # -- forgetting ----------------------------------------------------------------------------
    def keep(self, alive: Collection[int]) -> None:
        """Forgets the runs that neither are among ``alive`` nor have made something that one of those took."""
        wanted = set(alive)
        for run in reversed(self.runs.values()):
            if run.number in wanted:
                wanted.update(number for taken in run.upstream.values() for number in taken)
        for number in [number for number in self.runs if number not in wanted]:
            self._forget(number)
        tracked = {name for run in self.runs.values() for name in run.reads}
        for name in [name for name in self.now if name not in tracked]:
            del self.now[name]
        used = {run.reads[name] for run in self.runs.values() for name in run.reads}
        used.update(seen.token for seen in self.now.values())
        self._same = {ref: value for ref, value in self._same.items() if ref in used}

    def _forget(self, number: int) -> None:
        run = self.runs.pop(number)
        for task in run.tasks:
            if self._run_of_task.get(task) == number:
                del self._run_of_task[task]
        for name, (maker, _) in list(self._makers.items()):
            if maker == number:
                del self._makers[name]


def sentence(reason: Reason, cell: Any) -> str:
    """Returns a reason as a sentence without its full stop: "`clean` was redefined in In[12]".

    Args:
        cell: scope → what the cell is called.
    """
    place = f" in {cell(reason.scope)}" if reason.scope else ""
    name = f"`{reason.name.rpartition(' ')[2]}`"
    if reason.kind in (FUNCTION, CLASS):
        text = f"{name} was redefined{place}"
    elif reason.kind == GONE:
        text = "it was made by a runtime that has ended"
    elif reason.kind == REF:
        text = f"{name} was made anew{place}"
    elif reason.kind == MODULE:
        text = f"the module {name} has changed{place or ' since'}"
    elif reason.kind == VARIABLE:
        text = f"the environment variable {name} has changed{place or ' since'}"
    else:
        text = f"{name} was given another value{place}"
    if not reason.via:
        return text
    (made, scope), *_ = reason.via
    return f"`{made}` comes from {cell(scope)}, which is stale: {text}"
