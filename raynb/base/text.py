"""Text that can travel, and text that a terminal shows and doesn't obey."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")
#: Controls of C0 and C1, and those that turn the direction of what follows; tab and line feed are harmless.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(text: str, colours: bool = False) -> str:
    """Returns text in which a terminal finds nothing to obey: escape sequences and other controls, as a
    task's name or an error may contain, are spelled out.

    Args:
        text: perhaps of several lines.
        colours: sequences that only set colours stay.

    >>> printable("\\x1b]0;title\\x07name")
    '\\\\x1b]0;title\\\\x07name'
    """
    if text.isprintable():
        return text
    if not colours:
        return text.translate(_CONTROLS)
    parts = _COLOUR.split(text)
    parts[::2] = [part.translate(_CONTROLS) for part in parts[::2]]
    return "".join(parts)


def clean(text: str) -> str:
    """Returns text that every encoding of Unicode takes: halves of a surrogate pair are joined, single
    ones replaced by U+FFFD.

    >>> clean("a\\ud83d"), clean("\\ud83d\\ude00")
    ('a\\ufffd', '\\U0001f600')
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
