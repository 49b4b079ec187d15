"""Prints the output of tasks in a plain script: ``(f pid=123) line``, as Ray writes it.

In a notebook the extension shows it in cells; as soon as anybody else listens to the engine's
output, the console is silent.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base import unshown
from raynb.base.engine import DriverEngine
from raynb.base.interrupts import Allowed, Deferred, Turn
from raynb.base.process import shelter, trace
from raynb.base.rows import END_OF_TASK, Output
from raynb.base.text import clean, printable

#: Seconds that the writing thread waits for more before it shows unfinished lines and ends.
IDLE_SECONDS = 0.2

#: The longest unfinished line that is held back, in characters.
PARTIAL_MAX_CHARACTERS = 8_192

_log = logging.getLogger("raynb.output")


class Console:
    """Writes an engine's output to ``sys.stdout`` and ``sys.stderr``, a whole line at a time.

    Thread contract: any thread. `receive` never blocks; a thread of its own writes, and lives only
    while there is something to write. A thread that reads a task's end first writes what has arrived (`show`).
    """

    def __init__(self, engine: DriverEngine) -> None:
        self._listeners = engine.on_output
        self._queue: deque[Output | Callable[[], None]] = deque()
        self._parts: dict[tuple[int, str, str], str] = {}  # (process, who, stream) → unfinished line
        self._ready: dict[str, list[str]] = {"stdout": [], "stderr": []}  # whole lines
        self._turn = Turn()  # who takes from the queue and writes
        self._arrived = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
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
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="raynb-console", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no thread can be made: the next call that shows writes it
                    trace.swallowed("starting a thread for the output of tasks", error)
                    return
                self._thread = thread

    def show(self, asked: Sequence[int] = ()) -> None:
        """Writes the whole lines that have come."""
        if (self._queue or self._turn.is_taken()) and not self._turn.is_mine():
            shelter.run(self._write_now, False)

    def after(self, action: Callable[[], None], asked: Sequence[int] = ()) -> None:
        """Runs an action after everything received so far is written."""
        with self._starting:
            if self._thread is not None and (self._queue or self._turn.is_taken()):
                self._queue.append(action)
                self._arrived.set()
                return
        action()

    def close(self) -> None:
        """Writes what is left. Call it when the engine has stopped."""
        unshown.remove(self)
        with self._starting:
            self._closed = True
            thread = self._thread
        self._arrived.set()
        if thread is not None:
            thread.join(timeout=2.0)
        self._write_now(final=True)

    def _write_now(self, final: bool) -> None:
        actions: list[Callable[[], None]] = []
        try:
            # A thread that has the turn was called from inside, by a stream of the user's.
            self._turn.take(lambda: self._write(final, actions))
        finally:
            for action in actions:
                action()

    def _serve(self) -> None:
        while True:
            more = self._arrived.wait(IDLE_SECONDS) or bool(self._queue)  # what has just come may go on
            self._arrived.clear()
            self._write_now(final=not more)
            with self._starting:
                if self._closed or (not more and not self._queue):
                    self._thread = None
                    return

    def _write(self, final: bool, actions: list[Callable[[], None]]) -> None:
        """Writes what has come. A Ctrl-C takes hold where a stream keeps its writer waiting, and nowhere else."""
        with Deferred():
            self._take_all(final, actions)
            for kind, lines in self._ready.items():
                stream = getattr(sys, kind)
                if not lines or stream is None:
                    lines.clear()
                    continue
                try:
                    text = clean("".join(lines))
                    with Allowed():
                        lines.clear()
                        _write_to(stream, text)
                except (OSError, ValueError):  # closed, or a pipe that nobody reads any more
                    continue
                except Exception:  # of a stream of the user's
                    _log.warning("some output of a task could not be written", exc_info=True)

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

    def _take(self, output: Output, texts: dict[str, list[str]]) -> None:
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
    if getattr(getattr(sys, kind), "isatty", lambda: False)():
        prefix = f"\x1b[36m{prefix}\x1b[0m"
    return f"{prefix} {text}\n"
