"""Runs users' callbacks, on threads of its own.

One thread runs the callbacks in their order. A callback may block, even for another future: the
I/O thread looks every `LOOK_SECONDS`, and starts one more thread when callbacks wait and none has
ended since its last look. So no callback can stop another one, nor timeouts, nor the monitors.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from raynb.base.process import strikes, trace

MAX_THREADS = 64
LEAVE_SECONDS = 0.5  # at the end, a callback that runs gets so long; its thread is a daemon


def run_all(callbacks: deque[Callable[[], None]]) -> None:
    """Runs queued callbacks of ours, each of which may run twice. One that finds no memory is left for the next time:
    somebody waits for it."""
    while True:
        try:
            callback = callbacks.popleft()
        except IndexError:
            return
        try:
            callback()
        except MemoryError:
            callbacks.appendleft(callback)
            return


class Callbacks:
    """Thread contract: `put` from anywhere, destructors and signal handlers included; `look` from the I/O
    thread; `start` and `stop` once each."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self.put = self._queue.put
        self._threads: list[threading.Thread] = []
        self._busy: set[int | None] = set()  # threads that a callback holds
        self._stopped = False
        self._taken = 0
        self._seen = -1  # `_taken` at the last look, if callbacks waited then

    def start(self) -> None:
        """Starts one more thread that runs callbacks."""
        thread = threading.Thread(target=self._serve, name="raynb-callbacks", daemon=True)
        thread.start()
        self._threads.append(thread)

    def look(self) -> None:
        """Starts one more thread if callbacks wait and the running ones block."""
        if self._queue.empty() or self._stopped:
            self._seen = -1
        elif self._seen != self._taken:
            self._seen = self._taken
        elif len(self._threads) < MAX_THREADS:
            try:
                self.start()
            except RuntimeError as error:  # the system has no thread left: the callbacks wait on
                trace.swallowed("starting a thread for callbacks", error)

    @strikes.safe
    def _serve(self) -> None:
        while True:
            callback = self._queue.get()
            if callback is None:
                return
            self._taken += 1
            self._busy.add(threading.get_ident())
            try:
                callback()
            except BaseException as error:  # it is the user's code: SystemExit ends nothing of ours
                trace.swallowed("a callback raised", error)
            finally:
                self._busy.discard(threading.get_ident())
            del callback  # and what it holds, before the next one comes

    def stop(self) -> None:
        """Ends the threads after the queued callbacks; a thread that a callback blocks is abandoned."""
        self._stopped = True
        for _ in self._threads:
            self._queue.put(None)
        me = threading.get_ident()
        for thread in self._threads:
            while thread.ident != me and thread.is_alive():
                thread.join(LEAVE_SECONDS)
                if thread.ident in self._busy:
                    break
                self._queue.put(None)  # `look` may have started one more, which has taken this one's
