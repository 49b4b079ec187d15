"""Measures how long the kernel serialises, for the timing of cells.

Small arguments are not looked at: reading the clock costs as much as pickling them.
"""

from __future__ import annotations

import time
from typing import Any

from raynb.base import engine as engines
from raynb.base.engine import Engine, Packed
from raynb.base.spec import TaskOptions

_now = time.monotonic

#: Bytes of a stream from which on storing it is looked at.
LARGE = 50_000


def matters(packed: Packed) -> bool:
    """Returns whether it is worth reading the clock."""
    return packed.took > 0 or len(packed.data) >= LARGE


def submit(engine: Engine, options: TaskOptions, packed: Packed, actor: int,
           args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # fmt: skip
    """Submits a call of these arguments, packed; returns what the caller gets: a ref, several, or None."""
    if packed.took > 0 or len(packed.data) >= LARGE:
        began = _now()
        refs = engine.submit(options, packed, actor)
        serialised((*args, *kwargs.values()), began - packed.took)
    else:
        refs = engine.submit(options, packed, actor)
    return handed(options, refs)


def handed(options: TaskOptions, refs: Any) -> Any:
    """Returns what ``.remote()`` returns for the refs of a submission: one ref, a list, or None."""
    count = options.num_returns
    if count == 1 or count == -1:
        return refs[0]
    return refs if count else None


def put(engine: Engine, packed: Packed, value: Any) -> Any:
    """Stores a value that is not small."""
    began = _now()
    ref = engine.put(packed)
    serialised((value,), began - packed.took)
    return ref


def serialised(values: tuple[Any, ...], began: float) -> None:
    """Reports the end of serialising and storing these values, if it took long enough to matter."""
    on_serialised = engines.on_serialised
    if on_serialised is not None:
        took = _now() - began
        if took >= engines.SERIALISED_FROM:
            on_serialised(values, began, took)


def defined(made: Any, packed: Packed) -> None:
    """Reports how long pickling a function or class took, with the names it uses."""
    serialised((made,), _now() - packed.took)
