"""Placement groups (``ray.util.placement_group``). On a Ray cluster they are Ray's own.

A group sets bundles of resources aside, all at once; tasks and actors that name the group use
those. On one machine, PACK, SPREAD and STRICT_PACK mean the same, and a STRICT_SPREAD of more
than one bundle can never be placed.

A placed group is a set of resources with names of their own (``CPU_group_0_<number>`` in bundle
0, ``CPU_group_<number>`` in any), as in Ray; readiness is a task that asks for a little of them.
"""

from __future__ import annotations

import time
from typing import Any

from raynb import api as ray
from raynb.base.ids import HexId
from raynb.base.spec import plain
from raynb.exceptions import RuntimeGoneError
from raynb.util._engine import engine

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
VALID_PLACEMENT_GROUP_STRATEGIES = frozenset(STRATEGIES)  # Ray's name for it
MAX_REMOVED = 1_000  # groups that were removed, and are still listed
UNIT = 10_000  # resources are counted in whole ten-thousandths

# What the engine doesn't keep: (runtime, number) → (name, strategy, bundles), of groups made in
# this process. Of removed ones the latest stay, for `placement_group_table`.
_known: dict[tuple[int, int], tuple[str, str, list[dict[str, float]]]] = {}


class PlacementGroup:
    """A handle to a placement group; may be passed to tasks. `placement_group` makes one.

    Attributes:
        number: its number in the runtime; 0 for "no group".
        nonce: which runtime that is; it travels with the handle.
    """

    def __init__(
        self, number: int, bundle_cache: list[dict[str, float]] | None = None, nonce: int | None = None
    ) -> None:
        self.number = number
        self.nonce: int = nonce if nonce is not None else engine().nonce if number else 0
        self.bundle_cache = bundle_cache

    def check_runtime(self) -> None:
        """Raises `RuntimeGoneError` for a group of another runtime, where its number means another group."""
        self._check_nonce(engine().nonce)

    def _check_nonce(self, nonce: int) -> None:
        if self.number and self.nonce != nonce:
            raise RuntimeGoneError(
                f"placement group {self.id.hex()} belongs to another raynb runtime, which may be gone. "
                "Run the code that made it again."
            )

    @property
    def id(self) -> HexId:
        """Returns its id, which has `hex()`."""
        return HexId(f"{self.number:036x}")

    @staticmethod
    def empty() -> PlacementGroup:
        """Returns the handle that stands for no group."""
        return PlacementGroup(0, [])

    @property
    def is_empty(self) -> bool:
        """Returns whether it stands for no group."""
        return self.number == 0

    def ready(self) -> Any:
        """Returns a ref that has this handle as its value once the group is placed.

        Raises:
            RuntimeGoneError: the group belongs to another runtime.
        """
        if self.is_empty:
            return ray.put(self)
        self.check_runtime()
        marker = {f"bundle_group_{self.number}": 0.001}
        return ray.remote(num_cpus=0, resources=marker, max_retries=-1)(_same).remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Waits until the group is placed; returns whether it was within ``timeout_seconds``.

        Raises:
            RuntimeGoneError: the group belongs to another runtime.
        """
        here = engine()
        self._check_nonce(here.nonce)
        end = time.monotonic() + timeout_seconds
        while not here.group_ready(self.number, 0):
            left = end - time.monotonic()
            if left <= 0 or _state(self.number) == "REMOVED":
                return False
            time.sleep(min(0.005, left))
        return True

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """Returns the resources of each bundle. Raises `RuntimeGoneError` for a group of another runtime."""
        if self.bundle_cache is None:
            self.check_runtime()
            _, amounts = engine().groups_table().get(self.number, ("REMOVED", ()))
            self.bundle_cache = [{name: value / UNIT for name, value in bundle} for bundle in amounts]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """Returns how many bundles there are."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and (self.nonce, self.number) == (other.nonce, other.number)

    def __hash__(self) -> int:
        return hash((self.nonce, self.number))

    def __repr__(self) -> str:
        return f"PlacementGroup({self.number}, {self.bundle_cache})"


def _same(group: PlacementGroup) -> PlacementGroup:
    return group


