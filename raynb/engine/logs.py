"""Keeps what tasks printed, for `%raynb logs` and the dashboard, within bounds."""

from __future__ import annotations

import threading
from collections import deque

from raynb.base.rows import END_OF_TASK, PROFILE, Output

KEPT_CHARACTERS = 64 << 20  # characters


class Logs:
    """The latest output of tasks. Thread contract: any thread."""

    def __init__(self, keep: int = KEPT_CHARACTERS) -> None:
        self._keep = keep
        self._entries: deque[Output] = deque()
        self._size = 0
        self.dropped = 0  # characters that made room
        self._lock = threading.Lock()

    def add(self, output: Output) -> None:
        """Appends what a task printed; evicts the oldest entries over the limit."""
        if output.kind in (END_OF_TASK, PROFILE):
            return
        with self._lock:
            self._entries.append(output)
            self._size += len(output.text) + 200
            while self._size > self._keep and len(self._entries) > 1:
                old = self._entries.popleft()
                self._size -= len(old.text) + 200
                self.dropped += len(old.text)

    def find(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        """Returns what a task (or worker, or everybody) printed, in order."""
        with self._lock:
            return [
                entry for entry in self._entries
                if (task is None or entry.task == task) and (worker is None or entry.worker == worker)
            ]  # fmt: skip
