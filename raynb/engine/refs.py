"""Refs of an engine that owns its objects: how they leave the process, come back, and are shown."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from operator import attrgetter, invert
from typing import Any

from raynb.base.engine import FORKED
from raynb.base.ref import ObjectRef, OwnRef
from raynb.exceptions import RuntimeGoneError
from raynb.serde.refs import note_ref, rebuild_ref

_id_of = attrgetter("_id")
_engine_of = attrgetter("_engine")
_FEW = 4  # refs up to which a loop is faster than a set of their engines


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
                raise RuntimeGoneError(FORKED)
            raise RuntimeGoneError(
                "The raynb runtime of this ref or handle was shut down; its values are gone. "
                "Run the cells that made them again."
            )

    def refuse(self, ref: ObjectRef[Any]) -> None:
        """Raises `RuntimeGoneError` for a ref of another engine."""
        ref._engine.check_alive()
        raise RuntimeGoneError(f"{ref!r} belongs to another raynb runtime; get() its value there first.")

    def ids_of(self, refs: Sequence[ObjectRef[Any]]) -> tuple[int, ...]:
        """Returns the ids of refs on their way into a message or the machine.

        Raises:
            RuntimeGoneError: one belongs to another runtime, where its id names another object.
        """
        if len(refs) <= _FEW or set(map(_engine_of, refs)) != {self}:
            for ref in refs:
                if ref._engine is not self:  # type: ignore[comparison-overlap]
                    self.refuse(ref)
        return tuple(map(_id_of, refs))

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        return self.adopt_all([object_id], nonce)[0]

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[Any]]:
        if nonce != self.nonce:
            raise RuntimeGoneError("This ref or handle was pickled in another raynb runtime, which is gone.")
        if not self.alive:
            self.check_alive()
        self.ref_log.extend(map(invert, object_ids))
        return [OwnRef(object_id, self) for object_id in object_ids]  # type: ignore[arg-type]

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        if not note_ref(ref):
            self.ref_log.append(~ref._id)  # out of band: nobody can know how long it is needed
        return rebuild_ref, (ref._id, self.nonce)

    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]:
        return {"text/plain": repr(ref)}
