"""The bar of a wait: items done, rate, failures, time left; as text, HTML, or a terminal's line."""

from __future__ import annotations

import html
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynb.base.text import printable
from raynb.jupyter.formatting import format_number, format_seconds
from raynb.jupyter.output import displays

if TYPE_CHECKING:
    from raynb.jupyter.notebook import Notebook

_BAR_CHARACTERS = 24  # characters of the text bar


@dataclass(slots=True)
class Count:
    """Counts of a set of tasks by state. Times are `time.monotonic` seconds."""

    total: int
    began: float
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    ended_at: float = 0.0

    @property
    def ended(self) -> int:
        """Returns how many have ended: done, failed and cancelled."""
        return self.done + self.failed + self.cancelled

    def gone(self, now: float) -> str:
        """Returns the text once the runtime is gone and the end is unknown."""
        return f"{self.text(now, 'last seen')}; its kernel is gone"

    def share(self) -> float:
        """Returns the part that has ended, 0..1."""
        return self.ended / self.total if self.total else 1.0

    def text(self, now: float, over: str = "") -> str:
        """Returns ``42/100 · 3.1/s · 1 failed · 18 s left``.

        Args:
            now: the time.
            over: why it ends before all have ended: ``"interrupted"``, ``"stopped"``; empty while it goes on.
        """
        if self.ended >= self.total and not self.ended_at:
            self.ended_at = now
        seconds = max((self.ended_at or now) - self.began, 1e-9)
        parts = [f"{self.ended:,}/{self.total:,}"]
        if self.ended:
            parts.append(f"{format_number(self.ended / seconds)}/s")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.cancelled:
            parts.append(f"{self.cancelled:,} cancelled")
        if self.ended >= self.total:
            parts.append(f"took {format_seconds(seconds)}")
        elif over:
            parts.append(f"{over} after {format_seconds(seconds)}")
        elif self.ended:
            parts.append(f"{format_seconds(seconds / self.ended * (self.total - self.ended))} left")
        else:
            parts.append(f"{format_seconds(seconds)} so far")
        return " · ".join(parts)


#: Of a bar where some failed.
RED = "#d32f2f"


def line_bundle(text: str, share: float, display_id: str, failed: bool = False, gone: str = "") -> dict[str, Any]:
    """Returns a bar as a display: HTML with a progress element, red where some failed, and a text bar.

    Args:
        text: what stands beside the bar.
        share: the part that has ended, 0..1.
        display_id: the id under which it is updated.
        failed: some failed.
        gone: what it says once its kernel is gone; empty: it is at its end.
    """
    colour = f";accent-color:{RED}" if failed else ""
    full = int(share * _BAR_CHARACTERS + 0.5)
    plain = f"[{'#' * full}{'.' * (_BAR_CHARACTERS - full)}] {printable(text)}"
    markup = (
        f'<div class="raynb-progress" style="font:13px/1.6 system-ui,sans-serif">'
        f'<progress value="{share:.4f}" max="1" style="width:16em;max-width:45%;vertical-align:middle{colour}" '
        f'aria-label="tasks of this cell"></progress> {html.escape(text)}</div>'
    )
    return {
        "data": {
            "text/plain": plain, "text/html": markup,
            **displays.live(display_id, bool(gone), text, gone, share=round(share, 4), failed=failed),
        },
        "metadata": {},
        "transient": {"display_id": display_id},
    }


class Bar:
    """A bar in one cell, shown only when the wait takes longer than ``Raynb.progress_delay``.

    Thread contract: used by one thread at a time.

    Args:
        notebook: where to show it.
        scope: the cell.
    """

    def __init__(self, notebook: Notebook, scope: int) -> None:
        self.notebook = notebook
        self.scope = scope
        self.shown = False
        self._began = time.monotonic()
        self._id = f"raynb-bar-{id(self):x}-{scope}"
        self._last = ""

    def show(self, count: Count) -> None:
        """Shows how far it is, if it is time for a bar at all."""
        now = time.monotonic()
        if not self.shown and now - self._began < self.notebook.config.progress_delay:
            return
        if not self.notebook.shows_bars(self.scope):
            return
        self._draw(count.text(now), count, "" if count.ended >= count.total else count.gone(now))

    def end(self, count: Count, over: str = "stopped") -> None:
        """Leaves the bar at its last state; nothing if it never showed.

        Args:
            count: how far it came.
            over: why it ends, if not all have ended.
        """
        if self.shown:
            self._draw(count.text(time.monotonic(), over), count, "")

    def _draw(self, text: str, count: Count, gone: str) -> None:
        final = not gone
        if getattr(self.notebook.shell, "kernel", None) is None:
            self._draw_in_terminal(text, count.share(), final)
        elif text != self._last or final:
            kind = "update_display" if self.shown else "display"
            bundle = line_bundle(text, count.share(), self._id, bool(count.failed), gone)
            self.notebook.router.show_rich(self.scope, kind, bundle)
        self.shown = True
        self._last = text

    def _draw_in_terminal(self, text: str, share: float, final: bool) -> None:
        if not sys.stderr.isatty() and not final:
            return  # a bar drawn over and over is noise in a file
        plain = line_bundle(text, share, "")["data"]["text/plain"]
        padding = " " * max(0, len(self._last) - len(text))
        sys.stderr.write(f"\r{plain}{padding}" + ("\n" if final else ""))
        sys.stderr.flush()
