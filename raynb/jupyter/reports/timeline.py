"""``%raynb timeline``: a cell's tasks as a picture that is saved in the notebook.

One lane a task with its phases (waiting, fetching inputs, running, storing results), and one for what
the kernel serialised; with more tasks than lanes, one lane a worker, and one that shows how many wait.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from raynb.base.rows import FAILED
from raynb.jupyter.formatting import format_seconds, picture_or_text, short_task
from raynb.jupyter.reports.timing import FETCH, PHASES, QUEUE, RUN, SERIALISE, STORE, WORK, Cut, Span, strips, verdict

#: With more tasks than this, lanes are workers.
TASK_LANES = 40

#: Of functions, as in the live timeline (`labextension/src/ui/colours.ts`): colour-blind people tell them apart.
FUNCTION_COLOURS = ("#1f77b4", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7a5fb5", "#b8a400", "#8c564b")
_COLOURS = {SERIALISE: "#a2335f", QUEUE: "#9aa5b1"}
_FAILED = "#d32f2f"
_PALE_OPACITY = 0.45  # opacity of fetching and storing
LEGEND_SHOWN = 6  # functions
_WIDTH, _GUTTER, _LANE, _AXIS = 860, 130, 18, 22
_BAR_CHARACTERS = 30  # characters of the text's bars


@dataclass(slots=True)
class Stroke:
    """A stretch of a lane. ``tip``: what it says under the pointer."""

    phase: str
    begin: float
    end: float
    tip: str
    failed: bool = False
    name: str = ""  # of the function


Lane = tuple[str, list[Stroke]]


class Timeline:
    """The picture of one cell, as HTML and as text."""

    def __init__(self, found: Cut) -> None:
        self.found = found
        self.sentences = verdict(found)

    def __repr__(self) -> str:
        return "\n".join([self.found.head(), *self.sentences, "", self._bars()])

    def _bars(self) -> str:
        """Returns a line a phase."""
        found, lines = self.found, []
        for phase in (*WORK, QUEUE):
            seconds = found.sums[phase]
            share = found.share(phase) if phase != QUEUE else 0.0
            bar = "#" * round(share * _BAR_CHARACTERS)
            percent = f"{share:4.0%}".replace("%", " %") if phase != QUEUE else " " * 6
            lines.append(f"  {PHASES[phase]:<25} {format_seconds(seconds):>9}  {percent}  {bar}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        found = self.found
        first, *rest = (re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(one)) for one in self.sentences)
        keys = " ".join(
            f'<span style="white-space:nowrap"><span aria-hidden="true" style="{look}">■</span> {what}</span>'
            for look, what in legend(found)
        )
        drawn = f'{picture(found)}<div style="opacity:.8">{keys}</div>'
        return (
            '<div class="raynb-timeline" style="font:13px/1.6 system-ui,sans-serif;overflow-wrap:anywhere">'
            f"<div>{html.escape(found.head())}</div><div><b>{first}</b> {' '.join(rest)}</div>"
            f"{picture_or_text(drawn, self._bars())}</div>"
        )


# -- lanes ---------------------------------------------------------------------------------------
def lanes(found: Cut) -> list[Lane]:
    """Returns the lanes from top to bottom."""
    drawn: list[Lane] = []
    if found.serialised:
        strokes = [
            Stroke(SERIALISE, n.began, n.began + n.took, f"serialising {n.name}: {format_seconds(n.took)}")
            for n in found.serialised
        ]
        drawn.append(("kernel", strokes))
    if len(found.tasks) <= TASK_LANES:
        for task in found.tasks:
            name = f"{task.name}#{short_task(task.id)}"
            on = f" on worker {task.worker}" if task.worker else ""
            failed = task.state == FAILED
            strokes = [stroke(span, f"{name}{on}", failed, task.name) for span in found.spans(task)]
            drawn.append((name, strokes))
        return drawn
    for strip in strips(found.tasks):
        strokes = [
            stroke(span, task.name, task.state == FAILED, task.name)
            for task in strip.tasks for span in found.spans(task) if span.phase != QUEUE
        ]  # fmt: skip
        drawn.append((f"worker {strip.worker}", strokes))
    return drawn


def stroke(span: Span, name: str, failed: bool, function: str) -> Stroke:
    """Returns a phase of a task as a stroke of its lane."""
    words = f"{name}: {PHASES[span.phase]} {format_seconds(span.end - span.begin)}"
    return Stroke(span.phase, span.begin, span.end, words, failed and span.phase == RUN, function)


def colour(found: Cut, one: Stroke) -> str:
    """Returns the colour of a stroke: that of its function, except for waiting and for the kernel's."""
    if one.phase in _COLOURS:
        return _COLOURS[one.phase]
    return FUNCTION_COLOURS[found.numbers.get(one.name, 0) % len(FUNCTION_COLOURS)]


def legend(found: Cut) -> list[tuple[str, str]]:
    """Returns (style, escaped text) of what the colours mean."""
    names = list(dict.fromkeys(task.name for task in found.tasks))
    keys = [(f"color:{colour(found, Stroke(RUN, 0, 0, '', name=name))}", name) for name in names[:LEGEND_SHOWN]]
    if len(names) > LEGEND_SHOWN:
        keys.append(("opacity:0", f"and {len(names) - LEGEND_SHOWN} more functions"))
    keys.append((f"opacity:{_PALE_OPACITY}", "fetching or storing"))
    if any(task.state == FAILED for task in found.tasks):
        keys.append((f"color:{_FAILED}", "failed"))
    waited = format_seconds(found.sums[QUEUE] / len(found.tasks))
    keys.append((f"color:{_COLOURS[QUEUE]}", f"waiting, {waited} on average"))
    if found.serialised:
        keys.append((f"color:{_COLOURS[SERIALISE]}", f"{PHASES[SERIALISE]} {format_seconds(found.sums[SERIALISE])}"))
    return [(look, html.escape(what)) for look, what in keys]


