"""Errors of objects and of the store."""

from __future__ import annotations

from typing import Any

from raynb.exceptions.base import RayError


class ObjectStoreFullError(RayError):
    """The object can never fit; the message says sizes, holders and the remedy."""


class OutOfDiskError(RayError):
    """The spill disk is full; objects accepted before stay readable."""


class ObjectStoreAndDiskFullError(ObjectStoreFullError, OutOfDiskError):
    """An object fits neither into the store nor on the disk (raynb's addition: both of Ray's names in
    one, so whichever a program catches, it catches this)."""


class ObjectLostError(RayError):
    """The object's value is gone and cannot be made again.

    Args:
        object_ref_hex: the ref's id.
        owner_address: Ray's word for the process that owns the object; the driver always, here.
        call_site: where the ref was made, if known.
        why: the whole message, where raynb knows more than the class says.
    """

    _WHY = "All copies of {} have been lost."

    def __init__(
        self, object_ref_hex: str, owner_address: bytes | None = None, call_site: str = "", *, why: str = ""
    ) -> None:
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.why = why
        super().__init__(object_ref_hex, owner_address, call_site)

    def __str__(self) -> str:
        if self.why:
            return self.why
        made = f"\nThe ObjectRef was created at: {self.call_site}" if self.call_site else ""
        return f"Failed to retrieve object {self.object_ref_hex}. {self._WHY.format(self.object_ref_hex)}{made}"


class ObjectFetchTimedOutError(ObjectLostError):
    """Fetching the object took too long."""

    _WHY = "Fetching it timed out."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was freed while a reference existed: a bug of ours."""

    _WHY = "It was deleted while there was still a reference. This should not happen."


class ObjectFreedError(ObjectLostError):
    """The object was freed on request (``raynb.free``)."""

    _WHY = "It was freed on request. Call free() only once the object is no longer needed."


class OwnerDiedError(ObjectLostError):
    """The process that owns the object died."""

    _WHY = "The process that owned it has exited."


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be made again from its lineage.

    Args:
        reason: Ray's number of the reason, if any.
        reason_message: why, in words.
    """

    _WHY = "It could not be made again."

    def __init__(
        self,
        object_ref_hex: str,
        reason: Any = None,
        reason_message: str | None = None,
        owner_address: bytes | None = None,
        call_site: str = "",
        *,
        why: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site, why=why)
        self.reason = reason
        self.reason_message = reason_message or self._WHY
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)

    def __str__(self) -> str:
        return self.why or f"Failed to retrieve object {self.object_ref_hex}. {self.reason_message}"


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """Its task has no retries left."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """The task that made it is no longer kept, so it cannot run again."""
