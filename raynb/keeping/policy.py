"""Chooses the kept results to remove when the limit is reached. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class KeptEntry:
    """One kept result as the limit sees it.

    Attributes:
        key: which.
        size: bytes.
        used: when it was made or used last, seconds since the epoch.
        leased: a living kernel may still read its files.
    """

    key: str
    size: int
    used: float
    leased: bool


def to_evict(held: Iterable[KeptEntry], needed: int, limit: int) -> list[str] | None:
    """Returns the keys that go so that ``needed`` more bytes fit, the least recently used first; None: they can't."""
    known = sorted(held, key=lambda entry: (entry.used, entry.key))
    excess = sum(entry.size for entry in known) + needed - limit
    going: list[str] = []
    for entry in known:
        if excess <= 0:
            break
        if not entry.leased:
            going.append(entry.key)
            excess -= entry.size
    return going if excess <= 0 else None
