"""More data than the store holds: how fast it goes to disk and comes back, and a soak.

All objects differ in their first number and are compared byte for byte when they come back.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from benchmarks.cases import Case
from benchmarks.engines.base import Adapter

CHUNK = 50_000_000
SPILL_TOTAL = 2_000_000_000
#: What the soak keeps alive at any time, beyond the store it is given.
LIVE = 1_500_000_000
SOAK_STEP = 1_000_000_000


class Bytes:
    """Makes the objects, and knows them again."""

    def __init__(self) -> None:
        import numpy

        self._numpy: Any = numpy
        self._base = numpy.random.default_rng(11).random(CHUNK // 8)

    def numbered(self, number: int) -> Any:
        self._base[0] = number
        return self._base

    def check(self, number: int, value: Any) -> None:
        self._base[0] = number
        if not self._numpy.array_equal(value, self._base):
            raise AssertionError(f"object {number} came back changed")


def _spill(adapter: Adapter, seconds: float) -> list[float]:
    made = Bytes()
    count = SPILL_TOTAL // CHUNK
    begin = time.perf_counter()
    refs = [adapter.put(made.numbered(i)) for i in range(count)]
    written = time.perf_counter() - begin
    begin = time.perf_counter()
    for i, ref in enumerate(refs):
        made.check(i, adapter.get(ref))
    read = time.perf_counter() - begin
    return [SPILL_TOTAL / 1e9 / written, SPILL_TOTAL / 1e9 / read]


class Soak:
    """Keeps a window of objects alive and moves it on, one step a call."""

    def __init__(self) -> None:
        self.window: deque[tuple[int, Any]] = deque()
        self.made = Bytes()
        self.count = 0

    def step(self, adapter: Adapter, seconds: float) -> list[float]:
        begin = time.perf_counter()
        for _ in range(SOAK_STEP // CHUNK):
            self.window.append((self.count, adapter.put(self.made.numbered(self.count))))
            self.count += 1
            while len(self.window) * CHUNK > LIVE:
                self._check(adapter)
        return [SOAK_STEP / 1e9 / (time.perf_counter() - begin)]

    def finish(self, adapter: Adapter, seconds: float) -> list[float]:
        while self.window:
            self._check(adapter)
        return [float(self.count)]

    def _check(self, adapter: Adapter) -> None:
        number, ref = self.window.popleft()
        self.made.check(number, adapter.get(ref))


class _Lazily:
    """One `Soak` a process, made by the first step (it needs numpy)."""

    def __init__(self) -> None:
        self._soak: Soak | None = None

    def __call__(self) -> Soak:
        self._soak = self._soak or Soak()
        return self._soak


_soak = _Lazily()

BY_NAME = {
    "spill": Case("spill", "spill: write, read", "GB/s", run=_spill),
    "soak": Case("soak", "soak: one step", "GB/s", run=lambda a, s: _soak().step(a, s)),
    "finish": Case("finish", "soak: objects in all", "", run=lambda a, s: _soak().finish(a, s)),
}
