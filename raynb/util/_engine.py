"""The one place where utilities reach beyond Ray's names: the engine behind the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb import api as ray

if TYPE_CHECKING:
    from raynb.base.interfaces import Engine

_WIDTHS = {"task": 48, "object": 56, "actor": 32, "worker": 56}


def engine() -> Engine:
    """Returns the engine of the calling process, starting a runtime where first use does."""
    return ray.get_runtime_context()._engine


def spell(number: int, kind: str) -> str:
    """Returns an id as hex digits: kind is "task", "object", "actor" or "worker"."""
    return ray.get_runtime_context()._hex(number, _WIDTHS[kind])
