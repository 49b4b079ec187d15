"""An event loop that runs only while a thread drives it: for async actors of `InlineEngine`.

It runs in the thread that submits a call or waits for one, also inside a running loop (a
notebook's cells run in one). A call that awaits what only a later call can bring stays pending
until then, so programs in which async actors wait for each other work without threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import selectors
import threading
from collections.abc import Callable, Iterator
from typing import Any

from raynb.base.interrupts import RESUME_SECONDS
from raynb.base.process.waits import time


class _Selector(selectors.DefaultSelector):
    """Stops the loop instead of sleeping when nothing inside this process could wake it."""

    def __init__(self, owner: DrivenLoop) -> None:
        super().__init__()
        self.owner = owner

    def select(self, timeout: float | None = None) -> Any:
        """Stops the loop instead of sleeping when nothing but a caller could wake it."""
        # One registered file is the loop's own pipe; more mean that something waits for the network.
        if timeout is None and not self.owner.patient and len(self.get_map()) <= 1:
            self.owner.idle = True
            self.owner.loop.stop()
            timeout = 0
        return super().select(RESUME_SECONDS if timeout is None else timeout)


@contextlib.contextmanager
def _outside_running_loop() -> Iterator[None]:
    """Lets another loop run in this thread for the length of the block."""
    outer = asyncio._get_running_loop()
    if outer is None:
        yield
        return
    task = asyncio.current_task(outer)
    if task is not None:
        asyncio.tasks._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        if task is not None:
            asyncio.tasks._enter_task(outer, task)


class DrivenLoop:
    """An event loop that runs only while a thread drives it.

    Thread contract: any thread, one at a time; others wait.
    """

    def __init__(self) -> None:
        self.patient = False
        self.idle = False
        self.loop = asyncio.SelectorEventLoop(_Selector(self))
        self._turn = threading.Lock()
        self._driver = 0

    def start(self, coroutine: Any, context: contextvars.Context) -> asyncio.Task[Any]:
        """Makes a task of a coroutine; it runs when the loop is driven."""
        if self.loop.is_running() and self._driver != threading.get_ident():
            made: list[asyncio.Task[Any]] = []
            there = threading.Event()

            def make() -> None:
                made.append(context.run(self.loop.create_task, coroutine))
                there.set()

            self.loop.call_soon_threadsafe(make)
            there.wait()
            return made[0]
        return context.run(self.loop.create_task, coroutine)

    def driven_here(self) -> bool:
        """Returns whether the caller is code that this very loop runs."""
        return self._driver == threading.get_ident()

    def drive(self, done: Callable[[], bool], timeout: float | None, patient: bool) -> None:
        """Runs the loop until ``done()``, or the time is up (seconds); unless ``patient``, also only
        until nothing is left that could go on by itself."""
        if self.driven_here() or done() or self.loop.is_closed():
            return
        end = None if timeout is None else time.monotonic() + timeout
        left = RESUME_SECONDS if timeout is None else min(timeout, RESUME_SECONDS)
        while not self._turn.acquire(timeout=max(0.0, left)):
            if left <= 0:
                return
            left = RESUME_SECONDS if end is None else min(end - time.monotonic(), RESUME_SECONDS)
        try:
            self._driver = threading.get_ident()
            self.patient = patient
            bell = self.loop.call_later(timeout, self.loop.stop) if timeout is not None else None
            with _outside_running_loop():
                while not done():
                    self.idle = False
                    self.loop.run_forever()  # ends when a call ends, when idle, or with the bell
                    if self.idle or (bell is not None and self.loop.time() >= bell.when()):
                        break
            if bell is not None:
                bell.cancel()
        finally:
            self._driver = 0
            self._turn.release()

    def interrupt(self) -> None:
        """Lets `drive` look again whether what it waits for is done."""
        self.loop.stop()

    def close(self) -> None:
        """Cancels what is left and closes the loop."""
        if self.loop.is_closed() or self.driven_here():
            return
        self.patient = False
        with self._turn, _outside_running_loop():
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self._finish(left)
            self._finish({self.loop.create_task(self.loop.shutdown_asyncgens())})
            self.loop.close()

    def _finish(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Runs tasks to their end; abandons one that does not end."""
        self.idle = False
        while not self.idle and not all(task.done() for task in tasks):
            self.loop.run_forever()
