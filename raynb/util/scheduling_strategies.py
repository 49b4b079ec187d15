"""Scheduling strategies (``ray.util.scheduling_strategies``): what one machine can honour of them.

Placement groups are honoured. Node affinity and labels name the only node there is, or none.
"""

from __future__ import annotations

from typing import Any


class PlacementGroupSchedulingStrategy:
    """Runs a task or actor inside a placement group.

    Args:
        placement_group: the group.
        placement_group_bundle_index: which bundle; -1: any.
        placement_group_capture_child_tasks: children run in the group too.

    Example:
        >>> group = ray.util.placement_group([{"CPU": 1}])
        >>> Strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        >>> ray.get(ray.remote(lambda: 1).options(scheduling_strategy=Strategy(group)).remote())
        1
        >>> ray.util.remove_placement_group(group)
    """

    def __init__(
        self,
        placement_group: Any,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group!r}, {self.placement_group_bundle_index})"
        )


class NodeAffinitySchedulingStrategy:
    """Runs a task or actor on one node.

    Args:
        node_id: the node's id, as in ``nodes()``.
        soft: run elsewhere if there is no such node.

    Raises:
        ValueError: it is not a node id.

    Example:
        >>> here = ray.get_runtime_context().get_node_id()
        >>> strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        >>> ray.get(ray.remote(lambda: 1).options(scheduling_strategy=strategy).remote())
        1
    """

    def __init__(
        self,
        node_id: Any,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        try:
            valid = len(bytes.fromhex(self.node_id)) == 28
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"Invalid node_id {self.node_id!r}: not the hex id of a node, see nodes().")
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True.")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable needs soft=False.")
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable


class In:
    """The label has one of the ``values``."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)


class NotIn:
    """The label has none of the ``values``."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)


class Exists:
    """The node has the label."""


class DoesNotExist:
    """The node doesn't have the label."""


class NodeLabelSchedulingStrategy:
    """Runs a task or actor on a node with such labels.

    Args:
        hard: conditions that must hold: label → `In`, `NotIn`, `Exists` or `DoesNotExist`.
        soft: conditions that should hold.

    Raises:
        ValueError: a condition is none of these, or there is none.

    Example:
        >>> from raynb.util.scheduling_strategies import Exists, NodeLabelSchedulingStrategy, NotIn
        >>> sorted(NodeLabelSchedulingStrategy({"zone": NotIn("a"), "disk": Exists()}).hard)
        ['disk', 'zone']
    """

    def __init__(self, hard: dict[str, Any] | None, *, soft: dict[str, Any] | None = None) -> None:
        for name, conditions in (("hard", hard), ("soft", soft)):
            for key, value in (conditions or {}).items():
                if not isinstance(key, str) or not isinstance(value, (In, NotIn, Exists, DoesNotExist)):
                    raise ValueError(
                        f"{name}[{key!r}] must be In(), NotIn(), Exists() or DoesNotExist(), not {value!r}"
                    )
        if not hard and not soft:
            raise ValueError("NodeLabelSchedulingStrategy needs a hard or a soft condition.")
        self.hard = hard or {}
        self.soft = soft or {}
