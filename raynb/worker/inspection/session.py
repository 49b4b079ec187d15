"""A prompt in the notebook as a debugger's stdin and stdout in a worker."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, Protocol

from raynb.worker import user_code

PROMPT = "(Pdb) "


class Debuggable(Protocol):
    """A running task, as a debugger sees it."""

    task: int
    scope: int
    name: str
    interrupted: bool
    future: Any  # its asyncio task, in async actors


class Sessions(Protocol):
    """Keeps the sessions of a process: `Debugging`."""

    def ended(self, session: Session) -> None:
        """Removes a session that has ended."""

    def release(self, running: Debuggable) -> None:
        """Lets a task pass all further breakpoints."""


class Answers(Protocol):
    """The way from a debugger to the driver: `Desk`."""

    @property
    def debugging(self) -> Sessions:
        """The process's sessions."""

    def answer(self, request: int, ok: bool, result: object) -> None:
        """Sends an answer."""

    def announce(self, session: int, task: Debuggable, frame: FrameType) -> None:
        """Reports that a task waits at a breakpoint."""

    def running(self) -> Debuggable | None:
        """Returns the task that the calling code belongs to, if it can be debugged."""

    def stop_clock(self) -> Callable[[], None]:
        """Stops the timeout of the calling thread's task until the returned function is called."""


class Quit(KeyboardInterrupt):
    """Raised by ``q`` at a prompt: the task ends as cancelled."""


class Session:
    """One stop of a task, or one post-mortem: pdb's stdin and stdout.

    Thread contract: `put` in the control thread; the rest in the thread that is debugged.
    """

    def __init__(self, desk: Answers, number: int, running: Debuggable | None) -> None:
        self._desk = desk
        self.number = number
        self.running = running  # None: a post-mortem
        self.origin: tuple[str, int] | None = None  # of the exception that is examined: see `failures.origin_of`
        self.prompting = 0  # debuggers that read commands now
        self._left = ""  # how the person left the prompt, which has no more questions: "quit", "release"
        self._commands: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._text: list[str] = []
        self._request = 0  # to be answered
        self.closed = False
        self._start_clock = desk.stop_clock()

    def put(self, request: int, command: str, payload: object) -> None:
        """Enqueues a command of the user's for the thread that waits at the prompt."""
        self._commands.put((request, command, payload))

    def next(self) -> tuple[str, Any]:
        """Waits for a command of the user's; a cancel ends the wait."""
        self._request, command, payload = user_code.call(self._commands.get)
        return command, payload

    def reply(self, prompt: str | None) -> None:
        """Answers the last command with what was printed and the next prompt (None: the task goes on)."""
        if self._request:
            text, self._text = "".join(self._text), []
            request, self._request = self._request, 0
            self._desk.answer(request, True, (text, prompt))

    def close(self) -> None:
        """Ends the session: the task goes on."""
        if not self.closed:
            self.closed = True
            self._start_clock()
            self._desk.debugging.ended(self)  # first: after the reply a command must find no session
            self.reply(None)

    # -- pdb's stdin and stdout ----------------------------------------------------------------
    @user_code.calls_user_code
    def readline(self) -> str:
        """Shows what was written, whose last piece is the prompt; waits for a line."""
        prompt = self._text.pop() if self._text else PROMPT
        return self.ask(prompt)

    @user_code.calls_user_code
    def ask(self, prompt: str, inside: bool = False) -> str:
        """Shows a prompt; returns the line that was typed.

        Args:
            prompt: the text before the cursor.
            inside: a command asks (``interact``), which is to be left before the debugger is.

        Raises:
            Quit, CancelledError: the task is to end.
            EOFError: the command is to be left.
        """
        if not self.is_left():
            self.reply(prompt)
            command, payload = self.next()
            if command == "line":
                return f"{payload}\n"
            self._left = command
            if self.running is not None and command == "release":
                self._desk.debugging.release(self.running)
        if inside:
            raise EOFError
        if self._left == "quit":
            self.quit()
        return "continue\n"

    def quit(self) -> NoReturn:
        """Ends the debugged task, as cancelled; of a post-mortem, the session.

        Raises:
            CancelledError: in a coroutine, where a KeyboardInterrupt would end the event loop.
            Quit: elsewhere.
        """
        if self.running is not None:
            self.running.interrupted = True
            if self.running.future is not None:
                raise asyncio.CancelledError
        raise Quit

    def is_left(self) -> bool:
        """Returns whether nobody answers any more: the person has left, or the task was cancelled."""
        if self.running is not None and self.running.interrupted:
            self._left = "quit"
        elif self.closed and not self._left:
            self._left = "release"
        return bool(self._left)

    def write(self, text: str) -> int:
        """Appends what pdb prints to the next answer."""
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Does nothing: text is sent with the next prompt."""
