"""Threads for the done-callbacks of futures: they may call the API, block, and raise anything."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

IDLE_SECONDS = 1.0  # a thread without work stays this long


class CallbackThreads:
    """Runs each call on a thread of its own; threads are used again while they are there.

    A callback may wait for another future of this process, so a call never waits for the end of one before.

    Thread contract: `run` from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._more = threading.Condition(self._lock)
        self._free = 0  # threads that wait for work

    def run(self, function: Callable[[Any], None], argument: Any) -> None:
        """Calls ``function(argument)`` soon."""
        with self._lock:
            self._calls.append((function, argument))
            if self._free >= len(self._calls):
                self._more.notify()
                return
        threading.Thread(target=self._serve, name="raynb-callbacks", daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._free += 1
                try:
                    if not self._calls and not self._more.wait_for(lambda: self._calls, IDLE_SECONDS):
                        return
                    function, argument = self._calls.popleft()
                finally:
                    self._free -= 1
            try:
                function(argument)
            except BaseException:  # SystemExit too: it is the callback's own affair
                traceback.print_exc()
            del function, argument
