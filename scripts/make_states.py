"""Writes docs/states.md from the transition tables. ``--check`` only says whether it is fresh."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "states.md"
INTRODUCTION = (
    "Made by `python scripts/make_states.py` from `raynb/core/vocabulary/transitions.py` and `raynb/api/session.py`; "
    "do not edit. A transition that is not here raises `ImpossibleState` with the story of the id."
)


def diagram(table: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yields a Mermaid diagram and a table of one machine."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    first = next(iter(table))
    yield f"    [*] --> {first}"
    for state, followers in table.items():
        for follower in sorted(followers):
            yield f"    {state} --> {follower}"
        if not followers:
            yield f"    {state} --> [*]"
    yield "```"
    yield ""
    yield "| from | to |"
    yield "|---|---|"
    for state, followers in table.items():
        yield f"| `{state}` | {', '.join(f'`{f}`' for f in sorted(followers)) or 'the end'} |"


def text() -> str:
    """Returns what docs/states.md has to be."""
    from raynb.api.session import STATES
    from raynb.core.vocabulary.transitions import TABLES

    lines = [
        "# State machines",
        "",
        INTRODUCTION,
    ]
    for name, table in {**TABLES, "runtime of a process": STATES}.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", "", *diagram(table)]
    return "\n".join(lines) + "\n"


def main() -> int:
    sys.path.insert(0, str(ROOT))
    wanted = text()
    if "--check" in sys.argv:
        fresh = TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted
        print("fresh" if fresh else f"{TARGET.name} is stale: run python scripts/make_states.py")
        return 0 if fresh else 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
