"""``%raynb graph``: which cell took what from which, as a picture that is saved in the notebook, and as text."""

from __future__ import annotations

import html

from raynb.base.text import printable
from raynb.jupyter.formatting import picture_or_text
from raynb.jupyter.lineage.record import FAILED_RUN, FRESH, RUNNING, STALE, Record, cell_id
from raynb.jupyter.output.registry import cell_name
from raynb.lineage.layout import PLAIN, CellNode, Graph, graph_of

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _EDGE = 196, 44, 24, 52, 12
_LABEL_CHARACTERS = 27
#: To which part of its size a picture shrinks; a narrower place scrolls, because nobody can read what is smaller.
_MIN_SCALE = 0.85

#: State → colour of its frame; on light and dark pages alike.
_COLOURS = {FRESH: "#2f9a6c", STALE: "#c77f14", FAILED_RUN: "#d2413a", RUNNING: "#1f78d1", PLAIN: "#8a94a0"}
_DASHES = {STALE: "6 3", RUNNING: "2 3"}


def graph(record: Record) -> Graph:
    """Returns the notebook's graph as it is now."""
    record.refresh()
    cells: list[str] = record.notebook.shell.history_manager.input_hist_raw

    def line(scope: int) -> str:
        return _first(cells[scope]) if 0 < scope < len(cells) else ""

    found = graph_of(record.lineage, record.shown(), lambda run: (record.state(run), record.why_run(run)), line)
    for node in found.nodes.values():
        node.cell_id = cell_id(record.notebook.cells.get(node.scope))
    return found


def markup(record: Record) -> str:
    """Returns the notebook's graph as it is now, for a page; empty where there is none."""
    found = graph(record)
    return Picture(found)._repr_html_() if found.nodes else ""


def _first(source: str) -> str:
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith(("%%", "#", "@"))]
    return next(iter([*code, *lines]), "")


class Picture:
    """A graph as SVG and as text."""

    def __init__(self, found: Graph) -> None:
        self.found = found

    def __repr__(self) -> str:
        if not self.found.nodes:
            return "No cell has submitted tasks yet."
        lines: list[str] = []
        nodes = sorted(self.found.nodes.values(), key=lambda node: (node.row, node.column))
        width = max(len(cell_name(node.scope)) for node in nodes)
        for node in nodes:
            state = "" if node.state == PLAIN else f"  {node.state}{f': {node.why}' if node.why else ''}"
            lines.append(printable(f"{cell_name(node.scope):<{width}}  {_cut(node.line, 48)}{state}"))
            for (source, target), names in sorted(self.found.edges.items()):
                if target == node.scope:
                    lines.append(f"{'':<{width}}    ← {', '.join(names)} of {cell_name(source)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if not self.found.nodes:
            return f"<div>{html.escape(repr(self))}</div>"
        keys = " ".join(
            f'<span style="white-space:nowrap"><span aria-hidden="true" style="color:{_COLOURS[state]}">■</span> '
            f"{state}</span>"
            for state in (FRESH, STALE, FAILED_RUN, RUNNING, PLAIN)
        )
        picture = f'<div style="overflow-x:auto">{svg(self.found)}</div><div style="opacity:.8">{keys}</div>'
        return (
            '<div class="raynb-graph" style="font:13px/1.6 system-ui,sans-serif">'
            f"{picture_or_text(picture, repr(self))}</div>"
        )


def svg(found: Graph) -> str:
    """Returns the SVG; it takes its text colour from the page, so it fits light and dark themes."""
    columns = 1 + max(node.column for node in found.nodes.values())
    rows = 1 + max(node.row for node in found.nodes.values())
    width, height = columns * (_WIDTH + _ACROSS) + _ACROSS, rows * (_HEIGHT + _DOWN) - _DOWN + 2 * _EDGE
    stale = sum(node.state == STALE for node in found.nodes.values())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'style="width:100%;min-width:{width * _MIN_SCALE:.0f}px;max-width:{width}px;height:auto;'
        'font:11px system-ui,sans-serif" fill="currentColor">'
        f"<title>{len(found.nodes)} cells and what they took from each other; {stale} stale</title>"
    )
    parts: list[str] = []
    for target in found.nodes.values():
        sources = [found.nodes[one] for one, other in found.edges if other == target.scope]
        sources.sort(key=lambda node: (node.column, -node.row))
        for place, source in enumerate(sources):
            names = found.edges[source.scope, target.scope]
            parts.append(_edge(source, target, names, place, len(sources)))
    parts += [_box(node) for node in found.nodes.values()]
    return "".join([head, *parts, "</svg>"])


def _corner(node: CellNode) -> tuple[float, float]:
    return _ACROSS + node.column * (_WIDTH + _ACROSS), _EDGE + node.row * (_HEIGHT + _DOWN)


def _box(node: CellNode) -> str:
    x, y = _corner(node)
    colour, dash = _COLOURS[node.state], _DASHES.get(node.state)
    stroke = f'stroke="{colour}" stroke-width="1.6"' + (f' stroke-dasharray="{dash}"' if dash else "")
    state = "" if node.state == PLAIN else f" · {node.state}"
    cell = f' data-cell="{html.escape(node.cell_id)}"' if node.cell_id else ""
    tip = html.escape(f"{cell_name(node.scope)}{state}{f': {node.why}' if node.why else ''}\n{node.line}")
    box = f'x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"'
    return (
        f'<g{cell}><title>{tip}</title><rect {box} fill="{colour}" '
        f'fill-opacity=".1" {stroke}/>'
        f'<text x="{x + 9}" y="{y + 17}" font-weight="600">{html.escape(cell_name(node.scope))}'
        f'<tspan font-weight="400" opacity=".85">{state}</tspan></text>'
        f'<text x="{x + 9}" y="{y + 34}" font-family="ui-monospace,Menlo,Consolas,monospace">'
        f"{html.escape(_cut(node.line, _LABEL_CHARACTERS))}</text></g>"
    )


def _edge(source: CellNode, target: CellNode, names: list[str], place: int, of: int) -> str:
    """Returns one edge; it arrives at its own place of so many that arrive at the target."""
    (x1, y1), (x2, y2) = _corner(source), _corner(target)
    x1, x2 = x1 + _WIDTH / 2, x2 + _WIDTH * (place + 1) / (of + 1)
    down = source.row < target.row
    y1, y2 = (y1 + _HEIGHT, y2) if down else (y1, y2 + _HEIGHT)
    bend = _DOWN * (0.6 if down else -0.6)
    label = html.escape(_cut(", ".join(names), 24))
    colour = _COLOURS[target.state]
    tip, wing = html.escape(", ".join(names)), y2 - (7 if down else -7)
    stroke = f'fill="none" stroke="{colour}" stroke-width="1.4"'
    curve = f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}"
    head = f"M{x2 - 4:.0f},{wing:.0f} L{x2:.0f},{y2:.0f} L{x2 + 4:.0f},{wing:.0f}"
    lift = 11 + 12 * (place % 2 if of > 2 else 0)  # neighbours' labels don't touch
    at_x, at_y = x2, (y2 - lift if down else y2 + lift + 7)
    return (
        f"<g><title>{tip}: {cell_name(source.scope)} → {cell_name(target.scope)}</title>"
        f'<path d="{curve}" {stroke} opacity=".75"/><path d="{head}" {stroke}/>'
        f'<text x="{at_x:.0f}" y="{at_y:.0f}" text-anchor="middle" opacity=".9">{label}</text></g>'
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
