"""Replaces a ref or a handle that was shown by one that ``Out[n]`` may keep: the same name, uncounted."""

from __future__ import annotations

from typing import Any

from raynb.api.actor import ActorHandle
from raynb.base.ref import ObjectRef, OwnRef


class ShownRef(OwnRef[Any]):
    """The name of an object that keeps nothing alive.

    ``get`` works as long as somebody else holds the object.
    """

    __slots__ = ("__del__",)  # never set: nothing was counted, so nothing is to be taken back at the end


class ShownHandle(ActorHandle):
    """A handle that doesn't keep its actor alive. Calls work as long as somebody else holds one."""


def uncounted(value: ObjectRef[object] | ActorHandle) -> ShownRef | ShownHandle:
    """Returns what ``Out[n]`` keeps of a value that was shown."""
    if isinstance(value, ObjectRef):
        return ShownRef(value._id, value._engine)
    ref = value._ray_ref
    return ShownHandle(ShownRef(ref._id, ref._engine), value._ray_spec)
