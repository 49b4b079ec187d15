"""From samples to a table: medians, spreads, and ratios taken within one round.

Other work on the machine slows whole rounds down, so a ratio is formed inside each round, and
the median of those is what the table shows. Figures of different rounds are never divided.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import Case

#: One list of samples a round; empty where the engine has no such thing.
Rounds = list[list[float]]


@dataclass(frozen=True)
class Figure:
    """A median, and the middle half of the samples around it as a share of the median."""

    median: float
    spread: float

    def __str__(self) -> str:
        return f"{short(self.median)} ±{100 * self.spread:.0f}%"


def figure(rounds: Rounds) -> Figure | None:
    """Returns the figure of all samples together, or None where there are none."""
    samples = [sample for one in rounds for sample in one]
    if not samples:
        return None
    median = statistics.median(samples)
    if len(samples) < 2 or median == 0:
        return Figure(median, 0.0)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Figure(median, (high - low) / 2 / abs(median))


def ratio(ours: Rounds, theirs: Rounds, more: bool) -> float | None:
    """Returns how many times better ``ours`` is: the median over the rounds that have both.

    ``more`` says whether larger is better; above 1 always means that ours is the better one.
    """
    found = []
    for mine, yours in zip(ours, theirs, strict=False):
        if mine and yours:
            a, b = statistics.median(mine), statistics.median(yours)
            upper, lower = (a, b) if more else (b, a)
            if lower > 0:
                found.append(upper / lower)
    return statistics.median(found) if found else None


def short(value: float) -> str:
    """Writes a figure with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def times(value: float | None) -> str:
    """Writes a ratio."""
    return "–" if value is None else f"{short(value)}×"


def table(
    cases: Sequence[Case],
    samples: dict[str, dict[str, Rounds]],
    engines: Sequence[str],
    labels: dict[str, str],
) -> str:
    """Returns the table as Markdown.

    The first engine is the one that is compared: its own column holds figures, the others hold
    their figure and, in brackets, how many times better the first engine was.
    """
    first, *others = engines
    rows = [["case", f"{labels[first]}", *(labels[name] for name in others)]]
    for case in cases:
        ours = samples[case.name].get(first, [])
        own = figure(ours)
        row = [f"{case.title} ({case.unit})", str(own) if own else "–"]
        for name in others:
            theirs = samples[case.name].get(name, [])
            value = figure(theirs)
            if value is None:
                row.append("–")
            else:
                row.append(f"{value} ({times(ratio(ours, theirs, case.more))})")
        if any(cell != "–" for cell in row[1:]):
            rows.append(row)
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows (the first is the head) as a Markdown table with straight columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(cells)} |"

    rule = "|-" + "-|-".join("-" * width for width in widths) + "-|"
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:])])
