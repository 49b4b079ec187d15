"""Widgets on a worker: what only a front end's kernel can make, and what stands in for it.

A widget's model lives in the process that made it, and the browser knows only those of the kernel. A
view of any other would stay empty, so a task shows words in its place. The one widget that tasks
commonly make, the bar of ``tqdm.notebook``, becomes tqdm's text bar, which the cell shows as one line.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"


def without_views(data: dict[str, Any]) -> dict[str, Any]:
    """Returns a display with words in the place of a view that no front end could fill."""
    if VIEW not in data:
        return data
    text = str(data.get("text/plain") or "A widget")
    what = text.partition("\n")[0]
    what = what if len(what) <= 60 else f"{what[:57]}…"
    return {
        "text/plain": f"{what} was made in a task, where no front end can reach it: make widgets in the kernel, "
        "and return the values that they are to show."
    }


def text_bars(module: ModuleType) -> None:
    """Makes the names of ``tqdm.notebook`` mean bars of text."""
    from tqdm.std import tqdm

    class TextBar(tqdm):  # type: ignore[type-arg, unused-ignore]
        """A bar of text that takes the arguments of a notebook's."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs.pop("display", None)
            super().__init__(*args, **kwargs)

    def text_range(*args: Any, **kwargs: Any) -> Any:
        return TextBar(range(*args), **kwargs)

    for name in ("tqdm_notebook", "tqdm"):
        setattr(module, name, TextBar)
    for name in ("tnrange", "trange"):
        setattr(module, name, text_range)
