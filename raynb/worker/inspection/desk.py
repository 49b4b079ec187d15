"""Answers the driver's questions about running tasks: stacks, profiles, debugging.

A thread of ours asks; nothing here stops a task for an answer. What takes long (a debugger's command)
is answered by the thread that does it.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.process.waits import time
from raynb.run.inspection import stacks
from raynb.run.inspection.memory import MemoryWatch
from raynb.run.inspection.sampler import Sampler
from raynb.wire import messages as w
from raynb.worker import state

if TYPE_CHECKING:
    from raynb.worker.inspection.debugger import Debugging
    from raynb.worker.inspection.session import Debuggable
    from raynb.worker.main import WorkerProcess

LATER = object()  # somebody else answers

_OURS = ("raynb-control", "raynb-reporter", "raynb-ear")  # threads that nobody asks about


def nothing() -> None:
    """Does nothing."""


class Desk:
    """Answers questions in this process; a subclass sends the answers.

    Thread contract: `asked` in one thread of ours, `answer` and `announce` from any.
    """

    def __init__(self) -> None:
        self._debugging: Debugging | None = None
        self._sampler: Sampler | None = None
        self._memory: MemoryWatch | None = None
        self._handlers: dict[str, Callable[..., Any]] = {
            "stack": self._stack, "profile": self._profile, "profiled": self._profiled,
            "watch_memory": self._watch_memory, "memory_watched": self._memory_watched,
            "debug": self._debug, "post_mortem": self._post_mortem, "origin": self._origin, "forget": self._forget,
            "dap": self._dap, "chosen": self._chosen,
        }  # fmt: skip

    @property
    def debugging(self) -> Debugging:
        """The debugger's side; pdb is imported when it is first needed."""
        if self._debugging is None:
            from raynb.worker.inspection.debugger import Debugging

            self._debugging = Debugging(self)
        return self._debugging

    def asked(self, request: int, what: str, arguments: bytes) -> None:
        """Answers a question of the driver."""
        try:
            result = self._handlers[what](request, *pickle.loads(arguments))
        except Exception as error:
            self.answer(request, False, error)
        else:
            if result is not LATER:
                self.answer(request, True, result)

    # -- what differs --------------------------------------------------------------------------
    def answer(self, request: int, ok: bool, result: object) -> None:
        """Sends an answer."""
        raise NotImplementedError

    def announce(self, session: int, task: Debuggable, frame: FrameType) -> None:
        """Reports to the driver that a task waits at a breakpoint."""
        raise NotImplementedError

    def running(self) -> Debuggable | None:
        """Returns the task that the calling code belongs to, if it can be debugged."""
        raise NotImplementedError

    def stop_clock(self) -> Callable[[], None]:
        """Stops the timeout of the calling thread's task until the returned function is called (the driver does it
        here).
        """
        return nothing

    def owner(self, frames: list[FrameType], main: bool) -> stacks.Owner:
        """Returns which task a thread or coroutine belongs to, and what it waits for."""
        raise NotImplementedError

    # -- stacks --------------------------------------------------------------------------------
    def _stack(self, request: int) -> Any:
        ours = frozenset(t.ident or 0 for t in threading.enumerate() if t.name in _OURS)
        return stacks.capture(self.owner, ours)

    # -- profiles ------------------------------------------------------------------------------
    def _profile(self, request: int) -> None:
        if self._sampler is not None:
            raise ValueError("A profile of this worker is being taken already.")
        self._sampler = Sampler()
        self._sampler.start()

    def _profiled(self, request: int) -> Any:
        sampler, self._sampler = self._sampler, None
        return self._stopped(request, sampler.stop) if sampler is not None else {
            "seconds": 0.0, "samples": 0, "stacks": []}  # fmt: skip

    def _stopped(self, request: int, stop: Callable[[], object]) -> object:
        """Answers with what ``stop`` returns, from a thread of its own: it waits for the one that measures, in which a
        destructor may wait for what the thread that hears questions reads."""

        def serve() -> None:
            try:
                self.answer(request, True, stop())
            except Exception as error:
                self.answer(request, False, error)

        threading.Thread(target=serve, name="raynb-profiled", daemon=True).start()
        return LATER

    def _watch_memory(self, request: int) -> None:
        watch = MemoryWatch()
        watch.start()
        self._memory = watch

    def _memory_watched(self, request: int) -> Any:
        watch, self._memory = self._memory, None
        if watch is None:
            return {"memory": None, "why": "Nothing watched this worker."}
        return self._stopped(request, watch.stop)

    # -- debugging -----------------------------------------------------------------------------
    def _debug(self, request: int, session: int, command: str, payload: object) -> Any:
        return self.debugging.command(request, session, command, payload)

    def _post_mortem(self, request: int, task: int, sources: Any, failure: int = 0) -> Any:
        return self.debugging.post_mortem(task, sources, failure)

    def _dap(self, request: int, path: str, sources: dict[str, tuple[str, str]]) -> object:
        """Imports debugpy, which takes long: in a thread of its own, so that questions and cancels are heard."""

        def serve() -> None:
            from raynb.worker.inspection import dap
            from raynb.worker.inspection.debugger import learn

            try:
                learn(sources)
                self.answer(request, True, dap.serve(path))
            except Exception as error:
                self.answer(request, False, error)

        threading.Thread(target=serve, name="raynb-dap", daemon=True).start()
        return LATER

    def keep(self, task: int, scope: int, raised: BaseException, most: int) -> None:
        """Keeps the frames of a failed task for `%debug`."""
        self.debugging.failed.keep(scope, task, raised, most)

    def keep_part(self, task: int, scope: int, nonce: int, raised: Exception) -> str:
        """Keeps the frames of one of several failures of a task; returns its name (see `failures.origin_of`), or "" if
        they are not kept."""
        most = slot.failures_kept
        number = self.debugging.failed.keep_part(scope, task, raised, most) if most else 0
        return f"{ids.to_hex(task, nonce, ids.TASK_HEX)}:{number}" if number else ""

    def _origin(self, request: int, task: int, failure: int = 0) -> tuple[str, int] | None:
        return self.debugging.failed.origin(task, failure)

    def let_go(self, scope: int | None = None) -> None:
        """Releases the kept frames of a cell's failed tasks (None: of all)."""
        if self._debugging is not None:
            self._debugging.failed.forget(scope)

    def _chosen(self, request: int, session: int) -> tuple[str, int] | None:
        return self.debugging.origin(session)

    def _forget(self, request: int, scope: int | None) -> None:
        self.let_go(scope)


