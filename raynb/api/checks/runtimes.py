"""Checks that refs belong to one runtime."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from raynb.exceptions import RuntimeGoneError

_engine_of = attrgetter("_engine")


def check_runtime(refs: Sequence[object]) -> None:
    """Refuses refs and generators of several runtimes.

    Args:
        refs: one or more.

    Raises:
        RuntimeGoneError: they are of several.
    """
    engine = _engine_of(refs[0])
    if set(map(_engine_of, refs)) != {engine}:
        for ref in refs:
            other = _engine_of(ref)
            if other is not engine:
                other.check_alive()
                engine.check_alive()
                raise RuntimeGoneError(f"{ref!r} belongs to another raynb runtime; wait for it there.")
