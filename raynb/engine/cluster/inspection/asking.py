"""The driver's side: asks Ray's workers what their tasks do, and knows which tasks wait at a breakpoint."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

from raynb.base.interfaces import Wait
from raynb.base.process.futures import FutureWait
from raynb.base.rows import Breakpoint
from raynb.engine.cluster import rays
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.cluster.side import Missing
from raynb.exceptions import RayError, RuntimeGoneError, WorkerCrashedError
from raynb.run.inspection.stacks import Stack


class ClusterInspection:
    """Asks through the hub.

    Args:
        rows: says which workers there are.
        number_of: returns our number of a task that its worker may know by another one.
        hub: returns the hub, which may have been made again.
        check_alive: raises unless the engine runs.

    Thread contract: any thread; `answered`, `paused` and `worker_gone` under the rows' lock.
    """

    def __init__(
        self, rows: Rows, number_of: Callable[[int], int], hub: Callable[[], object], check_alive: Callable[[], None]
    ) -> None:
        self._rows = rows
        self._number_of = number_of
        self._hub = hub
        self._check_alive = check_alive
        self.on_pause: list[Callable[[Breakpoint], None]] = []
        self.breakpoints: dict[tuple[int, int], Breakpoint] = {}
        self.may_keep = False
        self.sockets = ""  # they would be on the workers' machines
        self.patience = 5.0  # a worker whose task has just begun listens a moment later
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[int, concurrent.futures.Future[Any]]] = {}  # request → (worker, its future)

    def ask(self, worker: int, what: str, *arguments: object) -> concurrent.futures.Future[Any]:
        """Asks a worker through the hub; returns a future of the answer."""
        self._check_alive()
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        name = self._reporter_of(worker)
        if name is None:
            future.set_exception(WorkerCrashedError(f"Worker {worker} is gone."))
            return future
        number = next(self._numbers)
        self._open[number] = (worker, future)
        question = (number, what, pickle.dumps(arguments))
        try:
            rays.call(self._hub(), "ask", [name, pickle.dumps(question)])
        except Exception as error:
            self._open.pop(number, None)
            future.set_exception(RayError(f"The worker could not be asked: {error}"))
        return future

    def workers(self) -> list[int]:
        """Returns the numbers of the workers that have reported and have not ended."""
        with self._rows.lock:
            return [row.id for row in self._rows.workers.values() if not row.exit]

    def _reporter_of(self, worker: int) -> str | None:
        """Returns the name under which a worker reports; None if it has ended."""
        with self._rows.lock:
            return next((name for name, row in self._rows.workers.items() if row.id == worker and not row.exit), None)

    def dump(self, worker: int) -> list[Any]:
        """Returns no stacks: the signal that writes them can only be sent on the worker's own machine."""
        return []

    def silence(self, worker: int) -> Callable[[], str]:
        """Returns what says "": the worker may run on another machine."""
        return lambda: ""

    def interrupt_wait(self, wait: Wait, aside: Callable[[], object]) -> None:
        """Has a thread that waits call ``aside`` and then wait on."""
        if isinstance(wait, Missing):
            wait.aside = aside
        elif isinstance(wait, FutureWait):
            wait.interrupt(aside)

    def waits(self, point: Breakpoint) -> bool:
        """Returns whether a task still waits at a breakpoint."""
        return (point.worker, point.session) in self.breakpoints

    def quit(self, point: Breakpoint) -> None:
        """Has the worker end a task that waits at a breakpoint."""
        self.ask(point.worker, "debug", point.session, "quit", None)
        self.over(point)

    def over(self, point: Breakpoint) -> None:
        """Removes a breakpoint whose task goes on."""
        self.breakpoints.pop((point.worker, point.session), None)

    # -- what workers say ----------------------------------------------------------------------
    def answered(self, request: int, ok: bool, blob: bytes) -> None:
        """Sets the future of a question to the worker's answer."""
        _, future = self._open.pop(request, (0, None))
        if future is None:
            return
        try:
            result = pickle.loads(blob)
        except Exception as error:
            ok, result = False, error
        for stack in result if isinstance(result, list) else ():
            if isinstance(stack, Stack):
                stack.task = self._number_of(stack.task)
                for coroutine in stack.coroutines:
                    coroutine.task = self._number_of(coroutine.task)
        if ok:
            future.set_result(result)
        else:
            future.set_exception(result)

    def paused(self, worker: int, session: int, task: int, scope: int, name: str, file: str, line: int,
               function: str) -> None:  # fmt: skip
        """Announces a task that waits at a breakpoint; with no notebook to announce it to, the task goes on."""
        point = Breakpoint(worker, session, task, scope, name, file, line, function, time.time())
        if not self.on_pause:
            with contextlib.suppress(RuntimeGoneError):  # it ends with its driver
                self.ask(worker, "debug", session, "nobody", None)
            return
        self.breakpoints[worker, session] = point
        for listener in list(self.on_pause):
            # The listener's thread, which has the rows' lock, must not run what may ask it something.
            threading.Thread(target=functools.partial(listener, point), name="raynb-breakpoint", daemon=True).start()

    def worker_gone(self, worker: int, why: str) -> None:
        """Fails the questions to a worker that ended, and removes its breakpoints."""
        for number in [number for number, (whose, _) in list(self._open.items()) if whose == worker]:
            _, future = self._open.pop(number, (0, None))
            if future is not None:
                future.set_exception(WorkerCrashedError(f"The worker ended: {why}."))
        for key in [key for key in self.breakpoints if key[0] == worker]:
            self.breakpoints.pop(key, None)


__all__ = ["ClusterInspection"]
