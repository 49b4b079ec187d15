"""pdb in a worker, at a prompt that is in the notebook.

A task that stops sends `Paused` and waits. Each command of the user's comes as an `Inspect` message and is
answered with what pdb printed and with its next prompt, or, when the task has gone on, without one.
"""

from __future__ import annotations

import ctypes
import dis
import inspect
import itertools
import linecache
import pdb
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from raynb.worker import user_code
from raynb.worker.inspection.failures import Chain, ChainLink, Failures, chain_of, is_ours, origin_of
from raynb.worker.inspection.session import PROMPT, Answers, Debuggable, Quit, Session

SHOWN_MAX_CHARACTERS = 80  # of an exception in the list of a chain, as in pdb
SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_LOOKS = 2 if sys.version_info < (3, 11) else 1
_YIELDS = ("YIELD_VALUE", "YIELD_FROM", "SEND", "RESUME")


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

    def trace(self, call: Callable[[], object]) -> Any:
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

    def dispatch_return(self, frame: FrameType, arg: object) -> Any:
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
        self.session.prompting += 1
        try:
            self.cmdloop()  # pdb's own would take a cancel for the end of a command
        except BaseException:
            self.session.close()
            raise
        finally:
            self.session.prompting -= 1

    def do_continue(self, arg: str) -> Any:
        """Lets the task go on, and closes the session if no breakpoint is left."""
        if self.session.is_left():
            self.clear_all_breaks()
        super().do_continue(arg)
        if not self.breaks:
            self.session.close()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> Any:
        """Ends the task, as cancelled."""
        self.session.quit()

    do_q = do_exit = do_EOF = do_quit

    def do_run(self, arg: str) -> Any:
        """Refuses: a task cannot be started again from its debugger."""
        self.error("A task cannot be started again from here.")

    do_restart = do_run


