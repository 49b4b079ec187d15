"""Placement groups of the cluster. Our number for a group is Ray's id, so every process knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raynb.base.config import RESOURCE_UNIT
from raynb.engine.cluster import rays


class KnownGroups(dict[int, Any]):
    """Number → Ray's group; of one that was made in another process, a handle is made when it is asked for."""

    def __missing__(self, number: int) -> Any:
        from ray.util.placement_group import PlacementGroup

        made = self[number] = PlacementGroup(ray.PlacementGroupID(number.to_bytes(ray.PlacementGroupID.size(), "big")))
        return made


def _number(group: Any) -> int:
    return int(group.id.hex(), 16)


def _bundles(group: Any) -> tuple[Any, ...]:
    return tuple(
        tuple((name, round(value * RESOURCE_UNIT)) for name, value in bundle.items()) for bundle in group.bundle_specs
    )


class RayGroups:
    """Ray's placement groups by our numbers. Thread contract: any thread."""

    def __init__(self, check_alive: Callable[[], None]) -> None:
        self.check_alive = check_alive
        self.known = KnownGroups()

    @rays.interrupted_here
    def place(self, bundles: list[dict[str, float]], **given: object) -> int:
        """Asks Ray for a placement group, with every option as it is; returns our number for it."""
        from ray.util.placement_group import placement_group

        self.check_alive()
        made = placement_group(bundles, **{name: value for name, value in given.items() if value is not None})
        number = _number(made)
        self.known[number] = made
        return number

    @rays.interrupted_here
    def named(self, name: str) -> int:
        """Returns the number of a named group, whoever made it.

        Raises:
            ValueError: there is none.
        """
        from ray.util.placement_group import get_placement_group

        self.check_alive()
        found = get_placement_group(name)
        self.known[_number(found)] = found
        return _number(found)

    @rays.interrupted_here
    def row(self, number: int) -> dict[str, Any]:
        """Returns Ray's own row of a group."""
        from ray.util.placement_group import placement_group_table

        self.check_alive()
        return placement_group_table(self.known[number])  # type: ignore[no-any-return]

    @rays.interrupted_here
    def ready(self, group: int, timeout: float | None) -> bool:
        """Returns whether Ray has placed the group, after at most ``timeout`` seconds."""
        self.check_alive()
        return bool(self.known[group].wait(timeout or 0.01))

    @rays.interrupted_here
    def remove(self, group: int) -> None:
        """Removes the group from the cluster."""
        from ray.util.placement_group import remove_placement_group

        self.check_alive()
        remove_placement_group(self.known[group])

    @rays.interrupted_here
    def table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of every group of the cluster that was not removed."""
        from ray.util.placement_group import placement_group_table

        self.check_alive()
        table: dict[int, tuple[str, Any]] = {}
        for key, row in placement_group_table().items():
            if row.get("state") != "REMOVED":
                number = int(key, 16)
                table[number] = (row["state"], _bundles(self.known[number]))
        return table
