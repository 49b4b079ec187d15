"""How the embedded engine comes up, loses its supervisor, and ends."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from raynb.base import ids
from raynb.base.config import Config
from raynb.base.interrupts import Critical
from raynb.core.machine import Machine
from raynb.core.scheduling.worker_health import SupervisorDeaths
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.engine.local.supervisor_process import Supervised
from raynb.engine.loop.connections import Connection
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import RaySystemError, RuntimeGoneError
from raynb.store import Board, DiskTier, Ledger, Store, UnsentRows

_now = time.monotonic


class Lifecycle:
    """The part of `LocalEngine` that starts and stops what it is made of.

    Thread contract: as `LocalEngine`.
    """

    FIRST_WORKER = -1  # watch key: a worker has become ready

    config: Config
    supervised: Supervised
    nonce: int
    marker: str
    alive: bool
    definitions: dict[str, tuple[bytes, Any]]
    machine: Machine
    loop: Loop
    disk: DiskTier
    ledger: Ledger
    board: Board
    unsent: UnsentRows
    store: Store
    effects: Any
    inbox: Any
    room: Any
    _pid: int
    _supervisor_deaths: SupervisorDeaths

    # -- starting ------------------------------------------------------------------------------
    def _settings(self) -> dict[str, Any]:
        return {
            "nonce": self.nonce,
            "marker": self.marker,
            "store_limit": self.store.limit,
            "inline_limit": self.config.inline_limit,
            "spill_directory": self.disk.path,
            "spill_home": self.disk.home,
            "sys_path": list(sys.path),
            "cwd": os.getcwd(),
            "namespace": self.config.namespace or "",
        }

    def _start_supervisor(self) -> None:
        with self.loop.lock:
            self._adopt_supervisor()

    def _adopt_supervisor(self) -> None:
        self.supervised.configure(self._settings())
        self.supervisor_lane = Connection(self.supervised.channel, None)
        self.loop.add(self.supervisor_lane)

    def _start_workers(self) -> None:
        count = self.machine.pool.keep
        if self.config.max_workers:
            count = min(count, self.config.max_workers)
        with self.loop.lock:
            self.loop.apply(e.Started(_now(), count))
        self.loop.flush()

    def _await_first_worker(self) -> None:
        deadline = _now() + self.config.worker_start_timeout
        while True:
            waiter = Waiter(1)
            with self.loop.lock:
                if self._has_worker():
                    return
                if self.machine.ailing.gave_up:
                    raise RaySystemError(f"{self.machine.ailing.gave_up} {self.supervised.last_words()}".rstrip())
                self.loop.waiters.watch((self.FIRST_WORKER,), waiter)
            if not self.loop.waiters.wait(waiter, deadline):
                raise RaySystemError(
                    f"no worker could be started within {self.config.worker_start_timeout} s: "
                    f"{self.supervised.last_words() or 'it said nothing'}"
                )

    def _has_worker(self) -> bool:
        # a list, not a generator: Ctrl-C inside a generator is printed and lost
        return any([peer.pid for peer in self.effects.peers.values()])  # noqa: C419

    def supervisor_lost(self) -> None:
        """The supervisor died, and all workers with it: the I/O thread starts another. Under the lock."""
        if self.alive:
            self.loop.io.chores.append(self._replace_supervisor)
            self.loop.io.wake()

    def _replace_supervisor(self) -> None:
        """Starts another supervisor, outside the lock: burying one and starting one take their time."""
        if not self.alive or self.loop.health.broken:
            return
        old = self.supervised
        words = old.last_words()
        old.process.poll()
        old.stop(0.5)
        if self._supervisor_deaths.is_last(_now()):
            self.loop.fail(RaySystemError(self._supervisor_deaths.story(words)))
            return
        try:
            # With a marker of its own: whoever still sweeps by the old one must not find it.
            started = Supervised(secrets.token_hex(16))
        except RaySystemError as error:
            self.loop.fail(error)
            return
        with self.loop.lock:
            self.supervised = started
            self.marker = started.marker
            self._adopt_supervisor()
            now = _now()
            for worker in list(self.effects.peers):
                self.inbox.worker_died(worker, now, "the supervisor process died")
        self.loop.flush()
        self.loop.run_callbacks()

    @property
    def failure(self) -> str:
        """Why the runtime failed and was stopped, with its last events; empty while it works."""
        found = self.loop.health.failure
        return str(found) if found is not None and self.alive else ""

    def _broken(self) -> None:
        """The loop has failed: workers must not run on, nor views show what is no more. On the I/O thread."""
        self.warn(str(self.loop.health.failure))  # type: ignore[attr-defined]
        self.supervised.stop(0.5)

    # -- stopping ------------------------------------------------------------------------------
    def shutdown(self, timeout: float) -> None:
        """Stops everything in order; failures of single steps are raised together at the end."""
        if os.getpid() != self._pid:
            return
        self.alive = False
        errors: list[Exception] = []

        def step(action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as error:
                errors.append(error)

        if self.loop.health.failure is None:
            step(self._forget_dropped)
            step(lambda: self.loop.tell(e.ShutdownAsked(time.monotonic())))
        self.loop.fail(RuntimeGoneError("The raynb runtime was shut down."))
        step(lambda: self._stop_workers(timeout))
        step(self.loop.users.stop)
        step(self.loop.stop)
        step(lambda: self.supervised.stop(timeout))
        step(self.room.stop)
        step(self.store.close)
        step(self.ledger.close)
        step(self.board.close)
        step(self.unsent.close)
        step(self.disk.close)
        self.definitions.clear()
        if errors:
            raise RaySystemError("shutdown was not clean: " + "; ".join(map(str, errors))) from errors[0]

    def _forget_dropped(self) -> None:
        """What was dropped just before the end is not freed one by one, which takes 1.7 s for a million refs: all goes
        with the store. Of dropped refs only those matter whose failure nobody has asked about: it is told."""
        log = self.loop.ref_log
        with self.loop.lock:
            failed = self.machine.tasks.unasked.failed
            changes = [log.popleft() for _ in range(len(log))]
            log.extend(change for change in changes if ids.task_of(max(change, ~change)) in failed)
            self.loop.view_log.clear()

    def _stop_workers(self, timeout: float) -> None:
        """Idle workers leave by themselves (their atexit runs); busy ones are killed after."""
        if self.loop.health.broken:
            return
        with self.loop.lock:
            for worker in list(self.machine.pool.table.values()):
                if not worker.queue:
                    self.effects.stop(c.StopWorker(worker.id))
        self.loop.flush()
        deadline = _now() + min(timeout, 1.0)
        idle = {w.id for w in self.machine.pool.table.values() if not w.queue and w.pid}
        pause = threading.Event()
        while idle & set(self.effects.peers) and _now() < deadline:
            pause.wait(0.002)

    def after_fork_in_child(self) -> None:
        """The child of a fork must not touch what is the parent's."""
        self.alive = False
        self.loop.health.failure = RuntimeGoneError("This process is a fork: it has no raynb runtime of its own.")
        self.loop.intake.clear()
        self.loop.lock = Critical(self.loop.intake, self.loop.take_in)
        for lane in list(self.loop.lanes.values()):
            lane.channel.close()
        self.loop.close()
        self.supervised.abandon()
        self.store.after_fork_in_child()
