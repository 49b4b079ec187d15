"""Placement groups of the driver's machine."""

from __future__ import annotations

import contextlib
from typing import Any

from raynb.base import ids
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.core.vocabulary import events as e
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter

_now = time.monotonic


class LocalGroups:
    """Thread contract: every method from any thread, also under the lock (what workers ask is answered there)."""

    def __init__(self, loop: Loop, numbers: ids.IdSource) -> None:
        self._loop = loop
        self._ids = numbers

    @sheltered
    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        """Asks for a placement group of bundles; returns its number at once."""
        with self._locked():
            number: int = self._ids.next_task()
            self._loop.apply(e.BundleReserved(_now(), number, bundles))
        return number

    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Returns whether the group is placed, after at most ``timeout`` seconds."""
        # A look that changes nothing takes no lock: what is placed was so when it was asked.
        return group in self._loop.machine.groups.placed or self._await_ready(group, timeout)

    @sheltered
    def _await_ready(self, group: int, timeout: float | None) -> bool:
        waiter = Waiter(1)
        with self._locked():
            if group in self._loop.machine.groups.placed:
                return True
            if timeout == 0:
                return False
            self._loop.waiters.watch((-group,), waiter)
        there: bool = self._loop.waiters.wait(waiter, None if timeout is None else _now() + timeout)
        if not there:
            self._loop.waiters.unwatch(waiter)
        return there

    @sheltered
    def return_group(self, group: int) -> None:
        """Removes a placement group and releases its resources."""
        with self._locked():
            self._loop.apply(e.BundleReturned(_now(), group))
        if self._loop.lock.owner == 0:
            self._loop.flush()

    @sheltered
    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of the placement groups."""
        with self._locked():
            groups = self._loop.machine.groups
            table = {g: ("CREATED", b) for g, b in groups.placed.items()}
            table.update({g: ("PENDING", b) for g, b in groups.waiting.items()})
        return table

    def _locked(self) -> Any:
        """Returns the lock, or nothing to enter where the caller has it."""
        return contextlib.nullcontext() if self._loop.lock.is_mine() else self._loop.lock
