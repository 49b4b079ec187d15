"""Publishes this runtime to the user's other runtimes on this machine, and shares the slots with them."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable

from raynb.base import limits
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.process import trace
from raynb.base.process.registry import Registry, program
from raynb.base.process.waits import time
from raynb.base.rows import TASK_ENDED, KernelRow
from raynb.base.spec import CPU
from raynb.core.machine import Machine
from raynb.core.scheduling import sharing
from raynb.core.vocabulary import events as e
from raynb.engine.loop.loop import Loop
from raynb.store import Ledger

LOOK_SECONDS = 1.0
WANTS_REMEMBERED = 3  # looks over which a want is remembered, so that slots do not come and go between two calls


class Neighbours:
    """An entry in the registry, kept up to date, and the slots that follow from the others' entries.

    Without a registry (its folder cannot be made, or is not this user's alone) the runtime is as if it were alone;
    `%raynb doctor` has the reason.

    Args:
        config: the runtime's.
        nonce: the runtime's.
        opened: opens the registry.

    Attributes:
        store_limit: bytes for the object store: asked for, or a share of what is left beside the others.
        on_stop: called with who asks, outside any lock and in the I/O thread, when somebody asks it to stop.

    Thread contract: `tick` in the I/O thread; `scaled` from any; the rest in the thread that starts or ends the
    engine.
    """

    def __init__(self, config: Config, nonce: int, opened: Callable[[], Registry] = Registry) -> None:
        self.on_stop: Callable[[str], None] = lambda who: None
        cpus = config.num_cpus if config.num_cpus is not None else limits.cpu_count()
        name, kernel = program()
        self.row = KernelRow(
            f"{os.getpid()}-{nonce:08x}", os.getpid(), time.time(), name, kernel, cpus, cpus,
            config.num_cpus is not None, config.share,
        )  # fmt: skip
        self._folder: Registry | None = None
        self._next = 0.0
        self._seen = -1  # the machine's version at the last look
        self._said: KernelRow | None = None
        self._wants: deque[float] = deque(maxlen=WANTS_REMEMBERED)
        available = limits.memory_available()
        try:
            place = opened()
            with place.turn():
                available = sharing.memory_left(available, place.rows())
                self.store_limit = config.object_store_memory or limits.store_of(available)
                self.row.store = self.store_limit
                place.join(self.row.key)
                self._folder = place
                place.publish(self.row)
        except OSError as error:
            trace.swallowed("looking for other runtimes of this user", error)
            self.store_limit = config.object_store_memory or limits.store_of(available)
            self.row.store = self.store_limit
        self.memory_left = available

    def attach(self, loop: Loop, ledger: Ledger) -> None:
        """Sets what the entry is read from; from then on `tick` works."""
        self._loop = loop
        self._ledger = ledger

    def scaled(self, cpus: int) -> None:
        """Publishes the slots that the user has asked for."""
        self.row.base, self.row.cpus, self.row.chosen = cpus, cpus, True
        self._seen = -1

    def tick(self, now: float) -> None:
        """Publishes changes, applies requests of others, and acquires or releases slots, about once a second."""
        folder = self._folder
        if folder is None or now < self._next:
            return
        self._next = now + LOOK_SECONDS
        try:
            self._look(folder, now)
        except OSError as error:  # the folder is gone, or its disk is full: the runtime goes on alone
            self._folder = None
            folder.forget()
            trace.swallowed("telling other runtimes of this user", error)

    def _look(self, folder: Registry, now: float) -> None:
        who = folder.asked_to_stop()
        if who:
            self.on_stop(who)
        self._measure()
        if self.row.share == sharing.FAIR:
            others = [row for row in folder.rows() if row.key != self.row.key]
            self._take(sharing.usable(self.row, others, limits.cpu_count()), now)
        if self._said != self.row:
            folder.publish(self.row)
            self._said = dataclasses.replace(self.row)

    def _measure(self) -> None:
        machine, row = self._loop.machine, self.row
        with self._loop.lock:
            if machine.history.version != self._seen:
                self._seen = machine.history.version
                self._fill(machine, row)
            self._wants.append(sharing.wanted(machine))
        row.wanted = max(self._wants)
        row.store_used = self._ledger.total()

    @staticmethod
    def _fill(machine: Machine, row: KernelRow) -> None:
        resources = machine.resources
        row.busy = max(0, resources.total.get(CPU, 0) - resources.available.get(CPU, 0)) / RESOURCE_UNIT
        row.unfinished = sum(
            count for states in machine.history.groups.values() for state, count in states.items()
            if state not in TASK_ENDED
        )  # fmt: skip
        row.memory = sum(worker.rss for worker in machine.pool.table.values())
        row.spilled = machine.objects.spilled_bytes

    def _take(self, slots: int, now: float) -> None:
        if slots != self.row.cpus:
            self.row.cpus = slots
            self._loop.dispatch(e.CpusChanged(now, slots * RESOURCE_UNIT))

    def leave(self) -> None:
        """Removes the entry."""
        folder, self._folder = self._folder, None
        if folder is not None:
            try:
                folder.leave()
            except OSError as error:
                trace.swallowed("leaving the other runtimes of this user", error)

    def after_fork_in_child(self) -> None:
        """Forgets the folder in a forked child: it belongs to the parent."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.forget()
