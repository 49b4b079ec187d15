"""Refs of an engine that owns its objects: how they leave the process, come back, and are shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from raynb.base.engine import FORKED, Engine
from raynb.base.ref import ObjectRef, counted
from raynb.exceptions import RuntimeGoneError
from raynb.serde.refs import rebuild_ref, record_ref

_id_of = attrgetter("_id")
_engine_of = attrgetter("_engine")
LOOP_MAX_REFS = 4  # refs up to which a loop is faster than a set of their engines


def gone(pid: int) -> RuntimeGoneError:
    """Returns the error for a call of an engine that is not alive; ``pid`` is the process that started it."""
    if os.getpid() != pid:
        return RuntimeGoneError(FORKED)
    return RuntimeGoneError(
        "The raynb runtime of this ref or handle was shut down; its values are gone. "
        "Run the cells that made them again."
    )


class OwnRefs:
    """Makes refs of ids, and ids of refs, for an engine that owns its objects.

    Thread contract: every method from any thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log = engine.ref_log
        self._nonce = engine.nonce

    def check(self, ref: ObjectRef[object]) -> None:
        """Raises `RuntimeGoneError` for a ref of another engine."""
        if ref._engine is not self._engine:
            self.refuse(ref)

    def refuse(self, ref: ObjectRef[object]) -> None:
        """Raises `RuntimeGoneError` for a ref of another engine."""
        ref._engine.check_alive()
        raise RuntimeGoneError(f"{ref!r} belongs to another raynb runtime; get() its value there first.")

    def ids_of(self, refs: Sequence[ObjectRef[object]]) -> tuple[int, ...]:
        """Returns the ids of refs on their way into a message or the machine.

        Raises:
            RuntimeGoneError: one belongs to another runtime, where its id names another object.
        """
        if len(refs) <= LOOP_MAX_REFS or set(map(_engine_of, refs)) != {self._engine}:
            for ref in refs:
                if ref._engine is not self._engine:
                    self.refuse(ref)
        return tuple(map(_id_of, refs))

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[object]:
        """Returns a new, counted ref to an object whose id was read in a value of runtime ``nonce``."""
        return self.adopt_all([object_id], nonce)[0]

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[object]]:
        """Returns new, counted refs to objects whose ids were read in a value of runtime ``nonce``."""
        if nonce != self._nonce:
            raise RuntimeGoneError("This ref or handle was pickled in another raynb runtime, which is gone.")
        engine = self._engine
        if not engine.alive:
            engine.check_alive()
        return counted(object_ids, engine)

    def reduce_ref(self, ref: ObjectRef[object]) -> tuple[Any, ...]:
        """Returns what the ref's `__reduce__` returns; a ref pickled out of band is pinned for good."""
        if not record_ref(ref):
            self._log.append(~ref._id)  # out of band: nobody can know how long it is needed
        return rebuild_ref, (ref._id, self._nonce)

    def ref_bundle(self, ref: ObjectRef[object]) -> dict[str, str]:
        """Returns how a ref is displayed: MIME type → text."""
        return {"text/plain": repr(ref)}
