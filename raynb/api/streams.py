"""Checks which functions may be called as generators, and `wait` on generators: ready with their next item."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from raynb.base import unshown
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRefGenerator


def check_generator(num_returns: Any, function: Any, name: str) -> None:
    """Refuses ``num_returns="streaming"`` and ``"dynamic"`` for a function that doesn't yield.

    Raises:
        ValueError: it is such a function.
    """
    if num_returns not in ("streaming", "dynamic") or not inspect.isfunction(function):
        return
    if not inspect.isgeneratorfunction(function) and not inspect.isasyncgenfunction(function):
        raise no_generator(num_returns, name)


def no_generator(num_returns: str, name: str) -> ValueError:
    """Returns the error for a function without ``yield`` that is to be called as a generator."""
    return ValueError(
        f"num_returns={num_returns!r} can only be used with generator functions (functions that use 'yield'), "
        f"and {name} doesn't yield."
    )


def wait_mixed(
    waitables: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
) -> tuple[list[Any], list[Any]]:
    """`wait` for a list in which some are generators."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.0005
    while True:
        ready = [item for item in waitables if _is_ready(item, fetch_local)][:num_returns]
        left = None if deadline is None else deadline - time.monotonic()
        if len(ready) >= num_returns or (left is not None and left <= 0):
            if unshown.pending:
                unshown.show([getattr(item, "_ref", item)._id for item in ready])
            chosen = {id(item) for item in ready}
            return ready, [item for item in waitables if id(item) not in chosen]
        # Generators have no ref for their next item yet, so this looks, less and less often.
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 2, 0.02)


def _is_ready(item: Any, fetch_local: bool) -> bool:
    if isinstance(item, ObjectRefGenerator):
        return item._engine.item_is_ready(*item._position)
    ready, _ = item._engine.wait([item], 1, 0, fetch_local)
    return bool(ready)
