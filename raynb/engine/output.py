"""Delivers what tasks print, and the engine's own messages, to the driver's listeners."""

from __future__ import annotations

import os
from collections.abc import Callable

from raynb.base.process import trace
from raynb.base.rows import Output
from raynb.base.text import printable
from raynb.core.vocabulary import commands as c
from raynb.engine.logs import Logs


class TaskOutput:
    """Gives pieces of output to the log and to every listener.

    Thread contract: any thread, also under the engine's lock: listeners only enqueue.
    """

    def __init__(self) -> None:
        self.listeners: list[Callable[[Output], None]] = []
        self.kept = Logs()
        self._pid = os.getpid()
        self._warned: set[str] = set()

    def deliver(self, output: Output) -> None:
        """Appends a piece to the log and calls the listeners; one that raises does not stop the others."""
        self.kept.add(output)
        for listener in self.listeners:
            try:
                listener(output)
            except Exception as error:
                trace.swallowed("a listener to the tasks' output raised", error)

    def warn(self, text: str, scope: int = 0) -> None:
        """Prints a warning of the engine's in a cell (0: in the running one), the same text only once."""
        if text not in self._warned:
            self._warned.add(text)
            self._say(f"raynb: {printable(text)}\n", scope)

    def report_failure(self, command: c.ReportFailure) -> None:
        """Prints a failure that nobody has asked about, in the cell that submitted the task."""
        if os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1":
            self._say(f"raynb: {command.text}\n", command.scope)

    def _say(self, text: str, scope: int) -> None:
        self.deliver(Output("stderr", 0, scope, 0, self._pid, "raynb", 0, text))
