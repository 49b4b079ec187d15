"""Futures of objects."""

from __future__ import annotations

from typing import Any

from raynb.base.process.futures import ListenedFuture
from raynb.base.ref import ObjectRef


class RefFuture(ListenedFuture[Any]):
    """The future of an object's value.

    Thread contract: as `concurrent.futures.Future`.
    """

    def __init__(self, ref: ObjectRef[object]) -> None:
        super().__init__((ref._id,))
        self.key = ref._id
        self.raynb_ref: ObjectRef[object] | None = ref  # lives until its value is read
        self.set_running_or_notify_cancel()

    def taken_ref(self) -> ObjectRef[object] | None:
        """Returns the ref, which the future has no longer."""
        ref, self.raynb_ref = self.raynb_ref, None
        return ref
