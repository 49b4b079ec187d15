"""A worker's side: hears the driver's questions while something runs here, and answers them.

An open question to the hub keeps Ray from ending an idle worker. So a worker listens while a task of ours runs
for longer than a report is gathered, while it is an actor, and while it keeps the frames of a failure.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.base.process import trace
from raynb.engine.cluster import hub, rays
from raynb.exceptions import RayError
from raynb.run.inspection import stacks
from raynb.worker.inspection.desk import Desk, nothing

if TYPE_CHECKING:
    from raynb.engine.cluster.on_worker.reporter import Reporter
    from raynb.worker.inspection.session import Debuggable

#: Seconds that a question to the hub stays open.
QUESTION_SECONDS = 10.0
#: Seconds for which a worker listens because it keeps frames.
KEEPS_SECONDS = 900.0
NO_QUESTION = b""  # ends the wait for one
#: Times in a row that the hub is asked in vain.
ATTEMPTS = 3


class PausedTask:
    """A task that runs here, as the debugger sees it."""

    def __init__(self, running: Any) -> None:
        self.task: int = running.call.task
        self.scope: int = running.call.scope
        self.name: str = running.call.options.name
        self._running = running
        self.future: Any = None
        if running.actor is not None and running.actor.is_async:
            import asyncio

            with contextlib.suppress(RuntimeError):
                self.future = asyncio.current_task()

    @property
    def interrupted(self) -> bool:
        """Whether the person left it at its prompt: it is to end as cancelled."""
        return bool(self._running.left)

    @interrupted.setter
    def interrupted(self, yes: bool) -> None:
        self._running.left = yes


class ClusterDesk(Desk):
    """The desk of a worker of Ray's.

    Args:
        nonce: of the driver.
        reporter: carries the answers.
        owner_now: returns the `Running` of the calling code, or None.
        busy: returns whether the worker is to listen because of what runs.
    """

    def __init__(self, nonce: int, reporter: Reporter, owner_now: Callable[[], Any], busy: Callable[[], bool]) -> None:
        super().__init__()
        self._nonce = nonce
        self._reporter = reporter
        self._owner_now, self._busy = owner_now, busy
        self._lock = threading.Lock()
        self._listens = self._over = False
        self._keeps_until = 0.0

    def answer(self, request: int, ok: bool, result: object) -> None:
        """Sends an answer to the driver, with the next report."""
        try:
            blob = pickle.dumps(result)
        except Exception as error:  # somebody waits for the answer
            ok, blob = False, pickle.dumps(RayError(f"The answer cannot be pickled: {error}"))
        self._reporter.add_urgent(("answer", request, ok, blob))

    def announce(self, session: int, task: Debuggable, frame: FrameType) -> None:
        """Reports a task that has stopped at a breakpoint, and listens for what to do there."""
        code = frame.f_code
        self.listen()
        self._reporter.add_urgent(("paused", session, task.task, task.scope, task.name, code.co_filename,
                             frame.f_lineno or 0, code.co_name))  # fmt: skip

    def running(self) -> Debuggable | None:
        """Returns the task that runs the calling code; None outside of tasks."""
        now = self._owner_now()
        return PausedTask(now) if now is not None else None

    def stop_clock(self) -> Callable[[], None]:
        """Stops the timer of a task's `timeout`; returns what starts it again with the time that was left."""
        if threading.current_thread() is not threading.main_thread():
            return nothing
        left, again = signal.setitimer(signal.ITIMER_REAL, 0)

        def start() -> None:
            if left:
                signal.setitimer(signal.ITIMER_REAL, left, again)

        return start

    def owner(self, frames: list[FrameType], main: bool) -> stacks.Owner:
        """Returns which task a stack belongs to, and the objects that it waits for."""
        found = stacks.Owner()
        now = None
        for frame in frames:
            name = frame.f_globals.get("__name__", "")
            if not name.startswith("raynb.engine.cluster."):
                continue
            local = frame.f_locals
            if now is None and "task" in local and hasattr(local["task"], "now"):
                now = local["task"].now
            missing = local.get("missing")
            if missing is not None:
                found.waits_for, found.waited = tuple(missing.keys), time.monotonic() - missing.since
        if now is not None:
            found.task, found.task_name = now.call.task, now.call.options.name
        return found

    def keep(self, task: int, scope: int, raised: BaseException, most: int) -> None:
        """Keeps the frames of a failed task for a post-mortem, and listens for `KEEPS_SECONDS`."""
        super().keep(task, scope, raised, most)
        self._listen_long()

    def keep_part(self, task: int, scope: int, nonce: int, raised: Exception) -> str:
        """As `keep`, of one of several failures of a task."""
        found = super().keep_part(task, scope, nonce, raised)
        if found:
            self._listen_long()
        return found

    def _listen_long(self) -> None:
        self._keeps_until = time.monotonic() + KEEPS_SECONDS
        self.listen()

    # -- hearing -------------------------------------------------------------------------------
    def listen(self) -> None:
        """Hears questions from now on, as long as there is a reason to."""
        with self._lock:
            if not self._listens and not self._over:
                threading.Thread(target=self._serve, name="raynb-ear", daemon=True).start()
                self._listens = True

    def hush(self) -> None:
        """Hears nothing from now on: Ray ends no process in order before the hub has answered its open question."""
        with self._lock:
            self._over = True
            if self._listens:
                hub.guarded("closing the open question", self._close_question)

    def _close_question(self) -> None:
        rays.call(self._hub(), "ask", [self._reporter.name, NO_QUESTION])

    def _hub(self) -> Any:
        return rays.get_actor(hub.name_of(self._nonce), namespace=hub.NAMESPACE)

    def _goes_on(self) -> bool:
        """Returns whether there is a reason to listen; else nobody listens any more."""
        with self._lock:
            self._listens = not self._over and (self._busy() or time.monotonic() < self._keeps_until)
            return self._listens

    def _serve(self) -> None:
        failed = 0
        while self._goes_on():
            try:
                # `get` would give this worker's CPU back meanwhile.
                asked = rays.call(self._hub(), "listen", [self._reporter.name, QUESTION_SECONDS])
                heard = asked.future().result(3 * QUESTION_SECONDS)
                failed = 0
            except Exception as error:  # the hub is lost, or the driver is gone
                trace.swallowed("listening for questions about tasks", error, logging.DEBUG)
                failed += 1
                if failed == ATTEMPTS:
                    break
                time.sleep(0.5)
                continue
            for question in filter(None, heard):
                hub.guarded("answering a question about tasks", self._answer, question)
        else:
            return  # it says by itself that nobody listens any more, before another thread of this kind may begin
        with self._lock:
            self._listens = False

    def _answer(self, question: bytes) -> None:
        self.asked(*pickle.loads(question))


__all__ = ["ClusterDesk"]
