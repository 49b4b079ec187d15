"""Profiles the tasks of a ``%%remote --profile`` cell on their workers."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

from raynb.base import engine as engines
from raynb.base.rows import PROFILE
from raynb.jupyter.on_worker.runner import CellPayload, run_cell, run_items
from raynb.run.inspection.sampler import Sampler

MAX_SITES = 30  # of allocations


def profiled_cell(payload: CellPayload, *arrived: Any) -> Any:
    """`run_cell`, with a profile that is sent to the cell."""
    with _profiled():
        return run_cell(payload, *arrived)


def profiled_items(payload: CellPayload, items: list[Any], *arrived: Any) -> Any:
    """`run_items`, with a profile that is sent to the cell."""
    with _profiled():
        return run_items(payload, items, *arrived)


def memory_profiled_cell(payload: CellPayload, *arrived: Any) -> Any:
    """`run_cell`, with where the memory at its peak was allocated."""
    with _memory_profiled():
        return run_cell(payload, *arrived)


def memory_profiled_items(payload: CellPayload, items: list[Any], *arrived: Any) -> Any:
    """`run_items`, with where the memory at its peak was allocated."""
    with _memory_profiled():
        return run_items(payload, items, *arrived)


def _send(profile: dict[str, Any]) -> None:
    engines.current().emit(PROFILE, bundle=profile)


@contextlib.contextmanager
def _profiled() -> Iterator[None]:
    sampler = Sampler()
    sampler.start()
    try:
        yield
    finally:
        _send(sampler.stop())


@contextlib.contextmanager
def _memory_profiled() -> Iterator[None]:
    """Traces Python's allocations; a thread keeps the picture of the largest moment."""
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start(8)
    peak = _Peak()
    peak.start()
    try:
        yield
    finally:
        peak.look()
        _send(peak.stop())
        if ours:
            tracemalloc.stop()


class _Peak:
    """Looks for the peak: a picture is taken whenever memory has grown by a tenth."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="raynb-profile", daemon=True)
        self._seen = 1 << 20
        self._sites: list[tuple[int, int, list[tuple[str, int]]]] = []

    def start(self) -> None:
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopped.wait(0.02):
            self.look()

    def look(self) -> None:
        """Takes a picture if there is more than at the last one."""
        with self._lock:
            now = tracemalloc.get_traced_memory()[0] - self._before
            if now < self._seen * 1.1:
                return
            self._seen = now
            sites = tracemalloc.take_snapshot().statistics("traceback")[:MAX_SITES]
            self._sites = [(s.size, s.count, [(f.filename, f.lineno) for f in s.traceback]) for s in sites]

    def stop(self) -> dict[str, Any]:
        self._stopped.set()
        self._thread.join()
        peak = tracemalloc.get_traced_memory()[1] - self._before
        return {"memory": peak, "sites": self._sites}
