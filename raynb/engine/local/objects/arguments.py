"""Places a call's arguments: small ones in the message, large ones in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.engine.refs import OwnRefs
from raynb.serde import pickling
from raynb.wire.messages import ARGS_IN_STORE


class Arguments:
    """Places arguments. Thread contract: any thread."""

    def __init__(self, refs: OwnRefs, put: Callable[[Packed], ObjectRef[object]], inline_limit: int) -> None:
        self._refs = refs
        self._put = put
        self._inline_limit = inline_limit

    def place(self, packed: Packed) -> tuple[Any, tuple[int, ...], tuple[int, ...], Any]:
        """Returns (args, deps, contained, what must live until the machine has counted it)."""
        ids_of = self._refs.ids_of
        deps = ids_of(packed.deps) if packed.deps else ()
        if (not packed.buffers and len(packed.data) <= self._inline_limit) \
                or pickling.nbytes(packed) <= self._inline_limit:  # fmt: skip
            contained = ids_of(packed.contained) if packed.contained else ()
            return pickling.in_band(packed), deps, contained, packed
        ref = self._put(packed)
        return ARGS_IN_STORE, (*deps, ref._id), (), (ref, packed)
