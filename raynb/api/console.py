"""What tasks print, in a plain script: ``(f pid=123) line``, as Ray writes it.

In a notebook the extension shows it in cells; as soon as anybody else listens to the engine's
output, the console is silent.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

from raynb.base.rows import Output

#: Seconds that the writing thread waits for more before it shows unfinished lines and ends.
IDLE = 0.2

#: The longest unfinished line that is held back, in characters.
LONGEST = 8_192


class Console:
    """Writes an engine's output to ``sys.stdout`` and ``sys.stderr``, a whole line at a time.

    Thread contract: any thread. `receive` never blocks; a thread of its own writes, and lives only
    while there is something to write.
    """

    def __init__(self, engine: Any) -> None:
        self._listeners = engine.on_output
        self._queue: deque[Output] = deque()
        self._parts: dict[tuple[int, str, str], str] = {}  # (process, who, stream) → unfinished line
        self._lock = threading.Lock()  # who writes
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._listeners.append(self.receive)

    def receive(self, output: Output) -> None:
        """Takes one piece of output; the engine's ``on_output``."""
        if len(self._listeners) > 1 or self._closed:
            return
        self._queue.append(output)
        self._news.set()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="raynb-console", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Writes what is left. Call it when the engine has stopped."""
        with self._starting:
            self._closed = True
            thread = self._thread
        self._news.set()
        if thread is not None:
            thread.join(timeout=2.0)
        with self._lock:
            self._write(final=True)

    def _serve(self) -> None:
        while True:
            more = self._news.wait(IDLE)
            self._news.clear()
            with self._lock:
                self._write(final=not more)
            with self._starting:
                if self._closed or (not more and not self._queue):
                    self._thread = None
                    return

    def _write(self, final: bool) -> None:
        texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
        while self._queue:
            self._take(self._queue.popleft(), texts)
        if final:
            for (pid, who, kind), part in self._parts.items():
                texts[kind].append(_line(who, pid, kind, part))
            self._parts.clear()
        for kind, lines in texts.items():
            stream = getattr(sys, kind)
            if not lines or stream is None:
                continue
            try:
                stream.write("".join(lines))
                stream.flush()
            except (OSError, ValueError):  # closed, or a pipe that nobody reads any more
                continue

    def _take(self, output: Output, texts: dict[str, list[str]]) -> None:
        kind, text = output.kind, output.text
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
        if len(part) > LONGEST:
            texts[kind].append(_line(output.name, output.pid, kind, part))
        elif part:
            self._parts[key] = part


def _line(who: str, pid: int, kind: str, text: str) -> str:
    text = text.rstrip("\r").rpartition("\r")[2]  # a progress line: what is seen at its end
    prefix = f"({who} pid={pid})" if who else f"(pid={pid})"
    if getattr(getattr(sys, kind), "isatty", lambda: False)():
        prefix = f"\x1b[36m{prefix}\x1b[0m"
    return f"{prefix} {text}\n"