class WorkerDesk(Desk):
    """The desk of a worker of this machine's engine: its control thread asks."""

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__()
        self.worker = worker

    def answer(self, request: int, ok: bool, result: object) -> None:
        """Sends the answer to a question."""
        link = self.worker.link
        link.post(w.Inspected(request, ok, pickle.dumps(result)))
        link.flush()

    def announce(self, session: int, task: Debuggable, frame: FrameType) -> None:
        """Hands unstarted tasks back, and reports that a task waits at a breakpoint."""
        link, code = self.worker.link, frame.f_code
        waiting = self.worker.hand_back_all()
        if waiting:
            link.post(w.Withdrawn(waiting))
        link.post(w.Paused(session, task.task, task.scope, task.name, code.co_filename, frame.f_lineno or 0,
                           code.co_name))  # fmt: skip
        link.flush()

    def running(self) -> Debuggable | None:
        """Returns the running task; None in a forked child.

        A thread that a call of a concurrent actor started without its context counts as the only call that runs.
        """
        if self.worker.forked:
            return None
        host = self.worker.executor.host
        calls = list(host.running.values()) if host is not None else []
        return state.current() or (calls[0] if len(calls) == 1 else None)

    def owner(self, frames: list[FrameType], main: bool) -> stacks.Owner:
        """Returns which task or call the frames of a thread belong to."""
        found = stacks.Owner()
        running = state.main_running if main else None
        for frame in frames:
            name = frame.f_globals.get("__name__", "")
            if not name.startswith("raynb.worker."):
                continue
            function = frame.f_code.co_name
            if running is None and function in ("run_in_thread", "run_async"):
                running = frame.f_locals.get("running")
            elif function in ("get", "wait") and name == "raynb.worker.engine.waiting":
                found.waits_for = frame.f_locals.get("wanted") or ()
            elif function == "wait" and name == "raynb.worker.engine.requests":
                waiting = frame.f_locals.get("waiting")
                found.waited = time.monotonic() - waiting.since if waiting is not None else 0.0
        if running is not None:
            found.task, found.task_name = running.task, running.name
        return found
