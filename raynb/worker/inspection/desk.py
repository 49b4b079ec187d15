"""Answers the driver's questions about what runs here: stacks, profiles, debugging.

The control thread asks; nothing here stops a task for an answer. What takes long (a debugger's command)
is answered by the thread that does it.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from raynb.run.inspection import stacks
from raynb.run.inspection.sampler import Sampler
from raynb.wire import messages as w
from raynb.worker import state

if TYPE_CHECKING:
    from raynb.worker.inspection.debugger import Debugging
    from raynb.worker.main import WorkerProcess

LATER = object()  # somebody else answers

_OURS = ("raynb-control",)  # threads that nobody asks about


class Desk:
    """Thread contract: `asked` in the control thread, `answer` from any thread."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self._debugging: Debugging | None = None
        self._sampler: Sampler | None = None
        self._handlers: dict[str, Callable[..., Any]] = {
            "stack": self._stack, "profile": self._profile, "profiled": self._profiled,
            "debug": self._debug, "post_mortem": self._post_mortem, "origin": self._origin, "forget": self._forget,
        }  # fmt: skip

    @property
    def debugging(self) -> Debugging:
        """The debugger's side; pdb is imported when it is first needed."""
        if self._debugging is None:
            from raynb.worker.inspection.debugger import Debugging

            self._debugging = Debugging(self)
        return self._debugging

    def asked(self, message: w.Inspect) -> None:
        """Answers a question of the driver's."""
        try:
            result = self._handlers[message.what](message.request, *pickle.loads(message.blob))
        except Exception as error:
            self.answer(message.request, False, error)
        else:
            if result is not LATER:
                self.answer(message.request, True, result)

    def answer(self, request: int, ok: bool, result: Any) -> None:
        link = self.worker.link
        link.post(w.Inspected(request, ok, pickle.dumps(result)))
        link.flush()

    # -- stacks --------------------------------------------------------------------------------
    def _stack(self, request: int) -> Any:
        ours = frozenset(t.ident or 0 for t in threading.enumerate() if t.name in _OURS)
        return stacks.capture(self.owner, ours)

    def owner(self, frames: list[FrameType], main: bool) -> stacks.Owner:
        """Returns which task a thread or coroutine belongs to, and what it waits for."""
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

    # -- profiles ------------------------------------------------------------------------------
    def _profile(self, request: int) -> None:
        if self._sampler is not None:
            raise ValueError(f"A profile of worker {self.worker.number} is being taken already.")
        self._sampler = Sampler()
        self._sampler.start()

    def _profiled(self, request: int) -> Any:
        sampler, self._sampler = self._sampler, None
        return sampler.stop() if sampler is not None else {"seconds": 0.0, "samples": 0, "stacks": []}

    # -- debugging -----------------------------------------------------------------------------
    def _debug(self, request: int, session: int, command: str, payload: Any) -> Any:
        return self.debugging.command(request, session, command, payload)

    def _post_mortem(self, request: int, task: int, sources: Any) -> Any:
        return self.debugging.post_mortem(request, task, sources)

    def _origin(self, request: int, task: int) -> tuple[str, int] | None:
        return self.debugging.failed.origin(task)

    def keep(self, running: state.RunningTask, raised: BaseException, most: int) -> None:
        """Keeps the frames of a failed task for `%debug`."""
        self.debugging.failed.keep(running.scope, running.task, raised, most)

    def _forget(self, request: int, scope: int | None) -> None:
        if self._debugging is not None:
            self._debugging.failed.forget(scope)