def joined(strokes: Iterable[Stroke], least: float) -> list[Stroke]:
    """Returns strokes in order, those closer than ``least`` seconds and of one kind made one."""
    out: list[Stroke] = []
    for one in sorted(strokes, key=lambda s: s.begin):
        last = out[-1] if out else None
        small = one.end - one.begin < least
        near = last is not None and one.begin - last.end < least and last.failed == one.failed
        near = near and (last is None or last.name == one.name or small)
        if last is not None and near and (last.phase == one.phase or small):
            who, other = last.tip.rpartition(":")[0], one.tip.rpartition(":")[0]
            tip = f"{who}: several times" if who == other else f"several: {PHASES[last.phase]}"
            out[-1] = Stroke(last.phase, last.begin, max(last.end, one.end), tip, last.failed, last.name)
        else:
            out.append(one)
    return out


def waiting_steps(found: Cut) -> list[tuple[float, int]]:
    """Returns (time, how many tasks wait from then on)."""
    changes: list[tuple[float, int]] = []
    for task in found.tasks:
        changes.append((task.submitted, 1))
        changes.append((task.started or task.ended or found.now, -1))
    count, steps = 0, []
    for when, by in sorted(changes):
        count += by
        steps.append((when, count))
    return steps


# -- SVG -----------------------------------------------------------------------------------------
def picture(found: Cut) -> str:
    """Returns the SVG; it takes its text colour from the page, so it fits light and dark themes."""
    drawn = lanes(found)
    several = len(found.tasks) > TASK_LANES
    rows = len(drawn) + several
    height = rows * _LANE + _AXIS
    scale = (_WIDTH - _GUTTER - 10) / found.wall
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'style="width:100%;max-width:{_WIDTH}px;height:auto;font:11px system-ui,sans-serif" fill="currentColor">'
        f"<title>{html.escape(found.head())}. {html.escape(verdict(found)[0])}</title>"
    )
    parts = [head]
    top = 0
    if several:
        parts.append(_waiting(found, scale))
        top = _LANE
    for name, strokes in drawn:
        label = name if len(name) <= 18 else name[:8] + "…" + name[-9:]
        parts.append(f'<text x="{_GUTTER - 6}" y="{top + 13}" text-anchor="end">{html.escape(label)}</text>')
        for one in joined(strokes, 0.5 / scale) if several or name == "kernel" else strokes:
            x = _GUTTER + (one.begin - found.begin) * scale
            width = max((one.end - one.begin) * scale, 0.6)
            thin = one.phase == QUEUE
            pale = f' fill-opacity="{_PALE_OPACITY}"' if one.phase in (FETCH, STORE) else ""
            parts.append(
                f'<rect x="{x:.1f}" y="{top + (8 if thin else 3)}" width="{width:.1f}" height="{2 if thin else 12}" '
                f'fill="{colour(found, one)}"{pale}><title>{html.escape(one.tip)}</title></rect>'
            )
            if one.failed:
                parts.append(f'<rect x="{x:.1f}" y="{top + 14}" width="{width:.1f}" height="3" fill="{_FAILED}"/>')
        top += _LANE
    parts.append(_axis(found, scale, top))
    parts.append("</svg>")
    return "".join(parts)


def _waiting(found: Cut, scale: float) -> str:
    """Returns the lane of how many tasks wait, as a filled curve with a point a pixel at most."""
    steps = waiting_steps(found)
    most = max(count for _, count in steps) or 1
    columns: dict[int, int] = {}
    for when, count in steps:
        columns[int((when - found.begin) * scale)] = count
    points, last = [f"{_GUTTER},{_LANE - 2}"], 0
    for x, count in sorted(columns.items()):
        points += [f"{_GUTTER + x},{_y(last, most)}", f"{_GUTTER + x},{_y(count, most)}"]
        last = count
    points += [f"{_WIDTH - 10},{_y(last, most)}", f"{_WIDTH - 10},{_LANE - 2}"]
    tip = f"<title>up to {most:,} tasks waited at once</title>"
    return (
        f'<text x="{_GUTTER - 6}" y="13" text-anchor="end">waiting</text>'
        f'<polygon points="{" ".join(points)}" fill="{_COLOURS[QUEUE]}">{tip}</polygon>'
    )


def _y(count: int, most: int) -> float:
    return round(_LANE - 2 - (_LANE - 4) * count / most, 1)


def _axis(found: Cut, scale: float, top: int) -> str:
    step = nice_step(found.wall / 6)
    line = f'x1="{_GUTTER}" x2="{_WIDTH - 10}" y1="{top + 2}" y2="{top + 2}"'
    parts = [f'<line {line} stroke="currentColor" opacity=".3"/>']
    for number in range(int(found.wall / step) + 1):
        x = _GUTTER + number * step * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{top + 5}" stroke="currentColor" opacity=".12"/>'
            f'<text x="{x:.1f}" y="{top + 17}" text-anchor="middle" opacity=".7">{tick(number * step, step)}</text>'
        )
    return "".join(parts)


def nice_step(rough: float) -> float:
    """Returns the next of 1, 2, 5, 10, … times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def tick(seconds: float, step: float) -> str:
    """Returns a time on the axis, as exact as the step."""
    if step < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if step < 1:
        return f"{seconds * 1e3:.0f} ms" if step < 0.1 else f"{seconds:.1f} s"
    return f"{seconds:.0f} s"
