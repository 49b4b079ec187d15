"""Placement groups for tasks and actors: each method asks the driver."""

from __future__ import annotations

from typing import Any

from raynb.worker.engine.requests import OpenRequests


class Groups:
    """The driver's groups. Thread contract: any thread."""

    def __init__(self, requests: OpenRequests) -> None:
        self._requests = requests

    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        """Asks for a placement group of bundles; returns its number at once."""
        return self._requests.call("reserve_group", bundles)  # type: ignore[no-any-return]

    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Returns whether the group is placed, without waiting: callers ask again."""
        # Never waits: who wants to wait asks again.
        return self._requests.call("group_ready", group, 0)  # type: ignore[no-any-return]

    def return_group(self, group: int) -> None:
        """Removes a placement group and releases its resources."""
        self._requests.call("return_group", group)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of the placement groups."""
        return self._requests.call("groups_table")  # type: ignore[no-any-return]
