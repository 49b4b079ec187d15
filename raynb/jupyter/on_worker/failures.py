"""Lets a worker keep the frames of failed tasks for ``%debug``."""

from __future__ import annotations

from raynb.base import engine as engines


def keep_failures(most: int) -> None:
    """Keeps the frames of ``most`` failures of each cell in this process from now on; 0: of none."""
    engines.failures_kept = most
