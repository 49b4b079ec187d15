"""Postpones the work of recording a cell until the kernel has nothing else to do.

A whole ``%%remote`` cell changes nothing between its submission and the start of the next cell, except the names that
it binds. So its inputs are read once the reply is sent: in the next turn of the kernel's event loop, or before whatever
comes first: the next cell, a question, a second submission in the same cell.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base.process import trace


class Later:
    """Steps that are taken in order, later.

    Thread contract: every method from any thread; steps run under ``lock``.

    Args:
        lock: of the record.
    """

    def __init__(self, lock: Any) -> None:
        self._lock: threading.RLock = lock
        self._steps: deque[Callable[[], None]] = deque()

    def add(self, step: Callable[[], None]) -> None:
        """Adds a step."""
        self._steps.append(step)

    def catch_up(self) -> None:
        """Takes the steps that are left, and waits for one that another thread takes."""
        with self._lock:
            while self._steps:
                step = self._steps.popleft()
                try:
                    step()
                except Exception as error:  # the record must never fail a cell
                    trace.swallowed("a cell could not be recorded", error)

    def when_idle(self, action: Callable[[], None]) -> bool:
        """Has the kernel's event loop run an action after the cell's reply; returns False where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        loop.call_soon(action)
        return True
