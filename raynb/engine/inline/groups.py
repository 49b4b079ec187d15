"""Placement groups of `InlineEngine`: tasks run one by one, so each group is placed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InlineGroups:
    """Keeps the groups' bundles. Thread contract: any thread."""

    def __init__(self, new_number: Callable[[], int]) -> None:
        self._new_number = new_number
        self._bundles: dict[int, tuple[Any, ...]] = {}

    def reserve_group(self, bundles: tuple[object, ...]) -> int:
        """Asks for a placement group of bundles; returns its number at once."""
        number = self._new_number()
        self._bundles[number] = bundles
        return number

    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Returns whether there is such a group: it is placed at once."""
        return group in self._bundles

    def return_group(self, group: int) -> None:
        """Removes a placement group and releases its resources."""
        self._bundles.pop(group, None)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of the placement groups."""
        return {number: ("CREATED", bundles) for number, bundles in self._bundles.items()}
