"""Cells and what they took from each other, as nodes and edges with a place for each. Pure.

A node is a cell: all runs in it together. What was bound in plain cells comes from nodes without a state. The rows
follow the order of dependence from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raynb.lineage.graph import NotebookLineage, Run
from raynb.lineage.tokens import MODULE

#: A cell without tasks of its own, from which others took names.
PLAIN = "plain"

#: Nodes of one picture; of more, the latest.
MAX_NODES = 300


@dataclass(slots=True)
class CellNode:
    """One cell. ``state`` is that of its runs, or `PLAIN`; ``why``: in words; ``cell_id``: the front end's,
    where it has one; ``column`` and ``row``: its place."""

    scope: int
    line: str = ""
    state: str = PLAIN
    why: str = ""
    cell_id: str = ""
    row: int = 0
    column: int = 0


@dataclass(slots=True)
class Graph:
    """Nodes by scope, and edges (from, to) → the names that went that way."""

    nodes: dict[int, CellNode] = field(default_factory=dict)
    edges: dict[tuple[int, int], list[str]] = field(default_factory=dict)


def graph_of(
    lineage: NotebookLineage, shown: Iterable[Run], state: Callable[[Run], tuple[str, str]], line: Callable[[int], str]
) -> Graph:
    """Returns the graph of the runs that are shown, and of what these took from.

    Args:
        state: run → (its state, why).
        line: scope → the first line of a cell.
    """
    found = Graph()
    runs = _with_sources(lineage, shown)[-MAX_NODES:]
    for run in runs:
        node = found.nodes.setdefault(run.scope, CellNode(run.scope, line(run.scope) or run.line))
        new, why = state(run)
        if _WORSE.index(new) >= _WORSE.index(node.state):
            node.state, node.why = new, why
    for run in runs:
        for name in run.reads:
            taken = [lineage.runs[number].scope for number in run.upstream.get(name, ()) if number in lineage.runs]
            seen = lineage.now.get(name)
            if not taken and (seen is None or seen.kind != MODULE):
                taken = [run.came_from.get(name, 0)]
            for scope in taken:
                if scope and scope != run.scope:
                    found.nodes.setdefault(scope, CellNode(scope, line(scope)))
                    names = found.edges.setdefault((scope, run.scope), [])
                    if name not in names:
                        names.append(name)
    _place(found, {run.scope: run.number for run in runs})
    return found


_WORSE = (PLAIN, "fresh", "stale", "running", "failed")


def _with_sources(lineage: NotebookLineage, shown: Iterable[Run]) -> list[Run]:
    wanted: dict[int, Run] = {}
    waiting = list(shown)
    while waiting:
        run = waiting.pop()
        if run.number not in wanted:
            wanted[run.number] = run
            numbers = [number for taken in run.upstream.values() for number in taken]
            waiting += [lineage.runs[number] for number in numbers if number in lineage.runs]
    return [wanted[number] for number in sorted(wanted)]


def _place(found: Graph, order: dict[int, int]) -> None:
    """Gives each node its row and column. Edges against the order (of a cell that was run again) don't count."""
    forward = [edge for edge in found.edges if order.get(edge[0], 0) < order.get(edge[1], 0)]
    scopes = sorted(found.nodes, key=lambda scope: (order.get(scope, 0), scope))
    for scope in scopes:
        above = [found.nodes[source].row for source, target in forward if target == scope]
        found.nodes[scope].row = max(above, default=-1) + 1
    for scope in scopes:  # what only feeds a cell stands right above it
        below = [found.nodes[target].row for source, target in forward if source == scope]
        if below and not any(target == scope for _, target in forward):
            found.nodes[scope].row = min(below) - 1
    rows: dict[int, list[CellNode]] = {}
    for scope in scopes:
        rows.setdefault(found.nodes[scope].row, []).append(found.nodes[scope])
    for row in sorted(rows):
        def middle(node: CellNode) -> float:
            above = [found.nodes[source].column for source, target in forward if target == node.scope]
            return sum(above) / len(above) if above else float(node.column)

        for column, node in enumerate(sorted(rows[row], key=lambda node: (middle(node), node.scope))):
            node.column = column
