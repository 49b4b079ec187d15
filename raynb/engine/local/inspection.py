"""Asks workers what their tasks do, and keeps the tasks that wait at breakpoints."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any

from raynb.base.interfaces import Wait
from raynb.base.process.futures import FutureWait
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.base.rows import Breakpoint
from raynb.core.vocabulary import events as e
from raynb.engine.local.controls import LocalControls
from raynb.engine.local.processes.hang_watch import stopped
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import WorkerCrashedError
from raynb.run.inspection import dumps
from raynb.run.inspection.silence import Silence
from raynb.wire import messages as w

FRAMES_SECONDS = 900.0  # for which an idle worker is kept for the frames of a failure
DUMP_SECONDS = 2.0  # that a worker's signal handler may take


class LocalInspection:
    """Sends questions to workers and matches their answers.

    Thread contract: `ask` and `over` any thread; else the lock.
    """

    def __init__(
        self, loop: Loop, effects: Effects, check_alive: Callable[[], None], controls: LocalControls, sockets: str
    ) -> None:
        self._loop = loop
        self._effects = effects
        self._check_alive = check_alive
        self._cancel_task = controls.cancel_task
        #: Called with each task that stops at a breakpoint, outside the lock; none: nobody can debug here.
        self.on_pause: list[Callable[[Breakpoint], None]] = []
        self.breakpoints: dict[tuple[int, int], Breakpoint] = {}  # (worker, session) → where it waits
        self._may_keep = False
        self.patience = 1.0
        self.sockets = sockets
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[int, concurrent.futures.Future[Any]]] = {}  # request → (worker, its future)

    @property
    def may_keep(self) -> bool:
        """Whether workers keep the frames of failures."""
        return self._may_keep

    @may_keep.setter
    def may_keep(self, may: bool) -> None:
        self._may_keep = may
        self._keep_frames(FRAMES_SECONDS if may else 0.0)

    @sheltered
    def _keep_frames(self, seconds: float) -> None:
        self._loop.dispatch(e.FramesKept(time.monotonic(), seconds))

    @sheltered
    def ask(self, worker: int, what: str, *arguments: object) -> concurrent.futures.Future[Any]:
        """Asks a worker's control thread (see `raynb.worker.inspection.desk`); returns a future of the answer."""
        self._check_alive()
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        with self._loop.lock:
            number = next(self._numbers)
            if worker in self._effects.peers:
                self._open[number] = (worker, future)
                self._effects.control(worker, w.Inspect(number, what, pickle.dumps(arguments)))
            else:
                future.set_exception(WorkerCrashedError(f"Worker {worker} is gone."))
        self._loop.flush()
        return future

    def workers(self) -> list[int]:
        """Returns the numbers of the connected workers."""
        return list(self._effects.peers)

    def dump(self, worker: int) -> list[Any]:
        """Returns the stacks of a worker that cannot answer, read from its dump file; [] if it has none."""
        with self._loop.lock:
            peer = self._effects.peers.get(worker)
        if peer is None or stopped(peer.pid):
            return []
        dump = dumps.Dump(peer.pid)
        dump.wait(DUMP_SECONDS)
        return dump.stacks()

    def silence(self, worker: int) -> Callable[[], str]:
        """Returns what says why a worker does not answer, as soon as that is certain."""
        with self._loop.lock:
            peer = self._effects.peers.get(worker)
        return Silence(peer.pid).why if peer is not None else lambda: ""

    def interrupt_wait(self, wait: Wait, aside: Callable[[], object]) -> None:
        """Does nothing once the wait is over."""
        if isinstance(wait, Waiter):
            self._loop.waiters.interrupt(wait, aside)
        elif isinstance(wait, FutureWait):
            wait.interrupt(aside)

    def answered(self, m: w.Inspected) -> None:
        """Sets the future of a question to the worker's answer."""
        _, future = self._open.pop(m.request, (0, None))
        if future is None:
            return
        try:
            result = pickle.loads(m.blob)
        except Exception as error:
            future.set_exception(error)
            return
        if m.ok:
            future.set_result(result)
        else:
            future.set_exception(result)

    def paused(self, peer: WorkerConnection, m: w.Paused, now: float) -> None:
        """Announces a task that waits at a breakpoint; with no notebook to announce it to, the task goes on."""
        point = Breakpoint(peer.worker, m.session, m.task, m.scope, m.name, m.file, m.line, m.function, time.time())
        if not self.on_pause:
            number = next(self._numbers)
            self._effects.control(
                peer.worker, w.Inspect(number, "debug", pickle.dumps((m.session, "nobody", None)))
            )
            return
        self.breakpoints[peer.worker, m.session] = point
        self._loop.apply(e.TaskPaused(now, m.task))
        for listener in self.on_pause:
            self._loop.callbacks.append(functools.partial(listener, point))

    @sheltered
    def waits(self, point: Breakpoint) -> bool:
        """Returns whether a task still waits at a breakpoint, and is not being cancelled."""
        with self._loop.lock:
            task = self._loop.machine.tasks.table.get(point.task)
            return (point.worker, point.session) in self.breakpoints and task is not None and not task.cancelled

    def quit(self, point: Breakpoint) -> None:
        """Cancels a task that waits at a breakpoint."""
        self._cancel_task(point.task)
        self.ask(point.worker, "debug", point.session, "quit", None)
        self.over(point)

    @sheltered
    def over(self, point: Breakpoint) -> None:
        """Removes a breakpoint whose task goes on."""
        with self._loop.lock:
            there = self.breakpoints.pop((point.worker, point.session), None) is not None
            if there and all(other.task != point.task for other in self.breakpoints.values()):  # in another thread
                self._loop.apply(e.TaskResumed(time.monotonic(), point.task))
        self._loop.flush()
        self._loop.run_callbacks()

    def let_go(self) -> None:
        """Has workers release the frames of failed tasks, whose arguments take room in the store."""
        if self._may_keep:
            self._loop.apply(e.FramesKept(time.monotonic(), FRAMES_SECONDS))  # no worker is kept for those
            for worker in self._effects.peers:
                self._effects.control(worker, w.Inspect(0, "forget", pickle.dumps((None,))))

    def worker_died(self, worker: int, why: str) -> None:
        """Fails the questions to a worker that died, and removes its breakpoints."""
        for number in [number for number, (whose, _) in self._open.items() if whose == worker]:
            _, future = self._open.pop(number)
            future.set_exception(WorkerCrashedError(f"The worker ended: {why}."))
        for key in [key for key in self.breakpoints if key[0] == worker]:
            point = self.breakpoints.pop(key)
            self._loop.apply(e.TaskResumed(time.monotonic(), point.task))
