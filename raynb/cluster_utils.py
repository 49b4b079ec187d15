"""``ray.cluster_utils``: several nodes on one machine, which only Ray itself has."""

from __future__ import annotations

from typing import Any


class Cluster:
    """Refused: the embedded engine is one node.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"raynb's embedded engine is one node, so there is no {type(self).__name__}; use a Ray cluster "
            "(raynb.init('auto'))."
        )


class AutoscalingCluster(Cluster):
    """Refused: see `Cluster`."""


cluster_not_supported = True

__all__ = ["AutoscalingCluster", "Cluster", "cluster_not_supported"]
