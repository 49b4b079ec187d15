"""Refs of an engine that owns its objects: how they leave the process, come back, and are shown."""

from __future__ import annotations

import os
from collections import deque
from operator import invert
from typing import Any

from raynb.base.ref import ObjectRef
from raynb.exceptions import RuntimeGoneError
from raynb.serde.refs import note_ref, rebuild_ref


class OwnRefs:
    """The part of `LocalEngine` and `InlineEngine` that makes refs of ids.

    Thread contract: every method from any thread.
    """

    alive: bool
    nonce: int
    ref_log: deque[int]
    _pid: int

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError`, which says how it went and what to do, unless the engine runs."""
        if not self.alive:
            if os.getpid() != self._pid:
                raise RuntimeGoneError(
                    "This process is a fork of one that runs raynb; the runtime stays with the parent. "
                    "Call raynb.init() here to have one of its own.")  # fmt: skip
            raise RuntimeGoneError(
                "The raynb runtime of this ref or handle was shut down; its values are gone. "
                "Run the cells that made them again."
            )

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        return self.adopt_all([object_id], nonce)[0]

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[Any]]:
        if nonce != self.nonce:
            raise RuntimeGoneError("This ref was pickled in another raynb runtime, which is gone.")
        self.ref_log.extend(map(invert, object_ids))
        return [ObjectRef(object_id, self) for object_id in object_ids]  # type: ignore[arg-type]

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        if not note_ref(ref):
            self.ref_log.append(~ref._id)  # out of band: nobody can know how long it is needed
        return rebuild_ref, (ref._id, self.nonce)

    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]:
        return {"text/plain": repr(ref)}
