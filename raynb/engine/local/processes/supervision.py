"""Keeps the supervisor process of an engine: configures it, replaces it when it dies, awaits its first worker."""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable
from typing import Any

from raynb.base.config import Config
from raynb.base.process import surroundings
from raynb.base.process.waits import time
from raynb.core.scheduling.worker_health import SupervisorDeaths
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.engine.local.processes.supervisor_process import Supervised
from raynb.engine.loop.connections import Connection
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import WORKER_CHANGED_KEY, Waiter
from raynb.exceptions import RaySystemError
from raynb.store import DiskTier, Store
from raynb.wire.channel import Channel

_now = time.monotonic


class Supervision:
    """Keeps a supervisor running, from which workers are forked.

    Args:
        process: the supervisor, which has been started and waits to be configured.
        loop: of the engine.
        config: the runtime's.
        nonce: the runtime's.
        store, disk: their limit and folders are among the settings of each worker.
        workers: returns the worker numbers that are connected. Under the lock.
        lose_worker: what is done for each worker of a supervisor that has died: (worker, now, reason).

    Thread contract: `start` and `await_first_worker` in the thread that starts the engine, `lost` under the
    lock; the replacement runs on the I/O thread.
    """

    def __init__(
        self,
        process: Supervised,
        loop: Loop,
        config: Config,
        nonce: int,
        store: Store,
        disk: DiskTier,
        workers: Callable[[], list[int]],
        lose_worker: Callable[[int, float, str], None],
    ) -> None:
        self.process = process
        self.ended = False  # the engine is shut down: a supervisor that dies is not replaced
        self._loop = loop
        self._config = config
        self._nonce = nonce
        self._store = store
        self._disk = disk
        self._workers = workers
        self._lose_worker = lose_worker
        self._deaths = SupervisorDeaths(config.worker_start_attempts)
        #: Where workers look for modules and in which folder they run, also those of a later supervisor.
        self.path, self.folder = list(sys.path), surroundings.folder()

    def spawn(self, worker: int, settings: dict[str, Any], fds: tuple[int, ...]) -> tuple[Channel, Channel, Any]:
        """Has the current supervisor start a worker process (`Processes`)."""
        return self.process.spawn(worker, settings, fds)

    # -- starting ------------------------------------------------------------------------------
    def start(self) -> None:
        """Configures the supervisor and asks for the first workers."""
        loop = self._loop
        with loop.lock:
            self._connect()
        count = loop.machine.pool.keep
        if self._config.max_workers:
            count = min(count, self._config.max_workers)
        with loop.lock:
            loop.apply(e.Started(_now(), count))
        loop.flush()

    def _connect(self) -> None:
        """Sends the settings of workers to the supervisor, and reads its channel from now on. Under the lock."""
        self.process.configure(self._settings())
        self.connection = Connection(self.process.channel, None)
        self._loop.add(self.connection)

    def _settings(self) -> dict[str, Any]:
        return {
            "nonce": self._nonce,
            "marker": self.process.marker,
            "store_limit": self._store.limit,
            "inline_limit": self._config.inline_limit,
            "spill_directory": self._disk.path,
            "spill_home": self._disk.home,
            "sys_path": self.path,
            "cwd": self.folder,
            "namespace": self._config.namespace or "",
        }

    def await_first_worker(self, is_ready: Callable[[], bool]) -> None:
        """Waits until ``is_ready()``, which is called under the lock whenever a worker has come or gone.

        Raises:
            RaySystemError: no worker can be started, or none did within `Config.worker_start_timeout`.
        """
        loop = self._loop
        deadline = _now() + self._config.worker_start_timeout
        while True:
            waiter = Waiter(1)
            with loop.lock:
                if is_ready():
                    return
                gave_up = loop.machine.worker_health.gave_up
                if gave_up:
                    raise RaySystemError(f"{gave_up} {self.process.last_words()}".rstrip())
                loop.waiters.watch((WORKER_CHANGED_KEY,), waiter)
            if not loop.waiters.wait(waiter, deadline):
                raise RaySystemError(
                    f"no worker could be started within {self._config.worker_start_timeout} s: "
                    f"{self.process.last_words() or 'it said nothing'}"
                )

    # -- stopping ------------------------------------------------------------------------------
    def let_idle_workers_leave(self, timeout: float, stop: Callable[[c.StopWorker], None]) -> None:
        """Asks idle workers to leave by themselves, so that their atexit runs, and waits for them up to a second;
        the busy ones are killed with the supervisor."""
        loop = self._loop
        if loop.health.broken:
            return
        pool = loop.machine.pool.table
        with loop.lock:
            for worker in list(pool.values()):
                if not worker.queue:
                    stop(c.StopWorker(worker.id))
        loop.flush()
        deadline = _now() + min(timeout, 1.0)
        idle = {w.id for w in pool.values() if not w.queue and w.pid}
        pause = threading.Event()
        while idle & set(self._workers()) and _now() < deadline:
            pause.wait(0.002)

    # -- when it dies --------------------------------------------------------------------------
    def lost(self) -> None:
        """Has the I/O thread replace a supervisor that died, and all workers with it. Under the lock."""
        if not self.ended:
            self._loop.io.chores.append(self._replace)
            self._loop.io.wake()

    def _replace(self) -> None:
        """Starts another supervisor, outside the lock, because ending the old one takes time."""
        loop = self._loop
        if self.ended or loop.health.broken:
            return
        old = self.process
        words = old.last_words()
        old.process.poll()
        old.stop(0.5)
        if self._deaths.is_last(_now()):
            loop.fail(RaySystemError(self._deaths.story(words)))
            return
        try:
            # With a marker of its own: whoever still sweeps by the old one must not find it.
            started = Supervised(secrets.token_hex(16))
        except RaySystemError as error:
            loop.fail(error)
            return
        with loop.lock:
            self.process = started
            self._connect()
            now = _now()
            for worker in self._workers():
                self._lose_worker(worker, now, "the supervisor process died")
        loop.flush()
        loop.run_callbacks()
