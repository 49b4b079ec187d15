"""Remembers which run made an object, so that a ref stands in a key without its data being read.

The name of a run is the key of the code and inputs, and a random word given to that one run. A run that is taken
from disk keeps its word; one that is made anew (``--fresh``, or because nothing was kept) gets another,
and what was made of the older one's result is not taken for the newer one's.

Thread contract: any thread; single operations on a dict.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from raynb.base.ref import ObjectRef
from raynb.keeping.versions import Unsure

#: How many objects are remembered.
MAX_OBJECTS = 200_000

_known: dict[tuple[int, int], str] = {}


def new_run() -> str:
    """Returns the word of a run that begins now."""
    return secrets.token_hex(8)


def record(refs: Iterable[tuple[str, ObjectRef[object]]], key: str, run: str) -> None:
    """Records that these outputs, by name, are of one run."""
    for name, ref in refs:
        _known[ref._engine.nonce, ref._id] = f"{key}/{run}/{name}"
    while len(_known) > MAX_OBJECTS:
        _known.pop(next(iter(_known)), None)


def of(ref: ObjectRef[object]) -> str:
    """Returns the name of the run and output that a ref is.

    Raises:
        Unsure: it was made by something that isn't kept.
    """
    found = _known.get((ref._engine.nonce, ref._id))
    if found is None:
        raise Unsure("it is a ref that nothing kept has made")
    return found
