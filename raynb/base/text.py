"""Text that can travel: what cannot be encoded is replaced."""

from __future__ import annotations


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
