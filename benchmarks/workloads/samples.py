"""The file of a run: every sample that was taken, so that a run can be made in pieces, and the medians of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks import procs
from benchmarks.session import ROOT, environment
from benchmarks.workloads import idioms, problems

#: One measurement, or why there is none (``error``).
Row = dict[str, Any]

#: What is compared when a run goes on: samples that differ in these are not of one run.
SAME = ("scale", "workers", "machine", "versions", "code")

#: The packages whose versions are recorded.
PACKAGES = ("raynb", "ray", "distributed", "ipyparallel", "joblib", "numpy", "pandas", "scikit-learn", "scipy")


class OtherRunError(Exception):
    """The file has samples that cannot stand beside the new ones."""


def about(scale: str, workers: int, python: str) -> dict[str, Any]:
    """Returns what a run is made with and on; packages that are missing in the interpreter are left out."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "have = {d.metadata['Name'] for d in m.distributions()}\n"
        "found = {name: m.version(name) for name in sys.argv[1:] if name in have}\n"
        "print(json.dumps({'Python': platform.python_version(), **found}))"
    )
    told = subprocess.run(
        [python, "-c", code, *PACKAGES], env=environment("probe"), cwd=ROOT, timeout=60, capture_output=True, check=True
    )
    return {"scale": scale, "workers": workers, "machine": procs.machine(), "versions": json.loads(told.stdout),
            "code": _code()}  # fmt: skip


def _code() -> str:
    """Returns a digest of raynb and of the workloads, as they are on the disk."""
    digest = hashlib.sha256()
    for folder in ("raynb", "benchmarks/workloads"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def begin(path: Path, run: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """Returns the record of a run: a new one, or that of a file which it continues.

    Raises:
        OtherRunError: the file is of another machine, size, version or state of the code.
    """
    fresh = {**run, "date": time.strftime("%Y-%m-%d"), "load": {}, "samples": {}, "apart": {}}
    if not resume or not path.exists():
        return fresh
    found = read(path)
    differs = [name for name in SAME if found.get(name) != run[name]]
    if differs:
        told = "; ".join(f"{name}: {found.get(name)} there, {run[name]} now" for name in differs)
        raise OtherRunError(f"{path} is of another run ({told}); leave out --resume, or name another --json")
    return found


def read(path: Path) -> dict[str, Any]:
    """Returns the record that a file holds.

    Raises:
        OtherRunError: it was written by another version of this program.
    """
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "samples" not in found:
        raise OtherRunError(f"{path} has no samples: it was written by an older version; measure again")
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    """Writes the record; a run that is ended meanwhile leaves the file of before."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(found, indent=1), encoding="utf-8")
    beside.replace(path)


def median(rows: list[Row]) -> Row:
    """Returns an engine's row of middle time, with the seconds of all its rounds; one without a result if there is.

    Of an even number of rounds two are in the middle: their numbers are the mean of both, the seconds as well as the
    others (processor time and memory stay those of the rounds whose time is shown), and the rest is the faster one's.
    """
    failed = next((row for row in rows if "error" in row), None)
    if failed is not None:
        return failed
    ordered = sorted(rows, key=lambda row: float(row["seconds"]))
    lower, upper = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2]
    means = {name: _mean(value, upper.get(name)) for name, value in lower.items()}
    return {**means, "rounds": [row["seconds"] for row in rows]}


def _mean(one: object, other: object) -> object:
    """Returns the mean of two numbers; the first of two things that are no numbers, or equal."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)) and one != other:
        return (one + other) / 2
    return one


def judged(found: dict[str, Any]) -> dict[str, dict[str, Row]]:
    """Returns workload → engine → its row, with whether its result equals the serial one, and its efficiency."""
    every: dict[str, dict[str, Row]] = {}
    for workload in problems.NAMES:
        samples = found["samples"].get(workload, {})
        rows = {name: median(samples[name]) for name in idioms.ENGINES if samples.get(name)}
        base = rows.get("serial", {})
        for row in rows.values():
            if "digest" in row and "digest" in base:
                row["equal"] = problems.equal(row["digest"], base["digest"])
                row["efficiency"] = base["seconds"] / (found["workers"] * row["seconds"])
        if rows:
            every[workload] = rows
    return every


def ceiling(found: dict[str, Any], workload: str) -> float | None:
    """Returns the efficiency of serial programs side by side, None if it is not known."""
    samples = [found[kind].get(workload, {}).get("serial", []) for kind in ("samples", "apart")]
    alone, apart = (median(rows) if rows else {"error": "not run"} for rows in samples)
    if "error" in alone or "error" in apart:
        return None
    return round(float(alone["seconds"] / apart["seconds"]), 3)