class PostMortem(Debugger):
    """pdb in the frames of a task that has failed: every way to go on ends it."""

    def __init__(self, session: Session, chain: Chain) -> None:
        super().__init__(session)
        self.chain = chain
        self.at = len(chain) - 1  # the exception whose frames are examined

    def examine(self) -> None:
        """Reads commands until the person leaves."""
        self.reset()
        if self.at:
            self.message(f"{len(self.chain)} chained exceptions: `exceptions` lists them, `exceptions N` enters one.")
        self.interaction(None, self.chain[self.at].frames)

    def setup(self, f: FrameType | None, tb: TracebackType | None) -> None:
        """Enters the frames of a traceback; ``$_exception`` is its exception (Python 3.12)."""
        super().setup(f, tb)
        error = self.chain[self.at].error
        self.session.origin = origin_of(error)
        if error is not None and hasattr(self, "set_convenience_variable"):
            self.set_convenience_variable(self.curframe, "_exception", error)

    def do_exceptions(self, arg: str) -> None:
        """exceptions [number]

        List the exceptions that led to this one, the oldest first, or enter the frames of one.
        """
        if not arg:
            for number, (error, frames) in enumerate(self.chain):
                self.message(f"{'>' if number == self.at else ' '} {number if frames else '-':>3} {_shown(error)}")
        elif not arg.isdecimal() or int(arg) >= len(self.chain):
            self.error(f"No exception with that number: 0 to {len(self.chain) - 1}.")
        elif self.chain[int(arg)].frames is None:
            self.error("This exception does not have a traceback, cannot jump to it")
        else:
            self.at = int(arg)
            self.setup(None, self.chain[self.at].frames)
            self.print_stack_entry(self.stack[self.curindex])

    def get_stack(self, f: FrameType | None, t: object) -> Any:
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

    def __init__(self, desk: Answers) -> None:
        self._desk = desk
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._of_thread: dict[int, Session] = {}
        self._released: set[int] = set()  # tasks that are not to stop again
        self.failed = Failures()

    def command(self, request: int, number: int, command: str, payload: object) -> Any:
        """Enqueues a command for a session; the session's thread answers."""
        from raynb.worker.inspection.desk import LATER

        session = self._sessions.get(number)
        if session is None:
            return "", None
        session.put(request, command, payload)
        return LATER

    def origin(self, number: int) -> tuple[str, int] | None:
        """Returns the task whose failure is examined in a session, if it is another's, as (task in hex, pid)."""
        session = self._sessions.get(number)
        return session.origin if session is not None else None

    def ended(self, session: Session) -> None:
        """Removes a session that has ended."""
        self._sessions.pop(session.number, None)
        for thread in [thread for thread, found in self._of_thread.items() if found is session]:
            self._of_thread.pop(thread, None)

    def release(self, running: Debuggable) -> None:
        """Lets a task pass all further breakpoints."""
        self._released.add(running.task)

    def _new(self, running: Debuggable | None) -> Session:
        session = Session(self._desk, next(self._numbers), running)
        self._sessions[session.number] = session
        return session

    def here(self) -> Session | None:
        """Returns the session of the calling thread, for `input` in an ``interact``."""
        return self._of_thread.get(threading.get_ident())

    # -- a breakpoint --------------------------------------------------------------------------
    @user_code.calls_user_code
    def stop(
        self,
        frame: FrameType,
        failed: BaseException | TracebackType | None = None,
        call: Callable[[Any], object] | None = None,
    ) -> bool:
        """Stops the calling task at ``frame``; returns False when nobody can debug it.

        Args:
            frame: of the user's code.
            failed: an exception or traceback whose frames to examine instead (``pdb.post_mortem``).
            call: called with `Debugger.trace`, to stop in what that calls instead (``pdb.runcall``).

        Raises:
            KeyboardInterrupt: the task was cancelled at the prompt.
        """
        before = self.here()
        if before is not None and before.prompting:
            # Python traces nothing inside a trace function, so it could not stop here; nor can two prompts be open.
            before.write("A breakpoint inside a command is passed; `debug CALL` steps into a call.\n")
            return True
        running = self._desk.running()
        if running is None:
            return False
        if running.task in self._released:
            return True
        if before is not None:
            before.close()  # a breakpoint that is stepped into
        session = self._new(running)
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
                PostMortem(session, _chain(failed)).examine()
            if command == "release":
                self.release(running)
            if command == "quit":
                session.quit()
        except Quit:
            session.close()
            raise KeyboardInterrupt from None
        except BaseException:
            session.close()
            raise
        session.close()
        return command != "nobody"

    # -- after a failure -----------------------------------------------------------------------
    def post_mortem(self, task: int, sources: dict[str, tuple[str, str]], failure: int = 0) -> Any:
        """Opens the frames of a task's failure (0: its last one); returns the number of a session whose first command
        is answered with the first prompt, or None if the frames are not kept."""
        found = self.failed.find(task, failure)
        if found is None:
            return None
        session = self._new(None)
        threading.Thread(
            target=self._examine, args=(session, found, sources), name="raynb-post-mortem", daemon=True
        ).start()
        return session.number

    def _examine(self, session: Session, chain: Chain, sources: dict[str, tuple[str, str]]) -> None:
        self._of_thread[threading.get_ident()] = session
        learn(sources)
        try:
            session.next()
            PostMortem(session, chain).examine()
        except Quit:
            pass
        except BaseException as broken:  # of pdb's own, in a thread of nobody's
            session.write("".join(traceback.format_exception_only(type(broken), broken)))
        session.close()


def _chain(failed: BaseException | TracebackType) -> Chain:
    return chain_of(failed) if isinstance(failed, BaseException) else (ChainLink(None, failed),)


def _shown(error: BaseException | None) -> str:
    """Returns the line of an exception in a list."""
    if error is None:
        return "the traceback that was given"
    try:
        text = repr(error)
    except Exception as broken:
        text = f"<{type(error).__name__}; {type(broken).__name__} in its __repr__>"
    return text if len(text) <= SHOWN_MAX_CHARACTERS else f"{text[: SHOWN_MAX_CHARACTERS - 3]}..."


def _is_suspended(frame: FrameType) -> bool:
    """Returns whether a frame that returns is a generator's or coroutine's that yields."""
    code = frame.f_code
    at = (frame.f_lasti, frame.f_lasti + 2)  # Python 3.10 stands before the one that it comes back to
    return bool(code.co_flags & SUSPENDS) and any(dis.opname[code.co_code[i]] in _YIELDS for i in at[:_LOOKS])


_cells: dict[str, str] = {}  # file name of a cell → ``In[5]``


def learn(sources: dict[str, tuple[str, str]]) -> None:
    """Adds the names and the source of the notebook's cells, for pdb's listings."""
    for file, (name, text) in (sources or {}).items():
        _cells[file] = name
        linecache.cache.setdefault(file, (len(text), None, text.splitlines(keepends=True), file))
