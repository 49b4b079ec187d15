"""Refs of ours and what is Ray's behind them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from raynb.base import engine as slot
from raynb.base.ref import ObjectRef
from raynb.engine.cluster.bridge import Broken, Value
from raynb.exceptions import RuntimeGoneError
from raynb.serde import errors, pickling
from raynb.serde.refs import note_ref, rebuild_ref


class Refs:
    """The part of `Adapter` that counts refs and unpickles values.

    Thread contract: as `Adapter`.
    """

    nonce: int
    ref_log: deque[int]
    _lock: threading.RLock
    _natives: dict[int, list[Any]]

    def settle(self) -> None:
        """Works off the log of refs that came and went; lets Ray know what is not named any more."""
        log = self.ref_log
        if not log:
            return
        with self._lock:
            touched = set()
            for _ in range(len(log)):
                change = log.popleft()
                identity = change if change >= 0 else ~change
                entry = self._natives.get(identity)
                if entry is not None:
                    entry[1] += 1 if change < 0 else -1
                    touched.add(identity)
            gone = [self._natives.pop(identity) for identity in touched if self._natives[identity][1] <= 0]
        del gone  # outside the lock: Ray's destructors take locks of their own

    def own(self, identity: int, native: Any) -> ObjectRef[Any]:
        """Takes in a native ref; returns ours."""
        with self._lock:
            self._natives[identity] = [native, 1]
        return ObjectRef(identity, self)  # type: ignore[arg-type]

    def native(self, ref: ObjectRef[Any]) -> Any:
        """Returns Ray's ref, or actor handle, behind a ref."""
        if ref._engine is not self:  # type: ignore[comparison-overlap]
            ref._engine.check_alive()  # type: ignore[attr-defined]
            raise RuntimeGoneError(f"{ref!r} belongs to another raynb runtime; get() its value there first.")
        return self._natives[ref._id][0]

    def pairs(self, refs: Sequence[ObjectRef[Any]]) -> list[tuple[int, Any]]:
        return [(ref._id, self.native(ref)) for ref in refs]

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        if object_id not in self._natives:
            raise RuntimeGoneError("This ref was pickled in another raynb runtime, which is gone.")
        self.ref_log.append(~object_id)
        return ObjectRef(object_id, self)  # type: ignore[arg-type]

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[Any]]:
        return [self.adopt(object_id, nonce) for object_id in object_ids]

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        if note_ref(ref):
            return rebuild_ref, (ref._id, self.nonce)
        return rebuild_out_of_band, (ref._id, self.native(ref))  # Ray pins it, or says that it won't

    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]:
        return {"text/plain": repr(ref)}

    def unpack(self, value: Any) -> Any:
        """Returns the object that a value of Ray's store holds."""
        if not isinstance(value, Value):
            return value  # made by a program that uses ray itself
        if isinstance(value, Broken):
            raise errors.load_error(value.data)
        with self.holding(value.natives):
            return pickling.unpack(value.data, value.buffers)

    def holding(self, pairs: Sequence[tuple[int, Any]]) -> Any:
        """Knows these refs for the length of a ``with`` block, in which something that names them is unpickled."""
        return _Holding(self, pairs)


class _Holding:
    """See `Refs.holding`. The engine is in place meanwhile, whatever thread this is."""

    def __init__(self, engine: Refs, pairs: Sequence[tuple[int, Any]]) -> None:
        self._engine = engine
        self._pairs = pairs
        self._token: Any = None

    def __enter__(self) -> None:
        engine: Any = self._engine
        with engine._lock:
            for identity, native in self._pairs:
                engine._natives.setdefault(identity, [native, 0])[1] += 1
        if self._pairs and slot.peek() is not engine:
            self._token = slot.enter_isolated(engine)

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            slot.leave_isolated(self._token)
        self._engine.ref_log.extend(identity for identity, _ in self._pairs)


def rebuild_out_of_band(object_id: int, native: Any) -> ObjectRef[Any]:
    """Unpickles a ref that was pickled by hand."""
    engine: Any = slot.current()
    with engine.holding([(object_id, native)]):
        return engine.adopt(object_id, engine.nonce)  # type: ignore[no-any-return]
