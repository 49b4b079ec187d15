"""`tqdm` for tasks: one line per bar in the output of the cell or task that submitted them (``tqdm_ray``).

A bar in a task prints nothing but carriage returns and short lines, at most a few times a
second; the runtime carries them to the submitting cell like all output.
"""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any


class tqdm:
    """A progress bar with the part of tqdm's interface that Ray offers.

    Args:
        iterable: what to go through; None: call `update`.
        desc: shown before the bar.
        total: how many items; None: the iterable's length if it has one.
        unit: what the items are called.
        position: accepted for compatibility; bars are lines of their own.
        flush_interval_s: seconds between two lines at least.

    Example:
        >>> @ray.remote
        ... def train(epochs):
        ...     return sum(ray.util.tqdm_ray.tqdm(range(epochs), desc="training"))
        >>> ray.get(train.remote(4))
        6
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        if total is None and iterable is not None:
            total = len(iterable) if isinstance(iterable, Sized) else None
        self.total = total
        self.n = 0
        self._iterable = iterable
        self._desc = desc or ""
        self._unit = unit or "it"
        self._interval = 1.0 if flush_interval_s is None else flush_interval_s
        self._began = self._shown = time.monotonic()
        self._closed = False

    def set_description(self, desc: str) -> None:
        """Changes what is shown before the bar to ``desc``."""
        self._desc = desc
        self.refresh()

    def update(self, n: float = 1) -> None:
        """Counts ``n`` more items."""
        self.n += n  # type: ignore[assignment]
        if time.monotonic() - self._shown >= self._interval:
            self.refresh()

    def refresh(self) -> None:
        """Shows the bar now."""
        self._shown = time.monotonic()
        sys.stderr.write("\r" + str(self))
        sys.stderr.flush()

    def close(self) -> None:
        """Shows the bar a last time."""
        if not self._closed:
            self._closed = True
            self.refresh()
            sys.stderr.write("\n")
            sys.stderr.flush()

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("Can't iterate over tqdm with no iterable")
        for item in self._iterable:
            yield item
            self.update()
        self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __str__(self) -> str:
        elapsed = time.monotonic() - self._began
        rate = f"{self.n / elapsed:.1f} {self._unit}/s" if elapsed > 0 else ""
        head = f"{self._desc}: " if self._desc else ""
        if not self.total:
            return f"{head}{self.n} {self._unit} [{elapsed:.0f}s, {rate}]"
        part = min(1.0, self.n / self.total)
        bar = ("█" * round(20 * part)).ljust(20)
        return f"{head}{part:4.0%}|{bar}| {self.n}/{self.total} [{elapsed:.0f}s, {rate}]"


def safe_print(*args: Any, **kwargs: Any) -> None:
    """Does what ``print`` does: the runtime already keeps lines and bars apart.

    Example:
        >>> ray.util.tqdm_ray.safe_print("loaded")
        loaded
    """
    builtins.print(*args, **kwargs)
