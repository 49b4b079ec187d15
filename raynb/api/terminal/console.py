"""Prints the output of tasks in a plain script: ``(f pid=123) line``, as Ray writes it.

In a notebook the extension shows it in cells; as soon as anybody else listens to the engine's
output, the console is silent.

A stream may keep its writer waiting: one of Python's own for its reader, one of the user's for a lock, which
the thread that waits in `get` may have. So a thread of the console's writes. Who learns of a task's end waits for
it as long as ``print`` would wait for the reader, but for anything else only a while.
"""

from __future__ import annotations

import io
import logging
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from raynb.base import unshown
from raynb.base.engine import DriverEngine
from raynb.base.interrupts import Allowed, Deferred, Turn
from raynb.base.process import shelter, trace
from raynb.base.process.waits import Bell, time
from raynb.base.rows import END_OF_TASK, Output
from raynb.base.text import clean, printable

#: Seconds that the writing thread waits for more before it shows unfinished lines and ends.
IDLE_SECONDS = 0.2

#: The longest unfinished line that is held back, in characters.
PARTIAL_MAX_CHARACTERS = 8_192

#: Characters written at a time (whole lines): a pipe or terminal that has room at all takes so many at once.
WRITE_CHARACTERS = 1_000

PATIENCE_SECONDS = 5.0  # a stream that gets nowhere, and not for want of a reader, is waited for so long, once;
IMPATIENCE_SECONDS = 0.05  # after that, so long each time
CLOSE_SECONDS = 5.0  # `close` waits so long, whatever the stream waits for
LEAVE_SECONDS = 1.0  # a thread that waited for a reader is gone by then
LOOK_SECONDS = 0.05

_log = logging.getLogger("raynb.output")


