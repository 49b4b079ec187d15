"""``ray.types``: the type of refs, for annotations."""

from raynb.base.ref import ObjectRef

__all__ = ["ObjectRef"]
