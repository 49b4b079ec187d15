"""Returns the folder of kept results, and formats what is kept as text. Pure."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence

from raynb.jupyter.formatting import format_bytes, format_seconds
from raynb.keeping.box import Entry
from raynb.keeping.session import FOLDER, place_of

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def where(configured: str, session: str, first_folder: str) -> str:
    """Returns the folder of kept results, or the URL of their place.

    Args:
        configured: ``Raynb.keep_directory``, else what the environment names.
        session: the notebook's path as Jupyter gives it to the kernel; empty: unknown.
        first_folder: where the kernel was when the extension was loaded.
    """
    if configured:
        return place_of(configured)
    beside = os.path.dirname(session)
    if session and os.path.isabs(session) and os.path.isdir(beside):
        return os.path.join(beside, FOLDER)
    return os.path.join(first_folder, FOLDER)


def is_own(entry: Entry, session: str) -> bool:
    """Returns whether a notebook has made or used a kept result, as far as anybody knows: those of notebooks that are
    gone, which may be this one under its former name, count as its own.

    Args:
        session: the notebook's path as Jupyter gives it to the kernel; empty: unknown.
    """
    return not session or session in entry.notebooks or not any(map(os.path.exists, entry.notebooks))


def kept_from(entries: Sequence[Entry], hits: int, of: int) -> str:
    """Returns the dim line under what was kept."""
    if not entries:
        return ""
    took = sum(entry.took for entry in entries)
    since = _when(min(entry.created for entry in entries))
    last = _when(max(entry.created for entry in entries))
    dates = since if since == last else f"{since} to {last}"
    if of == 1:
        return f"kept from {dates}, it took {format_seconds(took)}"
    return f"{hits:,} of {of:,} items kept from {dates}, they took {format_seconds(took)}"


def _when(seconds: float) -> str:
    there = time.localtime(seconds)
    year = "" if there.tm_year == time.localtime().tm_year else f" {there.tm_year}"
    return f"{there.tm_mday} {time.strftime('%b', there)}{year} {time.strftime('%H:%M', there)}"


def seconds_of(text: str) -> float | None:
    """Returns the seconds of an age such as ``7d``, ``12h``, ``30m``; None: it isn't one."""
    found = _AGE.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None


def table(entries: Sequence[Entry], now: float) -> str:
    """Returns what is kept, as a table: name, cell, size, age, time saved."""
    if not entries:
        return "Nothing is kept."
    groups: dict[tuple[str, str, tuple[str, ...]], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.title, entry.line, entry.names), []).append(entry)
    rows = [("name", "cell", "size", "age", "time saved")]
    for (title, line, names), group in groups.items():
        many = f" ({len(group):,} items)" if len(group) > 1 else ""
        shown = line if len(line) <= 40 else line[:39] + "…"
        rows.append((
            ", ".join(names) or "—", f"{title} {shown}{many}", format_bytes(sum(entry.size for entry in group)),
            format_seconds(max(0.0, now - max(entry.created for entry in group))),
            format_seconds(sum(entry.took for entry in group)),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = format_bytes(sum(entry.size for entry in entries))
    saved = format_seconds(sum(entry.took for entry in entries))
    return "\n".join([*lines, "", f"{len(entries):,} kept, {total}, {saved} saved at each run of all."])
