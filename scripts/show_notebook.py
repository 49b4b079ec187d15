"""Prints an executed notebook as text: each code cell with what it gave."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def outputs(cell: dict[str, object]) -> Iterator[str]:
    """Yields the text of each output of a cell."""
    for output in cell.get("outputs", ()):  # type: ignore[attr-defined]
        if output["output_type"] == "stream":
            yield "".join(output["text"])
        elif output["output_type"] == "error":
            yield f"{output['ename']}: {output['evalue']}"
        elif "text/plain" in output["data"]:
            yield "".join(output["data"]["text/plain"])


def main(path: str) -> None:
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            print(f"\n{source}\n")
        elif cell["cell_type"] == "code":
            print("\n".join(f"  > {line}" for line in source.splitlines()))
            for text in outputs(cell):
                print(text.rstrip("\n"))


if __name__ == "__main__":
    main(sys.argv[1])
