"""Records what Ray returns for every parity program: ``python record.py [KEY PREFIX ...]``.

Run with the Python that has Ray, or name it in RAYNB_PARITY_PYTHON. With prefixes, only those
programs are run and the rest of the recording is kept.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import runner
from parity_programs import catalogue

TARGET = Path(__file__).with_name("recorded.json")


def record(rows: dict[str, dict[str, Any]], version: str, known: dict[str, Any]) -> dict[str, Any]:
    """Returns the recording with new rows put into it; programs that are gone leave it."""
    programs = catalogue()
    results = {key: row for key, row in known.get("results", {}).items() if key in programs}
    for key, row in rows.items():
        kept = {"digest": programs[key].digest}
        if "value" in row:
            kept["value"] = row["value"]
        else:
            kept["error"] = row["error"].strip().splitlines()[-1][:200]
        results[key] = kept
    results = {key: row for key, row in results.items() if programs[key].on_ray}
    return {"ray": version, "results": dict(sorted(results.items()))}


def main() -> None:
    python = os.environ.get("RAYNB_PARITY_PYTHON") or sys.executable
    known = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    version, rows = runner.run_all(python, "ray", dict(os.environ), sys.argv[1:])
    recording = record(rows, version, known)
    TARGET.write_text(json.dumps(recording, indent=1, sort_keys=True) + "\n")
    failed = [key for key, row in rows.items() if "error" in row]
    print(f"{len(rows)} programs on Ray {version}, {len(failed)} without an answer: {', '.join(failed)}")


if __name__ == "__main__":
    main()
