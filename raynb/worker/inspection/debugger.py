"""pdb in a worker, at a prompt that is in the notebook.

A task that stops sends `Paused` and waits. Each command of the user's comes as an `Inspect` message and is
answered with what pdb printed and with its next prompt, or, when the task has gone on, without one.
"""

from __future__ import annotations

import asyncio
import ctypes
import dis
import inspect
import itertools
import linecache
import pdb
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from raynb.worker import user_code
from raynb.worker.inspection.failures import Failures, is_ours

if TYPE_CHECKING:
    from raynb.worker.inspection.desk import Desk

PROMPT = "(Pdb) "
SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_LOOKS = 2 if sys.version_info < (3, 11) else 1
_YIELDS = ("YIELD_VALUE", "YIELD_FROM", "SEND", "RESUME")


class Quit(KeyboardInterrupt):
    """Raised by ``q`` at a prompt: the task ends as cancelled."""


class Session:
    """One stop of a task, or one post-mortem: pdb's stdin and stdout.

    Thread contract: `put` in the control thread; the rest in the thread that is debugged.
    """

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self.number = number
        self._commands: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._text: list[str] = []
        self._request = 0  # to be answered
        self.closed = False
        self._start_clock = desk.stop_clock()

    def put(self, request: int, command: str, payload: Any) -> None:
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
            self.reply(None)
            self._desk.debugging.ended(self)

    # -- pdb's stdin and stdout ----------------------------------------------------------------
    @user_code.calls_user_code
    def readline(self) -> str:
        """Shows what was written, whose last piece is the prompt; waits for a line."""
        prompt = self._text.pop() if self._text else PROMPT
        return self.ask(prompt)

    @user_code.calls_user_code
    def ask(self, prompt: str) -> str:
        """Shows a prompt; returns the line that was typed."""
        self.reply(prompt)
        command, payload = self.next()
        if command == "line":
            return f"{payload}\n"
        if command == "quit":
            raise Quit
        return "continue\n"

    def write(self, text: str) -> int:
        """Appends what pdb prints to the next answer."""
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Does nothing: text is sent with the next prompt."""


class Debugger(pdb.Pdb):
    """pdb that talks to a session, stays out of raynb's frames, and whose quit cancels the task."""

    def __init__(self, session: Session) -> None:
        super().__init__(stdin=session, stdout=session, nosigint=True, readrc=False)  # type: ignore[arg-type]
        self.prompt = PROMPT
        self.session = session
        self.bottom: FrameType | None = None
        self.raised: FrameType | None = None  # an exception passed through it, and no line ran since

    def stop_at(self, frame: FrameType) -> None:
        """Stops at the frame's next line."""
        self.bottom = frame
        while self.bottom.f_back is not None and not is_ours(self.bottom.f_back):
            self.bottom = self.bottom.f_back
        self.set_trace(frame)
        outer = self.bottom.f_back
        while outer is not None:  # nothing of ours is traced, also after the task
            if is_ours(outer):
                del outer.f_trace
            outer = outer.f_back

    def trace(self, call: Callable[[], Any]) -> Any:
        """Stops at the first line of the user's that ``call`` runs; returns what it returns."""
        self.reset()
        try:
            sys.settrace(self.trace_dispatch)
            return call()
        finally:
            self.go_on()

    def stop_here(self, frame: FrameType) -> bool:
        """Returns whether to stop in a frame: not in raynb's own."""
        return not self.session.closed and not is_ours(frame) and super().stop_here(frame)

    def break_here(self, frame: FrameType) -> bool:
        """Returns whether a breakpoint stops here: not after the session is closed."""
        return not self.session.closed and super().break_here(frame)

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """Ends the session's tracing when the outermost frame of the user's returns."""
        found = super().dispatch_return(frame, arg)
        # What called it is ours. A generator or coroutine that is only suspended goes on at its next line.
        if frame is self.bottom and not (self.stopframe is frame and frame is not self.raised and _is_suspended(frame)):
            self.go_on()
        return found

    def dispatch_exception(self, frame: FrameType, arg: Any) -> Any:
        """Remembers the frame that an exception passes through."""
        self.raised = frame
        return super().dispatch_exception(frame, arg)

    def dispatch_line(self, frame: FrameType) -> Any:
        """Forgets the exception's frame: the user's code goes on."""
        self.raised = None
        return super().dispatch_line(frame)

    def get_stack(self, f: FrameType | None, t: Any) -> Any:
        """Returns the stack without raynb's own frames."""
        stack, at = super().get_stack(f, t)
        ours = max((number for number, (frame, _) in enumerate(stack) if is_ours(frame)), default=-1) + 1
        return (stack[ours:], at - ours) if ours <= at else (stack, at)

    def default(self, line: str) -> None:
        """Runs a statement in the frame; assignments to locals last on every Python."""
        if self.curframe is not None:
            _ = self.curframe.f_locals  # read anew, else Python 3.11 does not write them back a second time
        super().default(line)
        if sys.version_info < (3, 13) and self.curframe is not None:
            # Before, an assignment to a local lasts only until the next command that reads the frame's locals.
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(self.curframe), ctypes.c_int(0))

    def format_stack_entry(self, frame_lineno: tuple[FrameType, int], lprefix: str = ": ") -> str:
        """Returns a line of the stack, with the cell's name in place of its temporary file's."""
        file = self.canonic(frame_lineno[0].f_code.co_filename)
        text = super().format_stack_entry(frame_lineno, lprefix)
        cell = _cells.get(file) or _cells.get(frame_lineno[0].f_code.co_filename)
        return text.replace(file, cell, 1) if cell else text

    def go_on(self) -> None:
        """Stops tracing: the task runs on by itself."""
        self.clear_all_breaks()
        sys.settrace(None)
        self.session.close()

    def _cmdloop(self) -> None:
        self.cmdloop()  # pdb's own would take a cancel for the end of a command

    def do_continue(self, arg: str) -> Any:
        """Lets the task go on, and closes the session if no breakpoint is left."""
        super().do_continue(arg)
        if not self.breaks:
            self.session.close()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        """Ends the task, as `Quit`."""
        raise Quit

    do_q = do_exit = do_EOF = do_quit

    def do_run(self, arg: str) -> Any:
        """Refuses: a task cannot be started again from its debugger."""
        self.error("A task cannot be started again from here.")

    do_restart = do_run


