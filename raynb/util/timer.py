"""``ray.util.timer``: how long a block takes, averaged over its last runs."""

from __future__ import annotations

import time
from collections import deque


class _Timer:
    """Measures a ``with`` block.

    Args:
        window_size: runs that the averages are over.
    """

    def __init__(self, window_size: int = 10) -> None:
        self._samples: deque[float] = deque(maxlen=window_size)
        self._units: deque[float] = deque(maxlen=window_size)
        self._started: float | None = None
        self._total_time = 0.0
        self.count = 0

    def __enter__(self) -> _Timer:
        if self._started is not None:
            raise RuntimeError("this timer is running already; use one timer for each block")
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._started is not None
        self.push(time.perf_counter() - self._started)
        self._started = None

    def push(self, time_delta: float) -> None:
        """Adds a run of so many seconds."""
        self._samples.append(time_delta)
        self._total_time += time_delta
        self.count += 1

    def push_units_processed(self, n: float) -> None:
        """Adds the units that a run processed."""
        self._units.append(n)

    def has_units_processed(self) -> bool:
        """Returns whether units were added."""
        return bool(self._units)

    @property
    def mean(self) -> float:
        """Seconds of a run, on average."""
        return sum(self._samples) / len(self._samples) if self._samples else 0.0

    @property
    def mean_units_processed(self) -> float:
        """Units of a run, on average."""
        return sum(self._units) / len(self._units) if self._units else 0.0

    @property
    def mean_throughput(self) -> float:
        """Units a second."""
        seconds = sum(self._samples)
        return sum(self._units) / seconds if seconds else 0.0


__all__ = ["_Timer"]
