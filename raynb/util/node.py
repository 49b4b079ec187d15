"""Small questions about the machine and its actors."""

from __future__ import annotations

import os
import socket
from typing import Any

from raynb import api as ray


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Returns the names of living actors.

    Args:
        all_namespaces: every namespace's, as ``{"name": ..., "namespace": ...}``; otherwise the
            names in the caller's namespace.

    Example:
        >>> kept = ray.remote(type("Kept", (), {})).options(name="doc kept").remote()
        >>> "doc kept" in ray.util.list_named_actors()
        True
    """
    return list(ray.list_named_actors(all_namespaces))


def get_node_ip_address(address: str | None = None) -> str:
    """Returns the address of this machine; "127.0.0.1" when it has no other.

    Args:
        address: accepted for compatibility.

    Example:
        >>> ray.util.get_node_ip_address().count(".")
        3
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # No packet is sent: a datagram socket only looks up the route.
            probe.connect(("192.0.2.1", 80))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def get_node_instance_id() -> str:
    """Returns the cloud's name of this machine, if RAY_CLOUD_INSTANCE_ID says it."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")


def timeline(filename: str | None = None) -> Any:
    """Writes or returns what ran when, as a Chrome trace (open in Perfetto or chrome://tracing).

    Args:
        filename: where to write it; None: return it as a list of events, whose times are microseconds.

    Example:
        >>> done = ray.get(ray.remote(lambda: 1).remote())
        >>> len(ray.util.timeline()) > 0
        True
    """
    return ray.timeline(filename)
