"""The tables of a run, for the terminal and for the documentation, which has them between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.workloads import idioms, problems, samples

#: Between these lines of a document the tables are replaced.
BEGIN, END = "<!-- workloads: generated, begin -->", "<!-- workloads: generated, end -->"

#: An engine is among the fastest if it took at most so many times the shortest time.
NEAR = 1.03


def fastest(rows: dict[str, samples.Row]) -> set[str]:
    """Returns the engines that were the fastest, or within 3 % of it; the serial run is none."""
    taken = {name: row["seconds"] for name, row in rows.items() if "seconds" in row and name != "serial"}
    return {name for name, seconds in taken.items() if seconds <= NEAR * min(taken.values())}


def seconds(row: samples.Row | None, *, bold: bool) -> str:
    """Returns the cell of a time: the median, or why there is none."""
    if row is None:
        return "–"
    if "error" in row:
        return str(row["error"])
    shown = f"{row['seconds']:.3g}" if row["seconds"] < 100 else f"{row['seconds']:.0f}"
    wrong = "" if row.get("equal", True) else " NOT EQUAL"
    return (f"**{shown}**" if bold else shown) + wrong


def weight(row: samples.Row | None, name: str, workload: str) -> str:
    """Returns the cell of processor time, memory and lines."""
    if row is None or "error" in row:
        return "–"
    processor = f"{row['processor']:.1f}" if row["processor"] < 100 else f"{row['processor']:.0f}"
    return f"{processor} · {row['memory'] / 1e6:.0f} · {idioms.lines_of(name, workload)}"


def share(row: samples.Row | None) -> str:
    """Returns the cell of an efficiency."""
    return f"{row['efficiency']:.2f}" if row and "efficiency" in row else "–"


def tables(found: dict[str, Any]) -> str:
    """Returns what a run found, as Markdown."""
    judged = samples.judged(found)
    names = [name for name in idioms.ENGINES if any(name in rows for rows in judged.values())]
    times = [
        "| workload | " + " | ".join(names) + " | efficiency of raynb | of the best other | ceiling |",
        "|---|" + "---:|" * (len(names) + 3),
    ]
    weights = ["| workload | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for workload, rows in judged.items():
        best = fastest(rows)
        others = [row for name, row in rows.items() if name not in ("serial", "raynb") and "efficiency" in row]
        other = max(others, key=lambda row: float(row["efficiency"]), default=None)
        reached = samples.ceiling(found, workload)
        cells = [seconds(rows.get(name), bold=name in best) for name in names]
        cells += [share(rows.get("raynb")), share(other), "–" if reached is None else f"{reached:.2f}"]
        times.append(f"| {problems.LABELS.get(workload, workload)} | " + " | ".join(cells) + " |")
        small = [weight(rows.get(name), name, workload) for name in names]
        weights.append(f"| {problems.LABELS.get(workload, workload)} | " + " | ".join(small) + " |")
    return "\n".join([
        _about(found, judged), "", *times, "",
        "Processor time of all processes (s) · peak memory beyond the start (MB, PSS) · lines of user code:",
        "", *weights,
    ])  # fmt: skip


def _about(found: dict[str, Any], judged: dict[str, dict[str, samples.Row]]) -> str:
    counts = [len(row.get("rounds", ())) for rows in judged.values() for row in rows.values() if "error" not in row]
    rounds = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(counts[0] if counts else 0)
    loads = [load for some in found["load"].values() for load in some]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    equal = all(row.get("equal", True) for rows in judged.values() for row in rows.values())
    machine = found["machine"]
    system = f"{machine['cores']} cores ({machine['cpu']}), {machine['system'].partition('-with')[0]}"
    return (
        f"{found['date']}, {system}, {found['workers']} workers; size: {found['scale']}; rounds: {rounds}, in turns, "
        f"medians; load before a round, the one before it included: {min(loads, default=0):.1f} to "
        f"{max(loads, default=0):.1f}. {versions}. {'All' if equal else 'NOT all'} results equal the serial ones."
        "\n\nSeconds; the fastest engine, and what is within 3 % of it, in bold. –: not measured, or the engine has no "
        "such thing. Efficiency: serial time / (workers × time); ceiling: that of as many serial programs side by side."
    )


def enter(path: Path, found: dict[str, Any]) -> None:
    """Replaces the tables in a document.

    Raises:
        ValueError: the document does not have the two marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the tables: it needs the lines {BEGIN!r} and {END!r}")
    path.write_text(f"{before}{BEGIN}\n{tables(found)}\n{END}{after}", encoding="utf-8")