class Console:
    """Writes an engine's output to ``sys.stdout`` and ``sys.stderr``, a whole line at a time.

    Thread contract: any thread. `receive` never blocks; a thread of its own writes, and lives only
    while there is something to write. `show` returns when it has written what has come.
    """

    def __init__(self, engine: DriverEngine) -> None:
        self._listeners = engine.on_output
        self._queue: deque[Output | Callable[[], None]] = deque()
        self._parts: dict[tuple[int, str, str], str] = {}  # (process, who, stream) → unfinished line
        self._ready: dict[str, deque[str]] = {"stdout": deque(), "stderr": deque()}  # whole lines
        self._turn = Turn()  # who takes from the queue and writes
        self._arrived = Bell()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._steps = 0  # writes that are over
        self._waits_for_reader = False  # a stream's reader takes nothing
        self._gives_up = False  # nobody waits for that reader any more
        self._patience = PATIENCE_SECONDS
        self._listeners.append(self.receive)
        unshown.add(self)

    def receive(self, output: Output) -> None:
        """Enqueues a piece of output; a listener of the engine's ``on_output``."""
        if len(self._listeners) > 1 or self._closed:
            return
        self._queue.append(output)
        unshown.mark()
        self._arrived.set()
        with self._starting:
            self._start()

    def show(self, asked: Sequence[int] = ()) -> None:
        """Returns when the whole lines that have come are written, or the stream gets nowhere."""
        if not (self._queue or self._turn.is_taken()) or self._turn.is_mine():
            return
        thread = self._thread
        if thread is not None and thread.ident == threading.get_ident():  # in an action: see `after`
            self._write_now(False)
            return
        written = Bell()
        self._queue.append(written.set)
        self._arrived.set()
        steps, since = self._steps, time.monotonic()
        while not written.wait(LOOK_SECONDS):
            if self._thread is None:  # none could be made
                shelter.run(self._write_now, False)
                return
            now = time.monotonic()
            if self._waits_for_reader or self._steps != steps:
                steps, since = self._steps, now
            elif now - since > self._patience:
                self._lose_patience()
                return

    def _lose_patience(self) -> None:
        if self._patience != IMPATIENCE_SECONDS:
            self._patience = IMPATIENCE_SECONDS
            waited = TimeoutError(f"sys.stdout or sys.stderr has taken nothing for {PATIENCE_SECONDS:g} s")
            trace.swallowed("waiting until the output of tasks is written; from now on it may come late", waited)

    def after(self, action: Callable[[], None], asked: Sequence[int] = ()) -> None:
        """Runs an action after everything received so far is written."""
        with self._starting:
            if self._thread is not None and (self._queue or self._turn.is_taken()):
                self._queue.append(action)
                self._arrived.set()
                return
        action()

    def progress(self) -> object:
        """See `unshown.Screen`."""
        return time.monotonic() if self._waits_for_reader else self._steps

    def close(self) -> bool:
        """Has what is left written, and waits for that, `CLOSE_SECONDS` at most. Call it when the engine has stopped.

        Returns:
            whether it is written; else call `finish` before the process ends.
        """
        unshown.remove(self)
        with self._starting:
            self._closed = True
            if self._queue or self._parts or any(self._ready.values()):
                self._start()
            thread = self._thread
        self._arrived.set()
        with Allowed():
            if thread is None:  # nothing is left, or no thread can be made
                self._write_now(final=True)
            elif thread is not threading.current_thread():  # in which a stream of the user's calls
                thread.join(CLOSE_SECONDS)
                return not thread.is_alive()
        return True

    def finish(self, interrupted: bool) -> None:
        """Waits for the reader of what `close` has left, as Python does at its end for what was printed, or for Ctrl-C.

        Args:
            interrupted: somebody has pressed it already, so as to end the process.
        """
        thread = self._thread
        if thread is None:
            return
        try:
            stuck = 0
            while thread.is_alive() and stuck * LOOK_SECONDS < CLOSE_SECONDS and not interrupted:
                steps = self._steps
                thread.join(LOOK_SECONDS)
                stuck = 0 if self._waits_for_reader or self._steps != steps else stuck + 1
        finally:
            self._gives_up = True
        thread.join(LEAVE_SECONDS)  # unless a stream of the user's keeps it

    def _start(self) -> None:
        """Starts the writing thread if there is none. Under `_starting`."""
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="raynb-console", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread can be made: the next call that shows writes it
                trace.swallowed("starting a thread for the output of tasks", error)
                return
            self._thread = thread

    def _serve(self) -> None:
        while True:
            more = self._arrived.wait(IDLE_SECONDS) or bool(self._queue)  # what has just come may go on
            final = self._closed or not more
            try:
                self._write_now(final)
            except BaseException as error:  # no memory; `SystemExit` of a stream of the user's
                trace.swallowed("writing the output of tasks", error)
            with self._starting:
                if final and not self._queue:
                    self._thread = None
                    return

    def _write_now(self, final: bool) -> None:
        actions: list[Callable[[], None]] = []
        try:
            # A thread that has the turn was called from inside, by a stream of the user's.
            self._turn.take(lambda: self._write(final, actions))
        finally:
            for action in actions:
                action()

    def _write(self, final: bool, actions: list[Callable[[], None]]) -> None:
        """Writes what has come. A Ctrl-C takes hold where a stream keeps its writer waiting, and nowhere else."""
        with Deferred():
            self._take_all(final, actions)
            for kind, lines in self._ready.items():
                stream = getattr(sys, kind)
                if stream is None:
                    lines.clear()
                while lines:
                    try:
                        with Allowed():
                            self._write_some(stream, lines)
                    except (OSError, ValueError):  # closed, or a pipe that nobody reads any more
                        lines.clear()
                    except Exception:  # of a stream of the user's
                        _log.warning("some output of a task could not be written", exc_info=True)
                    self._steps += 1

    def _write_some(self, stream: TextIO, lines: deque[str]) -> None:
        """Writes the first lines: one of Python's own streams gets no more than its reader surely takes at once."""
        most = sys.maxsize
        if type(stream) is io.TextIOWrapper:
            self._await_reader(stream)
            most = WRITE_CHARACTERS
        some = [lines.popleft()]
        size = len(some[0])
        while lines and (size := size + len(lines[0])) <= most:
            some.append(lines.popleft())
        _write_to(stream, clean("".join(some)))

    def _await_reader(self, stream: io.TextIOWrapper) -> None:
        """Returns when a stream takes something; a writer inside it would keep its lock meanwhile, and Python could not
        end. Raises OSError when it is not to be waited for any longer."""
        try:
            room = select.poll()
            room.register(stream.fileno(), select.POLLOUT)
        except (AttributeError, OSError, ValueError):  # a system without it; a stream without a descriptor, or closed
            return
        try:
            while not room.poll(LOOK_SECONDS * 1_000 if self._waits_for_reader else 0):
                self._waits_for_reader = True
                if self._gives_up:
                    raise BrokenPipeError("its reader takes nothing")
        finally:
            self._waits_for_reader = False

    def _take_all(self, final: bool, actions: list[Callable[[], None]]) -> None:
        """Takes everything from the queue: whole lines are ready to be written, the others wait for their rest."""
        texts = self._ready
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, Output):
                self._take(item, texts)
            else:
                actions.append(item)
        if final:
            for (pid, who, kind), part in self._parts.items():
                texts[kind].append(_line(who, pid, kind, part))
            self._parts.clear()

    def _take(self, output: Output, texts: dict[str, deque[str]]) -> None:
        kind, text = output.kind, output.text
        if kind == END_OF_TASK:
            part = self._parts.pop((output.pid, output.name, text), "")
            if part:
                texts[text].append(_line(output.name, output.pid, text, part))
            return
        if kind not in texts:  # a display: its text
            bundle: dict[str, Any] = output.bundle or {}
            plain = (bundle.get("data") or {}).get("text/plain")
            if kind == "clear" or not plain:
                return
            kind, text = "stdout", f"{plain}\n"
        if not output.worker:  # the engine itself
            texts[kind].append(text)
            return
        key = (output.pid, output.name, kind)
        *lines, part = (self._parts.pop(key, "") + text).split("\n")
        texts[kind] += [_line(output.name, output.pid, kind, line) for line in lines]
        if len(part) > PARTIAL_MAX_CHARACTERS:
            texts[kind].append(_line(output.name, output.pid, kind, part))
        elif part:
            self._parts[key] = part


def _write_to(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal or file of another encoding
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def _line(who: str, pid: int, kind: str, text: str) -> str:
    text = text.rstrip("\r").rpartition("\r")[2]  # a progress line: what is seen at its end
    who = printable(who)
    prefix = f"({who} pid={pid})" if who else f"(pid={pid})"
    if _is_terminal(getattr(sys, kind)):
        prefix = f"\x1b[36m{prefix}\x1b[0m"
    return f"{prefix} {text}\n"


def _is_terminal(stream: object) -> bool:
    try:
        return bool(getattr(stream, "isatty", lambda: False)())
    except (OSError, ValueError):  # closed
        return False
