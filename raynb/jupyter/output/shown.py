"""What ``Out[n]`` keeps of a ref or a handle that was shown: the same name, uncounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raynb.api.actor import ActorHandle
from raynb.base.ref import ObjectRef, OwnRef

if TYPE_CHECKING:
    from raynb.base.engine import Engine


class ShownRef(OwnRef[Any]):
    """The name of an object that keeps nothing alive.

    ``get`` works as long as somebody else holds the object.
    """

    __slots__ = ()

    def __init__(self, object_id: int, engine: Engine) -> None:
        # Not super(): nothing was counted, so nothing is to be taken back at the end.
        self._id = object_id
        self._engine = engine


class ShownHandle(ActorHandle):
    """A handle that doesn't keep its actor alive. Calls work as long as somebody else holds one."""


def uncounted(value: ObjectRef[Any] | ActorHandle) -> ShownRef | ShownHandle:
    """Returns what ``Out[n]`` keeps of a value that was shown."""
    if isinstance(value, ObjectRef):
        return ShownRef(value._id, value._engine)
    ref = value._ray_ref
    return ShownHandle(ShownRef(ref._id, ref._engine), value._ray_spec)
