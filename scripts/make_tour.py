"""Writes the notebook that the launcher's card opens, from `notebooks/quickstart.ipynb` (which CI runs).
``--check`` only says whether it is fresh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "notebooks" / "quickstart.ipynb"
TARGET = ROOT / "labextension" / "src" / "lab" / "tour.json"


def text() -> str:
    """Returns the notebook without outputs and tags, on one line per cell."""
    book = json.loads(SOURCE.read_text(encoding="utf-8"))
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in book["cells"]]
    lines = ",\n".join(f"  {json.dumps(cell, ensure_ascii=False)}" for cell in cells)
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text()
        print("fresh" if fresh else f"{TARGET.name} is stale: run python scripts/make_tour.py")
        sys.exit(not fresh)
    TARGET.write_text(text(), encoding="utf-8")
