"""The node, and its id, of engines that run on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from raynb.base import ids


class OneMachine:
    """Answers where code of a runtime on one machine runs.

    Args:
        nonce: the runtime's.
        cluster: returns (total, available) resources.

    Thread contract: any thread.
    """

    def __init__(self, nonce: int, cluster: Callable[[], tuple[dict[str, float], dict[str, float]]]) -> None:
        self._nonce = nonce
        self._cluster = cluster

    def native_env(self, value: dict[str, Any] | None) -> None:
        """Returns None: the API itself checks a task's ``runtime_env``."""

    def node_id(self) -> str:
        """Returns the node's id."""
        return ids.to_hex(0, self._nonce, ids.NODE_HEX)

    def nodes(self) -> list[dict[str, Any]]:
        """Returns the one node, in the form of ``ray.nodes()``."""
        return [{
            "NodeID": self.node_id(),
            "Alive": True,
            "NodeManagerAddress": "127.0.0.1",
            "NodeName": "127.0.0.1",
            "NodeManagerHostname": os.uname().nodename,
            "alive": True,
            "Resources": self._cluster()[0],
            "Labels": {},
        }]  # fmt: skip
