"""Code that runs on every worker: on those that are there, and first thing on those that come.

It is no task: the machine doesn't know of it, nothing is scheduled or retried, and it holds no
CPU. A worker gets it as a `Run` whose number no task has, and what comes back ends here.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.scope import current_scope
from raynb.base.spec import TaskOptions
from raynb.engine.local.objects.arguments import Arguments
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.loop import Loop
from raynb.exceptions import WorkerCrashedError
from raynb.serde import values as loading
from raynb.wire import messages as w


@dataclass(slots=True)
class EverywhereSetup:
    """Something to run everywhere; ``hold`` keeps its arguments stored."""

    options: TaskOptions
    args: Any
    deps: tuple[int, ...]
    scope: int
    hold: object = field(default=None, repr=False)


class _SetupFuture(concurrent.futures.Future[Any]):
    """What comes of a setup on one worker."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self.worker = worker


class Everywhere:
    """Thread contract: under the engine's lock, but for `run`."""

    def __init__(
        self, loop: Loop, effects: Effects, arguments: Arguments, numbers: ids.IdSource, read: loading.Read,
        check_alive: Callable[[], None],
    ) -> None:  # fmt: skip
        self._loop = loop
        self._effects = effects
        self._arguments = arguments
        self._ids = numbers
        self._read = read
        self._check_alive = check_alive
        self.later: list[EverywhereSetup] = []
        self.pending: dict[int, tuple[int, EverywhereSetup, concurrent.futures.Future[Any] | None]] = {}

    def run(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0,
        besides: Iterable[concurrent.futures.Future[object]] | None = None,
    ) -> list[concurrent.futures.Future[Any]]:  # fmt: skip
        """Sends it to every worker that isn't an actor's; returns a future for each.

        Args:
            options: of the function.
            packed: its arguments.
            later: also run it first on every worker that starts from now on.
            now: run it on the workers that are there.
            only: run it on this worker alone (0: on all).
            besides: what an earlier run returned. With ``later``, it is sent to the workers that have come since.
        """
        self._check_alive()
        args, deps, contained, hold = self._arguments.place(packed)
        if contained:
            raise ValueError("What runs on every worker takes values, no ObjectRefs inside its arguments.")
        setup = EverywhereSetup(options, args, deps, current_scope(), hold)
        served = {future.worker for future in besides or () if isinstance(future, _SetupFuture)}
        futures: list[concurrent.futures.Future[Any]] = []
        with self._loop.lock:
            if later:
                self.later.append(setup)
            for worker, peer in list(self._effects.peers.items()):
                known = self._loop.machine.pool.table.get(worker)
                if known is None or known.actor or (only and worker != only):
                    continue
                if now:
                    future = _SetupFuture(worker)
                    future.set_running_or_notify_cancel()
                    self._send(peer, setup, future)
                    futures.append(future)
                elif later and besides is not None and worker not in served:
                    self._send(peer, setup, None)
        self._loop.flush()
        return futures

    def worker_started(self, peer: WorkerConnection) -> None:
        """Sends a new worker the setups that every worker runs, before its first task."""
        for setup in self.later:
            self._send(peer, setup, None)

    def _send(
        self, peer: WorkerConnection, setup: EverywhereSetup, future: concurrent.futures.Future[Any] | None
    ) -> None:
        number = self._ids.next_task()
        self.pending[number] = (peer.worker, setup, future)
        self._effects.run_setup(peer, number, setup.options, setup.args, setup.deps, setup.scope)

    def done(self, message: w.Done) -> bool:
        """Applies the end of a setup; returns whether it was one."""
        found = self.pending.pop(message.task, None)
        if found is None:
            return False
        future = found[2]
        if future is not None:
            value = message.values[0][0]
            self._loop.users.put(lambda: self._deliver(future, value))
        return True

    def _deliver(self, future: concurrent.futures.Future[Any], value: Any) -> None:
        try:
            result = loading.load(value, 0, self._read)
        except BaseException as error:
            future.set_exception(error)
            return
        if type(result) is loading.Failed:
            future.set_exception(result.error)
        else:
            future.set_result(result)

    def handed_back(self, peer: WorkerConnection, tasks: tuple[int, ...]) -> tuple[int, ...]:
        """Sends a worker its handed-back setups again; returns the tasks."""
        if not self.pending:
            return tasks
        for number in tasks:
            found = self.pending.pop(number, None)
            if found is not None:
                self._send(peer, found[1], found[2])
                tasks = tuple(task for task in tasks if task != number)
        return tasks

    def worker_died(self, worker: int, reason: str) -> None:
        """Fails the futures of what ran on a worker that died."""
        for number, (where, _, future) in list(self.pending.items()):
            if where == worker:
                del self.pending[number]
                if future is not None:
                    error = WorkerCrashedError(f"Worker {worker} ended while it was being set up: {reason}.")
                    self._loop.users.put(functools.partial(future.set_exception, error))
