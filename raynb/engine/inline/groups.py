"""Placement groups where tasks run one by one: there is always room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Groups:
    """Thread contract: any thread."""

    def __init__(self, new_number: Callable[[], int]) -> None:
        self._new_number = new_number
        self._bundles: dict[int, tuple[Any, ...]] = {}

    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        number = self._new_number()
        self._bundles[number] = bundles
        return number

    def group_ready(self, group: int, timeout: float | None) -> bool:
        return group in self._bundles

    def return_group(self, group: int) -> None:
        self._bundles.pop(group, None)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        return {number: ("CREATED", bundles) for number, bundles in self._bundles.items()}
