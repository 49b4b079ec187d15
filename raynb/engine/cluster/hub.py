"""The way back: an actor that collects what workers say, and the driver's thread that takes it.

Workers push batches: output, and what became of tasks. Each batch has its worker's name and a
number; a result names the batch that must have been seen before it (`bridge.Value.mark`), so a
task's output is always shown before its result.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray

NAMESPACE = "raynb"
PATIENCE = 5.0  # seconds that a result waits for its output at the most
TICK = 0.5  # seconds between two looks at what nothing was heard of


def name_of(nonce: int) -> str:
    return f"raynb-hub-{nonce:08x}"


class Hub:
    """The actor. Thread contract: its methods run on one event loop."""

    def __init__(self) -> None:
        self.batches: deque[Any] = deque()
        self.there = asyncio.Event()

    async def push(self, worker: str, number: int, events: list[Any]) -> None:
        self.batches.append((worker, number, events))
        self.there.set()

    async def pull(self, patience: float) -> list[Any]:
        """Returns the batches that came since the last call; waits for one (seconds)."""
        try:
            await asyncio.wait_for(self.there.wait(), patience)
        except asyncio.TimeoutError:
            return []
        self.there.clear()
        found = list(self.batches)
        self.batches.clear()
        return found


class Listener:
    """The driver's thread that takes what the hub has.

    Args:
        hub: handle of the hub.
        take: called with (worker, events) of each batch, in order.
        tick: called at least every `TICK` seconds.
        lost: called when the cluster is gone.

    Thread contract: `seen` from any thread; the callbacks run on the listener's own.
    """

    def __init__(self, hub: Any, take: Callable[[str, list[Any]], None], tick: Callable[[], None],
                 lost: Callable[[BaseException], None]) -> None:  # fmt: skip
        self._hub = hub
        self._take = take
        self._tick = tick
        self._lost = lost
        self._changed = threading.Condition()
        self._numbers: dict[str, int] = {}
        self._later: list[tuple[Any, Callable[[], None]]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="raynb-cluster", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        ticked = time.monotonic()
        while not self._stopping:
            try:
                batches = ray.get(self._hub.pull.remote(TICK))
            except BaseException as error:
                if not self._stopping:
                    self._lost(error)
                break
            for worker, number, events in batches:
                self._take(worker, events)
                with self._changed:
                    self._numbers[worker] = max(number, self._numbers.get(worker, 0))
                    self._changed.notify_all()
                    ready = [one for one in self._later if self._has(one[0])]
                    self._later = [one for one in self._later if one not in ready]
                for _, then in ready:
                    then()
            if time.monotonic() - ticked >= TICK:
                self._tick()
                ticked = time.monotonic()

        with self._changed:
            self._stopping = True
            left, self._later = self._later, []
            self._changed.notify_all()
        for _, then in left:
            then()

    def _has(self, mark: tuple[str, int] | None) -> bool:
        return mark is None or self._numbers.get(mark[0], 0) >= mark[1]

    def seen(self, mark: tuple[str, int] | None) -> None:
        """Waits until the batch that ``mark`` names was taken (at most `PATIENCE`)."""
        if self._has(mark) or threading.current_thread() is self._thread:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._has(mark), PATIENCE)

    def when_seen(self, mark: tuple[str, int] | None, then: Callable[[], None]) -> None:
        """Calls ``then`` once that batch was taken, on the listener's thread; at once if it was."""
        with self._changed:
            wait = not (self._stopping or self._has(mark))
            if wait:
                self._later.append((mark, then))
        if not wait:
            then()

    def stop(self) -> None:
        """Takes what has arrived, then ends."""
        self._stopping = True
        self._thread.join(TICK + 2.0)