def _state(number: int) -> str:
    return str(engine().groups_table().get(number, ("REMOVED", ()))[0])


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Asks for a placement group and returns at once.

    Args:
        bundles: the resources of each bundle, e.g. ``[{"CPU": 1}, {"CPU": 1, "GPU": 1}]``.
        strategy: one of `STRATEGIES`; None: "PACK".
        name: for `get_placement_group`.
        lifetime: None or "detached"; the same here, since a group lives in its runtime.

        bundle_label_selector: for each bundle, the labels of the nodes to place it on; accepted for Ray's sake on one
            machine.
        topology_strategy: Ray's strategy by labels of nodes; accepted for Ray's sake on one machine.

    Returns:
        The handle of the group, which may not be placed yet: see `PlacementGroup.ready` and `PlacementGroup.wait`.

    Raises:
        ValueError: a bundle is empty or not a dict of numbers above 0, the strategy or the
            lifetime doesn't exist, or a strategy and a ``topology_strategy`` are given.

    Example:
        >>> group = ray.util.placement_group([{"CPU": 1}])
        >>> group.wait(10)
        True
        >>> ray.util.remove_placement_group(group)
    """
    _check(bundles, strategy, lifetime)
    if topology_strategy is not None and strategy is not None:
        raise ValueError("Give a strategy or a topology_strategy, not both.")
    specs = [{plain(key): float(value) for key, value in bundle.items()} for bundle in bundles]
    amounts = tuple([
        tuple([(key, round(value * UNIT)) for key, value in bundle.items() if value]) for bundle in specs
    ])  # fmt: skip
    here = engine()
    foreign = here.foreign_groups
    if foreign is not None:  # a cluster: every option is Ray's to judge
        number = foreign.place(
            bundles, strategy=strategy, name=name, lifetime=lifetime, _soft_target_node_id=_soft_target_node_id,
            bundle_label_selector=bundle_label_selector, topology_strategy=topology_strategy,
        )  # fmt: skip
        return PlacementGroup(number, specs)
    if strategy == "STRICT_SPREAD" and len(specs) > 1:
        raise ValueError("STRICT_SPREAD of several bundles needs several machines, and there is one.")
    number = here.reserve_group(amounts)
    nonce = here.nonce
    _known[nonce, number] = (name, strategy or "PACK", specs)
    if len(_known) % MAX_REMOVED == 0:
        _forget_removed(nonce, here.groups_table())
    return PlacementGroup(number, specs, nonce)


def _forget_removed(nonce: int, table: dict[int, Any]) -> None:
    """Forgets groups that are not there any more, except for the latest: a program may make and remove millions."""
    for of, number in list(_known)[:-MAX_REMOVED]:
        if of != nonce or number not in table:
            _known.pop((of, number), None)


def _check(bundles: Any, strategy: str | None, lifetime: str | None) -> None:
    if not isinstance(bundles, list) or not bundles:
        raise ValueError(f"bundles must be a list of at least one dict, not {bundles!r}")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not bundle or not any(bundle.values()):
            raise ValueError(f"A bundle must name a resource with an amount above 0, not {bundle!r}")
        for key, value in bundle.items():
            if not isinstance(key, str) or not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"A bundle is a dict of resource names and amounts, not {bundle!r}")
    if strategy is not None and strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f'lifetime must be None or "detached", not {lifetime!r}')


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Gives the resources of ``placement_group`` back. Its tasks and actors end.

    Raises:
        RuntimeGoneError: the group belongs to another runtime.

    Example:
        >>> group = ray.util.placement_group([{"CPU": 1}])
        >>> ray.util.remove_placement_group(group)
    """
    here = engine()
    placement_group._check_nonce(here.nonce)
    here.return_group(placement_group.number)


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Returns the group whose name is ``placement_group_name``.

    Raises:
        ValueError: this process has made none of that name that is still there.

    Example:
        >>> group = ray.util.placement_group([{"CPU": 1}], name="doc group")
        >>> ray.util.get_placement_group("doc group").id == group.id
        True
        >>> ray.util.remove_placement_group(group)
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    foreign = engine().foreign_groups
    if foreign is not None:
        return PlacementGroup(foreign.named(placement_group_name))
    table = engine().groups_table()
    for (nonce, number), (name, _, specs) in _known.items():
        here = nonce == engine().nonce and table.get(number, ("REMOVED",))[0] != "REMOVED"
        if here and name == placement_group_name:
            return PlacementGroup(number, specs)
    raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[Any, Any]:
    """Returns the state of a group as a dict, or of all groups: id → dict.

    Args:
        placement_group: the group; None: all.

    Raises:
        RuntimeGoneError: the group belongs to another runtime.

    Example:
        >>> group = ray.util.placement_group([{"CPU": 1}])
        >>> ray.util.placement_group_table(group)["strategy"]
        'PACK'
        >>> ray.util.remove_placement_group(group)
    """
    if placement_group is not None:
        placement_group.check_runtime()
    table = engine().groups_table()
    made_here = {number for nonce, number in _known if nonce == engine().nonce}
    numbers = {*table, *made_here} if placement_group is None else {placement_group.number}
    rows = [_row(number, table) for number in sorted(numbers)]
    return rows[0] if placement_group is not None else {row["placement_group_id"]: row for row in rows}


def _row(number: int, table: dict[int, tuple[str, Any]]) -> dict[str, Any]:
    foreign = engine().foreign_groups
    if foreign is not None:
        return foreign.row(number)
    state = table.get(number, ("REMOVED", ()))[0]
    group = PlacementGroup(number)
    name, strategy, specs = _known.get((engine().nonce, number)) or ("", "PACK", group.bundle_specs)
    return {
        "placement_group_id": group.id.hex(),
        "name": name,
        "bundles": dict(enumerate(specs)),
        "strategy": strategy,
        "state": state,
    }


def get_current_placement_group() -> PlacementGroup | None:
    """Returns the group of the task or actor that asks; None if it has none.

    Example:
        >>> ray.util.get_current_placement_group() is None
        True
    """
    for name in engine().context().resources:
        _, found, number = name.rpartition("_group_")
        if found and number.rpartition("_")[2].isdigit():
            return PlacementGroup(int(number.rpartition("_")[2]))
    return None
