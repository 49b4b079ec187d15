"""Text on its way to a terminal."""

from __future__ import annotations

import pytest

from raynb.api.terminal.console import _line
from raynb.base.rows import Output
from raynb.base.text import printable
from raynb.jupyter.formatting import bundle_of
from raynb.jupyter.output.folding import prefix_of
from raynb.jupyter.progress.bar import line_bundle
from raynb.jupyter.reports import text_tables

TITLE = "\x1b]0;you are owned\x07"  # OSC: sets the title of the window
CLEAR = "\x1b[2J\x1b[H"  # CSI: clears the screen
NAMES = ["f" + TITLE, "f" + CLEAR, "f\x9b2J", "f\x90q\x9c", "f\r\x08\x7f", "f\u202eright to left"]


def harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_name_reaches_a_terminal_as_an_order(name: str) -> None:
    said = Output("stdout", 7 << 32, 0, 1, 10, name, 0, f"printed {name}\n")
    for text in (
        printable(name),
        prefix_of(said),
        text_tables.table(("task", "error"), [(name, name)], ""),
        text_tables.logs([said]),
        _line(name, 10, "stdout", "text"),
        bundle_of(name, "RUNNING", "code")["text/plain"],
        line_bundle(name, 0.5, "d")["data"]["text/plain"],
    ):
        assert harmless(text), text
        assert "f" in text


def test_plain_text_and_colours_stay() -> None:
    assert printable("größer 数 🙂") == "größer 数 🙂"
    assert printable("two\nlines\tand a tab") == "two\nlines\tand a tab"
    assert printable("\x1b[31mred\x1b[0m", colours=True) == "\x1b[31mred\x1b[0m"
    assert printable("\x1b[31mred", colours=False) == "\\x1b[31mred"
    assert printable("\x1b[31mred\x1b[2J", colours=True) == "\x1b[31mred\\x1b[2J"


def test_a_cell_of_a_table_is_one_line() -> None:
    assert text_tables.table(("task",), [("a\nb",)], "").splitlines() == ["task", "a b"]
