"""Lists the commands for `%raynb help`, and reads names of cells in commands."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_CELL = re.compile(r"(?:In\s*\[\s*)?(\d+)\s*\]?", re.IGNORECASE)


def cell_number(text: str) -> int | None:
    """Returns the number of a cell, written as ``3``, ``In[3]`` or ``In [3]``; None for anything else."""
    found = _CELL.fullmatch(text.strip())
    return int(found[1]) if found else None


def every_magic(shell: InteractiveShell, owners: tuple[type, ...], commands: str) -> str:
    """Returns every magic of ours with one line each, and the commands of `%raynb`.

    Args:
        shell: the IPython shell.
        owners: the classes that our magics belong to.
        commands: the documentation of `%raynb`.
    """
    lines: dict[str, str] = {}
    for kind, mark in (("cell", "%%"), ("line", "%")):
        for name, found in sorted(shell.magics_manager.magics[kind].items()):
            if isinstance(getattr(found, "__self__", None), owners):
                lines[mark + name] = _summary(found)
    width = max(map(len, lines), default=0)
    listed = "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())
    _, _, rest = inspect.cleandoc(commands).partition("\n\n")
    return f"{listed}\n\n{rest}\n\n%%remote? and the like show every option."


def _summary(found: object) -> str:
    """Returns the first sentence of a magic's documentation, without the usage that IPython writes before it."""
    text = inspect.cleandoc(found.__doc__ or "")
    paragraphs = [part for part in text.split("\n\n") if part.strip() and not part.lstrip().startswith(("::", "%"))]
    return " ".join(paragraphs[0].split()) if paragraphs else ""
