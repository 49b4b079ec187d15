"""Threads for the done-callbacks of futures: they may call the API, block, and raise anything."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

#: A function and its argument.
Call = tuple[Callable[[Any], None], Any]

IDLE_SECONDS = 1.0  # a thread without work stays this long


class CallbackThreads:
    """Runs each call on a thread of its own; threads are used again while they are there.

    A callback may wait for another future of this process, so a call never waits for the end of one before.

    Thread contract: `run` from any thread.
    """

    def __init__(self) -> None:
        # No lock: what the collector runs, in the middle of any of this, may come here too.
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._free: list[None] = []  # one for each thread that waits and was promised no call

    def run(self, function: Callable[[Any], None], argument: Any) -> None:
        """Calls ``function(argument)`` soon."""
        self._calls.put((function, argument))
        try:
            self._free.pop()
        except IndexError:
            threading.Thread(target=self._serve, name="raynb-callbacks", daemon=True).start()

    def _serve(self) -> None:
        call: Call | None = self._calls.get()  # there is a thread for each
        while call is not None:
            try:
                call[0](call[1])
            except BaseException:  # SystemExit too: it is the callback's own affair
                traceback.print_exc()
            del call
            call = self._next()

    def _next(self) -> Call | None:
        """Returns the next call for the calling thread; None when there was none for `IDLE_SECONDS`."""
        self._free.append(None)
        try:
            return self._calls.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            pass
        try:
            self._free.pop()
        except IndexError:  # one was promised just now
            return self._calls.get()
        return None
