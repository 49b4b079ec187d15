"""Profiles the tasks of a ``%%remote --profile`` cell on their workers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from raynb.base import engine as engines
from raynb.base.rows import PROFILE
from raynb.jupyter.on_worker.runner import CellPayload, run_cell, run_items
from raynb.run.inspection.memory import MemoryWatch
from raynb.run.inspection.sampler import Sampler


def profiled_cell(payload: CellPayload, *arrived: object) -> Any:
    """Runs a cell as `run_cell` does, and sends its profile."""
    with _profiled(sys._getframe()):
        return run_cell(payload, *arrived)


def profiled_items(payload: CellPayload, items: list[Any], *arrived: object) -> Any:
    """Runs items as `run_items` does, and sends their profile."""
    with _profiled(sys._getframe()):
        return run_items(payload, items, *arrived)


def memory_profiled_cell(payload: CellPayload, *arrived: object) -> Any:
    """Runs a cell as `run_cell` does, and sends where its peak memory was allocated."""
    with _memory_profiled():
        return run_cell(payload, *arrived)


def memory_profiled_items(payload: CellPayload, items: list[Any], *arrived: object) -> Any:
    """Runs items as `run_items` does, and sends where their peak memory was allocated."""
    with _memory_profiled():
        return run_items(payload, items, *arrived)


def _send(profile: dict[str, Any]) -> None:
    engines.current().emit(PROFILE, bundle=profile)


@contextlib.contextmanager
def _profiled(below: FrameType) -> Iterator[None]:
    """Samples what the caller's frame calls: those below it are raynb's own, a dozen at each sample."""
    sampler, process = Sampler(below), os.getpid()
    sampler.start()
    try:
        yield
    finally:
        if os.getpid() == process:  # else it is a child that the cell forked, in which nothing samples
            _send(sampler.stop())


@contextlib.contextmanager
def _memory_profiled() -> Iterator[None]:
    """Traces Python's allocations; a thread keeps the snapshot at the peak."""
    watch = MemoryWatch()
    try:
        watch.start()
    except ValueError as error:  # `%raynb profile --memory` looks at this worker: the task runs all the same
        _send({"memory": None, "why": str(error)})
        yield
        return
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == process:  # else it is a child that the cell forked: its memory is not watched
            _send(watch.stop())
