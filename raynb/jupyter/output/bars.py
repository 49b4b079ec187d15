"""Draws lines that a task rewrites (``tqdm``, nested ones too) as a terminal would show them.

A pure state machine, one a stream of a task: text in, changed lines out. It knows what progress bars
use of a terminal: carriage return, line feed, cursor up and down, erase in line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_CONTROL = re.compile(r"(\r|\n|\x1b\[\d*[ABCDGKJ])")

#: Rows above the cursor that may still be drawn over.
MAX_ROWS = 50


def draws(line: str) -> bool:
    """Returns whether a line moves the cursor, and so is no plain text."""
    return "\r" in line or ("\x1b[" in line and _CONTROL.search(line) is not None)


@dataclass(slots=True)
class Row:
    """One line of the screen."""

    text: str = ""
    key: str = ""  # of the display, once there is one
    shown: str = ""  # what the display says
    final: bool = False  # and it was told to be the last
    refused: bool = False  # beyond the cell's limit


@dataclass(slots=True)
class Bars:
    """The rows of one stream while it draws.

    Args:
        new_key: returns the key of a new line, or "" when the cell shows no more.
    """

    new_key: Callable[[], str]
    rows: list[Row] = field(default_factory=list)
    _at: int = 0  # the cursor's row
    _over: bool = True  # the next text replaces what the row says

    @property
    def active(self) -> bool:
        """Returns whether a bar is being drawn."""
        return bool(self.rows)

    def takes(self, line: str) -> bool:
        """Returns whether a line belongs to the drawing: not a plain one on a fresh row."""
        return self.active and (draws(line) or not self._on_fresh_row())

    def _on_fresh_row(self) -> bool:
        return self._at == len(self.rows) - 1 and not self.rows[-1].text.strip() and self._over

    def feed(self, text: str) -> list[tuple[Row, bool, bool]]:
        """Draws; returns the rows that changed, each with (is an update, is its last change)."""
        if not self.rows:
            self.rows.append(Row())
        for part in _CONTROL.split(text):
            if part == "\r":
                self._over = True
            elif part == "\n":
                self._move(1)
                self._over = True
            elif part[:2] == "\x1b[" and _CONTROL.fullmatch(part):
                self._control(part)
            elif part:
                row = self.rows[self._at]
                row.text = part if self._over else row.text + part
                row.final = self._over = False
        return self._changes()

    def _control(self, part: str) -> None:
        count = int(part[2:-1] or 1)
        if part[-1] == "A":
            self._move(-count)
        elif part[-1] == "B":
            self._move(count)
        elif part[-1] in "KJ" and self._over:
            self.rows[self._at].text = ""

    def _move(self, rows: int) -> None:
        self._at = max(0, self._at + rows)
        while self._at >= len(self.rows):
            self.rows.append(Row())

    def _changes(self) -> list[tuple[Row, bool, bool]]:
        over = self._on_fresh_row()
        changed = []
        for row in self.rows:
            text = row.text.rstrip()
            if row.refused or (text == row.shown and not (over and text and not row.final)):
                continue
            update = bool(row.key)
            if not update:
                row.key = self.new_key()
                row.refused = not row.key
            row.shown, row.final = text, over
            if not row.refused:
                changed.append((row, update, over))
        extra = self._at - MAX_ROWS
        if extra > 0:
            del self.rows[:extra]
            self._at -= extra
        return changed

    def leave(self) -> None:
        """Forgets the rows: plain text follows."""
        self.rows.clear()
        self._at, self._over = 0, True
