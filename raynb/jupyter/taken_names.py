"""Tells when a cell has made `ray` Ray's own module in a notebook where it was raynb: ``import ray.data`` binds it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook
    from raynb.jupyter.output.registry import Cell

NAME = "ray"
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]+,[ \t]*)?raynb[ \t]+as[ \t]+ray\b", re.MULTILINE)
_SAID = (
    "raynb: `ray` means Ray's own module from here on (`import ray.data` and the like bind that name): ray.get, "
    "ray.remote and the rest are plain Ray's, without raynb's output, cancels and views. `import raynb as ray` takes "
    "the name back, `from ray import data` leaves it alone.\n"
)


class NameWatch:
    """Looks after each cell at what the name `ray` is.

    Args:
        names: the notebook's names.
        say: called with a cell's scope and a text.

    Thread contract: used by the thread that runs cells.
    """

    def __init__(self, names: Mapping[str, object], say: Callable[[int, str], None]) -> None:
        self._names = names
        self._say = say
        self._ours = sys.modules.get("raynb")
        self._was_ours = names.get(NAME) is self._ours

    def cell_ended(self, cell: Cell, result: object) -> None:
        """Says it once, if the name meant raynb before this cell or in it, and means Ray now."""
        found = self._names.get(NAME)
        was_ours, self._was_ours = self._was_ours, found is self._ours
        if found is self._ours or found is None or found is not sys.modules.get("ray"):
            return
        if was_ours or _IMPORT.search(cell.source):
            self._say(cell.scope, _SAID)


def watch_names(notebook: Notebook) -> Callable[[], None]:
    """Has a notebook's cells looked at when they end; returns what undoes it."""
    show = notebook.router.show_text
    look = NameWatch(notebook.shell.user_ns, lambda scope, text: show(scope, "stderr", text)).cell_ended
    notebook.cells.on_end.append(look)
    return lambda: notebook.cells.on_end.remove(look)
