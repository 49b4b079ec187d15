"""The debugger's prompt of a task that stops at ``breakpoint()``; in a plain script, at its terminal.

A task that reaches ``breakpoint()`` waits on its worker. In a script its prompt opens where the main thread waits for
tasks. As soon as anybody else listens (the notebook's extension), this is silent.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base import engine as engines
from raynb.base import unshown
from raynb.base.interfaces import DriverEngine, Wait
from raynb.base.rows import ACTOR_CREATION_TASK, Breakpoint
from raynb.base.text import printable
from raynb.exceptions import RayError

PROMPT = "(Pdb) "
QUITS = ("q", "quit", "exit")
LOOK_SECONDS = 0.5  # between two looks whether the task has ended, while a command runs
NOTICE_AFTER_SECONDS = 1.0  # seconds after which a task that waits for a prompt is told of

#: What is done with a command at the prompt: returns (what was printed, the next prompt or None).
Answer = tuple[str, "str | None"]


def converse(read: Callable[[str], str], first: Callable[[], Answer], say: Callable[[str, str], Answer | None]) -> str:
    """Reads commands until the debugger has no more prompts.

    Args:
        read: shows a prompt and returns the line that is typed.
        first: opens the debugger.
        say: (prompt, line) → what it answers; None: leave.

    Returns:
        ``""``, or ``"interrupted"`` when the person pressed Ctrl-C.
    """
    try:
        text, prompt = first()
        while True:
            sys.stdout.write(text)
            sys.stdout.flush()
            if prompt is None:
                return ""
            try:
                line = read(prompt)
            except EOFError:
                line = "q"
            answer = say(prompt, line)
            if answer is None:
                return ""
            text, prompt = answer
    except KeyboardInterrupt:
        return "interrupted"


def command(engine: DriverEngine, point: Breakpoint, what: str, payload: Any = None) -> concurrent.futures.Future[Any]:
    """Sends a command to the debugger of a task: ``open``, ``line``, or one of those after which the task goes on."""
    inspection = engine.inspection
    assert inspection is not None, "a breakpoint of an engine that has none"
    future = inspection.ask(point.worker, "debug", point.session, what, payload)
    if what not in ("line", "open"):
        inspection.over(point)
    return future


def ask(engine: DriverEngine, point: Breakpoint, what: str, payload: Any) -> Answer:
    """Sends ``open`` or ``line``; returns what the debugger answers, or that the task has ended."""
    asked = command(engine, point, what, payload)
    while True:
        try:
            answer: Answer = asked.result(LOOK_SECONDS)
            return answer
        except concurrent.futures.TimeoutError:
            rows = engine.rows(tasks=[point.task]).tasks  # none: the report of a cluster's task is on its way
            if rows and all(row.ended for row in rows) and not asked.done():
                return "", None  # it ended without coming back to a line


class Terminal:
    """Answers the breakpoints of one engine at the terminal of a script.

    Thread contract: `paused` from any thread, and it does not block; `begin` and `serve` in the thread that waits.
    """

    def __init__(self, engine: DriverEngine) -> None:
        self._engine = engine
        self._pending: deque[Breakpoint] = deque()
        self._passed: dict[str, Breakpoint] = {}  # places that were told of
        self._let_go: set[int] = set()  # tasks that stop no more, on whichever worker they are tried again
        self._busy = False
        self._wait: Wait | None = None  # the main thread's
        self._lock = threading.Lock()  # guards `_wait` and `_pending`
        assert engine.inspection is not None
        self._listeners = engine.inspection.on_pause
        self._listeners.append(self.paused)

    # -- a task stops --------------------------------------------------------------------------
    def paused(self, point: Breakpoint) -> None:
        """The engine's ``on_pause``."""
        if len(self._listeners) > 1:
            return
        if point.task in self._let_go:
            command(self._engine, point, "release")
            return
        if not _is_terminal():
            self._pass_by(point)
            return
        with self._lock:
            self._pending.append(point)
            wait = self._wait
        if wait is not None:
            self._open_in(wait)
        timer = threading.Timer(NOTICE_AFTER_SECONDS, self._notice, (point,))
        timer.daemon = True
        timer.start()

    def _open_in(self, wait: Wait) -> None:
        if self._engine.inspection is not None:
            self._engine.inspection.interrupt_wait(wait, self.serve)

    def _pass_by(self, point: Breakpoint) -> None:
        """Nobody can answer a prompt: the task goes on."""
        place = _place(point)
        if self._passed.setdefault(place, point) is point:  # several threads may come here at once
            _say(f"breakpoint() in {printable(point.name)} at {place} was passed: this program has no terminal that "
                 "could ask for commands. In a notebook, `%load_ext raynb` opens it in the cell.")  # fmt: skip
        command(self._engine, point, "release")

    def _notice(self, point: Breakpoint) -> None:
        with self._lock:
            waits = point in self._pending and not self._busy
        if waits:
            _say(f"{printable(point.name)} waits at a breakpoint, {_place(point)}; its prompt opens when the main "
                 "thread waits for tasks (get, wait).")  # fmt: skip

    # -- the main thread waits -----------------------------------------------------------------
    def begin(self, wait: Wait) -> None:
        """The main thread begins to wait."""
        with self._lock:
            self._wait = wait
            pending = bool(self._pending)
        if pending and not self._busy:
            self._open_in(wait)

    def end(self) -> None:
        """Its wait is over."""
        with self._lock:
            self._wait = None

    def serve(self) -> None:
        """Opens the prompts of the tasks that wait, one after the other."""
        if self._busy:
            return
        self._busy = True
        try:
            while True:
                with self._lock:
                    if not self._pending:
                        return
                    point = self._pending.popleft()
                self._debug(point)
        finally:
            self._busy = False

    def _debug(self, point: Breakpoint) -> None:
        engine, inspection = self._engine, self._engine.inspection
        if inspection is None:
            return
        if not inspection.waits(point):
            inspection.over(point)  # its task is being cancelled
            return
        unshown.show()
        more = f" {len(self._pending)} more wait at breakpoints." if self._pending else ""
        print(f"{printable(point.name)} (worker {point.worker}) is at a breakpoint, {_place(point)}.{more} "
              "c: go on, q: cancel the task, q!: all tasks, h: help.", flush=True)  # fmt: skip

        def say(prompt: str, line: str) -> Answer | None:
            if prompt == PROMPT and line.strip() in (*QUITS, "q!"):
                inspection.quit(point)
                if line.strip() == "q!":
                    _cancel_all(engine)
                return None
            return ask(engine, point, "line", line)

        try:
            if converse(input, lambda: ask(engine, point, "open", {}), say) == "interrupted":
                self._let_go.add(point.task)
                command(engine, point, "release")
                print("\nThe task goes on, and stops at no more breakpoints.")
        except RayError as error:
            print(str(error))
        finally:
            inspection.over(point)


def _cancel_all(engine: DriverEngine) -> None:
    """A script has no cells: cancels all that it has submitted."""
    for row in engine.snapshot().tasks:
        if not row.ended and not row.parent and row.kind != ACTOR_CREATION_TASK:
            engine.cancel_task(row.id)


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _place(point: Breakpoint) -> str:
    return f"{printable(point.file)}:{point.line}"


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"raynb: {text}", file=sys.stderr, flush=True)


_terminals: list[Terminal] = []


def attach(engine: DriverEngine) -> None:
    """Answers an engine's breakpoints at the terminal, as long as nobody else does."""
    if engine.inspection is None:
        return
    _terminals.append(Terminal(engine))
    if engines.on_wait is None and _is_terminal():
        engines.on_wait = _begin


def detach(engine: DriverEngine) -> None:
    """The engine has ended."""
    _terminals[:] = [terminal for terminal in _terminals if terminal._engine is not engine]


def _nothing() -> None:
    """The end of a wait of another thread."""


def _begin(wait: Wait) -> Callable[[], None]:
    """`raynb.base.engine.on_wait` of a script."""
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    for terminal in _terminals:
        terminal.begin(wait)
    return _end


def _end() -> None:
    for terminal in _terminals:
        terminal.end()
