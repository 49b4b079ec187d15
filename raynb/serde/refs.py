"""Refs inside values: collected while a value is pickled, rebuilt by the process that reads it.

The engine must know what a value names, so the refs are collected on the way. A value with many of
them (a list of ten thousand) has one table of their ids, as `raynb.serde.arrays` has of arrays: in
the stream stands ``next(refs)``, and reading makes all of them at once.
"""

from __future__ import annotations

import gc
import marshal
import pickle
import threading
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from raynb.base.engine import owner_of
from raynb.base.ref import ObjectRef, OwnRef
from raynb.serde.arrays import Place

_id_of, _engine_of = attrgetter("_id"), attrgetter("_engine")
#: So many refs of a value stand in the stream themselves: a table for fewer costs more than it saves.
INLINE_MAX_REFS = 8
#: From so many on, the garbage collector is held while they are made: each would be new to it, none garbage.
PAUSE_GC_FROM_REFS = 500


class _Collecting(threading.local):
    def __init__(self) -> None:
        self.refs: list[ObjectRef[object]] | None = None


collecting = _Collecting()


def record_ref(ref: ObjectRef[object]) -> bool:
    """Takes down a ref that is being pickled; False when nobody is collecting (out of band)."""
    refs = collecting.refs
    if refs is None:
        return False
    refs.append(ref)
    return True


def rebuild_ref(object_id: int, nonce: int) -> ObjectRef[object]:
    """Unpickles a ref in whatever process reads it."""
    return owner_of(nonce).adopt(object_id, nonce)


def rebuild_refs(table: Any) -> Iterator[ObjectRef[object]]:
    """Gives the refs of a table, in the order in which the stream asks for them."""
    nonce, ids = marshal.loads(table)
    held = False
    try:
        if len(ids) > PAUSE_GC_FROM_REFS and gc.isenabled():
            held = True  # first: an exception of a signal may follow the other
            gc.disable()
        return iter(owner_of(nonce).adopt_all(ids, nonce))
    finally:
        if held:
            gc.enable()


class _List:
    """Stands in a stream for a list of nothing but refs."""

    __slots__ = ("_refs",)

    def __init__(self, refs: Place) -> None:
        self._refs = refs

    def __reduce__(self) -> tuple[type, tuple[Place]]:
        return list, (self._refs,)


def pickle_list(
    values: list[ObjectRef[object]], buffers: list[object], out_of_band: Callable[[pickle.PickleBuffer], bool]
) -> bytes | None:
    """Returns the stream of a list of one engine's refs, which the pickler then has not to look at one by one, nor who
    reads it; None if one of them is something else, or stands in it twice. The refs are recorded."""
    recorded = collecting.refs
    values = list(values)  # another thread may change the user's meanwhile: what is recorded is what is written
    if len(values) <= INLINE_MAX_REFS or recorded is None:
        return None
    kind = type(values[0])
    if not issubclass(kind, OwnRef) or set(map(type, values)) != {kind} or len(set(map(id, values))) != len(values):
        return None
    engine = values[0]._engine
    if kind is not engine.new_ref or set(map(_engine_of, values)) != {engine}:
        return None
    recorded.extend(values)
    place = Place(buffers, rebuild_refs, 1)
    stream = pickle.dumps(_List(place), 5, buffer_callback=out_of_band)
    place.fill(memoryview(marshal.dumps((engine.nonce, list(map(_id_of, values))))))
    return stream


class PickledRefs:
    """The refs of one value that is being pickled.

    Thread contract: one thread.

    Args:
        buffers: the value's out-of-band buffers, to which one will be added.
    """

    __slots__ = ("_ids", "_nonce", "_place", "_reduction", "_skipped")

    def __init__(self, buffers: list[Any]) -> None:
        self._ids: list[int] = []
        self._nonce = 0
        self._place = Place(buffers, rebuild_refs, 1)
        self._reduction = (next, (self._place,))  # always the same, so that pickle writes references to it
        self._skipped = 0

    def reduce(self, ref: ObjectRef[object]) -> tuple[Any, ...]:
        """Has the ref's engine count it; returns what stands for it in the stream."""
        reduced = ref.__reduce__()
        if reduced[0] is not rebuild_ref:
            return reduced
        if self._skipped < INLINE_MAX_REFS:
            self._skipped += 1
            return reduced
        identity, nonce = reduced[1]
        if not self._ids:
            self._nonce = nonce
        elif nonce != self._nonce:
            return reduced
        self._ids.append(identity)
        return self._reduction

    def finish(self) -> None:
        """Once everything is pickled: puts the table among the buffers."""
        if self._ids:
            self._place.fill(memoryview(marshal.dumps((self._nonce, self._ids))))
