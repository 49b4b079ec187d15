"""How engines without a cluster answer questions about nodes: there is one, this machine."""

from __future__ import annotations

import os
from typing import Any

from raynb.base import ids


def node_id(nonce: int) -> str:
    """Returns the id of the one node of runtime ``nonce``."""
    return ids.to_hex(0, nonce, ids.NODE_HEX)


def nodes(nonce: int, resources: dict[str, float]) -> list[dict[str, Any]]:
    """Returns the one node in the form of ``ray.nodes()``; ``resources`` are all that the runtime may use."""
    return [{
        "NodeID": node_id(nonce),
        "Alive": True,
        "NodeManagerAddress": "127.0.0.1",
        "NodeName": "127.0.0.1",
        "NodeManagerHostname": os.uname().nodename,
        "alive": True,
        "Resources": resources,
        "Labels": {},
    }]  # fmt: skip