class PostMortem(Debugger):
    """pdb in the frames of a task that has failed: every way to go on ends it."""

    def get_stack(self, f: FrameType | None, t: Any) -> Any:
        """Returns the stack without raynb's own frames at its inner end."""
        stack, at = super().get_stack(f, t)
        kept = list(itertools.dropwhile(lambda entry: is_ours(entry[0]), reversed(stack)))[::-1] or stack
        return kept, min(at, len(kept) - 1)

    def do_quit(self, arg: str) -> Any:
        """Ends the session."""
        return True

    do_q = do_exit = do_EOF = do_quit
    do_continue = do_c = do_cont = do_quit
    do_step = do_s = do_next = do_n = do_return = do_r = do_until = do_unt = do_quit


class Debugging:
    """The sessions of one worker.

    Thread contract: `command` and `post_mortem` in the control thread; `stop` in the task's.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._of_thread: dict[int, Session] = {}
        self._released: set[int] = set()  # tasks that are not to stop again
        self.failed = Failures()

    def command(self, request: int, number: int, command: str, payload: Any) -> Any:
        """Enqueues a command for a session; the session's thread answers."""
        from raynb.worker.inspection.desk import LATER

        session = self._sessions.get(number)
        if session is None:
            return "", None
        session.put(request, command, payload)
        return LATER

    def ended(self, session: Session) -> None:
        """Removes a session that has ended."""
        self._sessions.pop(session.number, None)
        for thread in [thread for thread, found in self._of_thread.items() if found is session]:
            self._of_thread.pop(thread, None)

    def _new(self) -> Session:
        session = Session(self._desk, next(self._numbers))
        self._sessions[session.number] = session
        return session

    def here(self) -> Session | None:
        """Returns the session of the calling thread, for `input` in an ``interact``."""
        return self._of_thread.get(threading.get_ident())

    # -- a breakpoint --------------------------------------------------------------------------
    @user_code.calls_user_code
    def stop(
        self, frame: FrameType, failed: TracebackType | None = None, call: Callable[[Any], Any] | None = None
    ) -> bool:
        """Stops the calling task at ``frame``; returns False when nobody can debug it.

        Args:
            frame: of the user's code.
            failed: frames to examine instead (``pdb.post_mortem``).
            call: called with `Debugger.trace`, to stop in what that calls instead (``pdb.runcall``).

        Raises:
            KeyboardInterrupt: the task was cancelled at the prompt.
        """
        running = self._desk.running()
        if running is None:
            return False
        if running.task in self._released:
            return True
        before = self.here()
        if before is not None:
            before.close()  # a breakpoint that is stepped into
        session = self._new()
        self._desk.announce(session.number, running, frame)
        try:
            command, payload = session.next()
            if command == "open":
                learn(payload)
                self._of_thread[threading.get_ident()] = session
                if call is not None:
                    call(Debugger(session).trace)
                    return True
                if failed is None:
                    Debugger(session).stop_at(frame)
                    return True
                _examine(session, failed)
            if command == "release":
                self._released.add(running.task)
            if command == "quit":
                raise Quit
        except Quit:
            session.close()
            running.interrupted = True
            if running.future is not None:
                raise asyncio.CancelledError from None
            raise KeyboardInterrupt from None
        except BaseException:
            session.close()
            raise
        session.close()
        return command != "nobody"

    # -- after a failure -----------------------------------------------------------------------
    def post_mortem(self, request: int, task: int, sources: dict[str, tuple[str, str]]) -> Any:
        """Opens the frames of a task's last failure; returns the number of a session whose first command is
        answered with the first prompt, or None if the frames are not kept."""
        found = self.failed.find(task)
        if found is None:
            return None
        session = self._new()
        threading.Thread(
            target=self._examine, args=(session, found, sources), name="raynb-post-mortem", daemon=True
        ).start()
        return session.number

    def _examine(self, session: Session, error: BaseException, sources: dict[str, tuple[str, str]]) -> None:
        self._of_thread[threading.get_ident()] = session
        learn(sources)
        try:
            session.next()
            _examine(session, error.__traceback__)
        except Quit:
            pass
        except BaseException as broken:  # of pdb's own, in a thread of nobody's
            session.write("".join(traceback.format_exception_only(type(broken), broken)))
        session.close()


def _examine(session: Session, failed: TracebackType | None) -> None:
    debugger = PostMortem(session)
    debugger.reset()
    debugger.interaction(None, failed)


def _is_suspended(frame: FrameType) -> bool:
    """Returns whether a frame that returns is a generator's or coroutine's that yields."""
    code = frame.f_code
    at = (frame.f_lasti, frame.f_lasti + 2)  # Python 3.10 stands before the one that it comes back to
    return bool(code.co_flags & SUSPENDS) and any(dis.opname[code.co_code[i]] in _YIELDS for i in at[: _LOOKS])


_cells: dict[str, str] = {}  # file name of a cell → ``In[5]``


def learn(sources: dict[str, tuple[str, str]]) -> None:
    """Adds the names and the source of the notebook's cells, for pdb's listings."""
    for file, (name, text) in (sources or {}).items():
        _cells[file] = name
        linecache.cache.setdefault(file, (len(text), None, text.splitlines(keepends=True), file))
