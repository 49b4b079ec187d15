"""``%raynb rerun``: submits ``%%remote`` cells again, in the order of their inputs, with today's definitions.

Every cell is submitted at once: what depends on another takes its new refs, so the engine runs in parallel what is
independent, and a failure reaches what depends on it and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from raynb.base import engine as engines
from raynb.base import interrupts
from raynb.base.rows import TASK_ENDED
from raynb.exceptions import RayError
from raynb.jupyter.cells.watching import Again, wait_for_all
from raynb.jupyter.lineage.record import FAILED_RUN, Record
from raynb.jupyter.notebook import unfinished
from raynb.jupyter.output.registry import Cell, cell_name
from raynb.lineage.graph import CELL, Run

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook


@dataclass(slots=True)
class RerunPlan:
    """The runs that are submitted again, in order; ``after``: number → those of them that it takes from.

    Attributes:
        left: stale runs that cannot be submitted again, and why.
    """

    runs: list[Run] = field(default_factory=list)
    after: dict[int, set[int]] = field(default_factory=dict)
    left: list[tuple[Run, str]] = field(default_factory=list)


def plan_for(record: Record, names: Sequence[str], start: int | None) -> RerunPlan:
    """Returns what is to be submitted again.

    Args:
        names: results that are made anew, with what is stale of what they took; none: all that is stale.
        start: this cell, and what took something from it.

    Raises:
        UsageError: nothing that is known has made a name, or the cell.
    """
    record.refresh()
    shown = record.shown()
    stale = {run.number for run in shown if record.why_run(run)}
    if names:
        wanted = _making(record, shown, names, stale)
    elif start is not None:
        wanted = _from(record, shown, start)
    else:
        wanted = stale
    found = RerunPlan()
    chosen = []
    for run in shown:
        if run.number in wanted and run.kind == CELL and run.recipe is not None and run.recipe.cell is not None:
            chosen.append(run)
        elif run.number in wanted:
            found.left.append((run, "is a call in a plain cell; run that cell"))
    found.after = {run.number: _taken(record, run, chosen) for run in chosen}
    found.runs = _ordered(chosen, found.after)
    return found


def _making(record: Record, shown: Sequence[Run], names: Sequence[str], stale: set[int]) -> set[int]:
    wanted: set[int] = set()
    for name in names:
        makers = [run for run in shown if name in run.outputs]
        if not makers:
            raise UsageError(f"%raynb rerun: no cell that is known has made {name!r}; `%raynb graph` shows them.")
        wanted.add(makers[-1].number)
    waiting = list(wanted)
    while waiting:
        run = record.lineage.runs[waiting.pop()]
        more = _taken(record, run, shown) & stale - wanted
        wanted |= more
        waiting += more
    return wanted


def _from(record: Record, shown: Sequence[Run], start: int) -> set[int]:
    first = {run.number for run in shown if run.scope == start or start in run.came_from.values()}
    if not first:
        raise UsageError(f"%raynb rerun: nothing that is known was made in {cell_name(start)}, or of what it bound.")
    wanted = set(first)
    changed = True
    while changed:
        more = {run.number for run in shown if _taken(record, run, shown) & wanted}
        changed = not more <= wanted
        wanted |= more
    return wanted


def _taken(record: Record, run: Run, among: Iterable[Run]) -> set[int]:
    """Returns the runs that a run took from, or would take from today."""
    took = {number for numbers in run.upstream.values() for number in numbers}
    makers = {name: record.lineage.last_maker(name)[0] for name in run.reads}
    took |= {maker.number for maker in makers.values() if maker is not None}
    return {other.number for other in among if other.number in took and other is not run}


def _ordered(runs: Sequence[Run], after: dict[int, set[int]]) -> list[Run]:
    """Returns runs in the order of dependence; in a circle the one that ran first comes first."""
    left, done = sorted(runs, key=lambda run: run.number), []
    while left:
        placed = {run.number for run in left}
        ready = next((run for run in left if not after[run.number] & placed), left[0])
        left.remove(ready)
        done.append(ready)
    return done


def format_plan(plan: RerunPlan, submitted: bool) -> str:
    """Returns the plan as text."""
    lines = []
    if plan.runs:
        count = len(plan.runs)
        verb = "Submitted" if submitted else "Would submit"
        lines.append(f"{verb} {count:,} {'cell' if count == 1 else 'cells'} again:")
    names = {run.number: run for run in plan.runs}
    for run in plan.runs:
        after = [cell_name(names[number].scope) for number in sorted(plan.after[run.number])]
        line = run.line if len(run.line) <= 48 else run.line[:47] + "…"
        lines.append(f"  {cell_name(run.scope)}  {line}{'  after ' + ', '.join(after) if after else ''}")
    lines += [f"{cell_name(run.scope)} ({', '.join(run.outputs)}) {why}." for run, why in plan.left]
    return "\n".join(lines) or "Nothing is stale."


def run_again(notebook: Notebook, plan: RerunPlan, submit: Callable[[str, str], None]) -> None:
    """Submits the cells of a plan, and waits for them.

    Args:
        submit: the ``%%remote`` magic: line, body.

    Raises:
        KeyboardInterrupt: all of them were cancelled.
    """
    failed: set[int] = set()
    watches: list[Again] = []
    begun = _Begun()
    try:
        for run in plan.runs:
            if plan.after[run.number] & failed:
                failed.add(run.number)
                print(f"{cell_name(run.scope)} is left as it is: what it takes could not be submitted.")
                continue
            with _in_its_cell(notebook, run) as cell:
                begun = _Begun(cell.scope, _open_tasks(cell.scope), len(watches))
                try:
                    notebook.again, notebook.lineage.running_again = watches, run
                    submit(run.recipe.line, run.recipe.body)
                except Exception as error:  # of the cell's own: a name is gone, a value cannot travel
                    failed.add(run.number)
                    notebook.show_failure(cell.scope, error)
                finally:
                    notebook.again = notebook.lineage.running_again = None
        begun = _Begun()
        wait_for_all(notebook, notebook.scope, [again.watch for again in watches])
    except KeyboardInterrupt:
        if notebook.config.interrupt != "leave":
            with interrupts.Deferred():  # a second one stops nothing half way
                left, count = _cancel(watches, begun)
            text = f"Interrupted: {left:,} of {count:,} cells that were submitted again are cancelled.\n"
            notebook.router.show_text(notebook.scope, "stderr", text)
        raise
    for again in watches:
        if again.watch.first_error is None:
            again.finish()
    _report(notebook.lineage, plan, failed)


@dataclass(slots=True, frozen=True)
class _Begun:
    """A cell whose submission has begun: until its watch is there, only their scope says which tasks are its.

    Attributes:
        scope: of the cell; 0: none.
        before: its unfinished tasks of earlier submissions.
        watches: how many cells had been submitted before it.
    """

    scope: int = 0
    before: frozenset[int] = frozenset()
    watches: int = 0


def _open_tasks(scope: int) -> frozenset[int]:
    """Returns the unfinished tasks of a cell."""
    engine = engines.driver()
    if engine is None or not unfinished(engine.scope_counts(scope)):
        return frozenset()
    rows = engine.snapshot().tasks
    return frozenset(row.id for row in rows if row.scope == scope and row.state not in TASK_ENDED)


def _cancel(watches: Sequence[Again], begun: _Begun) -> tuple[int, int]:
    """Cancels cells that were submitted again, and the one whose submission was interrupted.

    Returns:
        (how many had not ended, how many had been submitted).
    """
    left = sum(not again.watch.finished.is_set() for again in watches)
    for again in watches:
        again.watch.cancel()
    engine = engines.driver()
    if engine is None or not begun.scope or len(watches) > begun.watches:
        return left, len(watches)
    tasks = _open_tasks(begun.scope) - begun.before
    for task in tasks:
        with contextlib.suppress(ValueError, RayError):  # over in this moment
            engine.cancel_task(task)
    return left + bool(tasks), len(watches) + bool(tasks)


@contextlib.contextmanager
def _in_its_cell(notebook: Notebook, run: Run) -> Iterator[Cell]:
    """Runs code as part of the run's own cell; where nobody watches, its output would be lost."""
    running = notebook.cells.running()
    if running is not None and running.batch:
        yield running
        return
    with notebook.cells.again(run.recipe.cell, run.recipe.text) as cell:
        if getattr(notebook.shell, "kernel", None) is not None:
            notebook.router.begin_again(cell.scope)
        yield cell


def _report(record: Record, plan: RerunPlan, refused: set[int]) -> None:
    """Prints which cells failed."""
    scopes = {run.scope for run in plan.runs}
    failed = [run for run in record.shown() if run.scope in scopes and record.state(run) == FAILED_RUN]
    count = len({run.scope for run in failed} | {run.scope for run in plan.runs if run.number in refused})
    if count:
        print(f"{count:,} of {len(plan.runs):,} failed; the errors are in their cells.")
