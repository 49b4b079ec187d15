"""As much of an editor as a debugger notices: the debug adapter protocol over a Unix socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS = 120

#: A module that is edited, and debugged, in an editor.
EDITED = """\
import os, time

def step(n):
    return n + 1

def work(gate):
    n = 41
    open(gate + "-works", "w").close()
    while not os.path.exists(gate):
        n = step(n)
        time.sleep(0.01)
    return n > 41

def talks():
    before = 1
    breakpoint()
    return before + 1

class Edited:
    def work(self, gate):
        return work(gate)
    def talk(self):
        return talks()
"""


class DapClient:
    """Talks to one debugpy. Thread contract: one thread."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")
        self._sent = 0
        self.events: list[dict[str, Any]] = []
        self.answers: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> DapClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        self._socket.close()

    def send(self, command: str, **arguments: Any) -> int:
        """Sends a request; returns its number."""
        self._sent += 1
        body = json.dumps({"type": "request", "seq": self._sent, "command": command, "arguments": arguments}).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return self._sent

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request; returns the body of its answer."""
        return self.answer(self.send(command, **arguments))

    def answer(self, number: int) -> dict[str, Any]:
        """Returns the body of the answer to a request, which must have succeeded."""
        while number not in self.answers:
            self._read()
        message = self.answers.pop(number)
        assert message["success"], message
        return message.get("body") or {}

    def event(self, kind: str) -> dict[str, Any]:
        """Returns the body of the next event of a kind."""
        while True:
            found = next((one for one in self.events if one["event"] == kind), None)
            if found is not None:
                self.events.remove(found)
                return found.get("body") or {}
            self._read()

    def attach(self, file: Path, line: int) -> None:
        """Does what an editor does that has one breakpoint."""
        self.ask("initialize", adapterID="debugpy", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
        attached = self.send("attach", justMyCode=True)
        self.event("initialized")
        answer = self.ask("setBreakpoints", source={"path": str(file)}, breakpoints=[{"line": line}])
        assert answer["breakpoints"][0]["verified"], answer
        self.ask("configurationDone")
        self.answer(attached)

    def _read(self) -> None:
        length = 0
        while (line := self._file.readline().strip()) or not length:
            assert line, "the debugger has hung up"
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message = json.loads(self._file.read(length))
        if message["type"] == "response":
            self.answers[message["request_seq"]] = message
        else:
            self.events.append(message)
