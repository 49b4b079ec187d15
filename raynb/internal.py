"""``ray.internal`` of older Rays: `free`, which drops values while refs to them are still held."""

from raynb.api import free

__all__ = ["free"]
