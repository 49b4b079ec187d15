"""One picture of the workloads: for each, the time of every engine beside the serial one."""

from __future__ import annotations

from html import escape
from typing import Any

from benchmarks.workloads import problems, samples

COLOURS = {
    "raynb": "#0b7285", "Ray": "#4dabf7", "Dask": "#f08c00", "ipyparallel": "#9775fa", "joblib": "#74b816",
    "multiprocessing": "#868e96",
}  # fmt: skip
WIDTH, LEFT, ROW, GAP = 920, 250, 11, 16


def draw(found: dict[str, Any]) -> str:
    """Returns an SVG: bars of the speed-up over the serial run, with a line at the number of CPUs, and in each workload
    one at what serial programs side by side reach."""
    workers, judged = found["workers"], samples.judged(found)
    most = max(
        [float(workers)]
        + [row["efficiency"] * workers for name, row in _rows(judged) if name in COLOURS and "efficiency" in row]
    )
    most = min(most, 2.0 * workers)
    scale = (WIDTH - LEFT - 60) / most
    parts, y = [], 44
    for at, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{LEFT + at * 112}" y="10" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + at * 112 + 14}" y="19">{escape(name)}</text>')
    top = y - 8
    for workload, rows in judged.items():
        present = [name for name in COLOURS if "efficiency" in rows.get(name, {})]
        middle = y + len(present) * ROW / 2 + 4
        label = escape(problems.LABELS.get(workload, workload))
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{label}</text>')
        reached = samples.ceiling(found, workload)
        if reached is not None:
            x = LEFT + reached * workers * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + len(present) * ROW + 1}" stroke="#c92a2a"/>'
            )
        for name in present:
            faster = rows[name]["efficiency"] * workers
            width = min(faster, most) * scale
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 2}" fill="{COLOURS[name]}"/>'
                f'<text x="{LEFT + width + 4:.1f}" y="{y + 8}" font-size="9">{faster:.1f}×</text>'
            )
            y += ROW
        y += GAP
    ideal = LEFT + workers * scale
    parts.append(
        f'<line x1="{ideal:.1f}" x2="{ideal:.1f}" y1="{top}" y2="{y - 8}" stroke="#c92a2a" stroke-dasharray="3"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">'
        f"<title>Speed over the serial run on {workers} CPUs; dashed: {workers}; red: as many serial programs</title>"
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _rows(judged: dict[str, dict[str, samples.Row]]) -> list[tuple[str, samples.Row]]:
    return [pair for rows in judged.values() for pair in rows.items()]
