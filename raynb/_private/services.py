"""``ray._private.services``: the address of this machine."""

from raynb.util.node import get_node_instance_id, get_node_ip_address

__all__ = ["get_node_instance_id", "get_node_ip_address"]
