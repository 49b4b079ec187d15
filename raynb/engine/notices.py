"""Shortens Ray's notices about its cluster from a page to a sentence, and brings each to the runtime it concerns."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from raynb.base.process import trace

#: The most characters of a sentence about a death.
DEATH_CHARS = 400
#: The characters of a notice in which a retry is looked for: the search takes the square of them.
RETRIED_CHARS = 4_000
_DIED = re.compile(
    r"worker died or was killed .*Node ID: (?P<node>\w+).*Worker PID: (?P<pid>\d+).*Worker exit detail: (?P<why>.*)",
    re.DOTALL,
)
_NODE_DIED = re.compile(
    r"^The node with node id: (?P<node>\w+)\b.*has been marked dead because (?P<why>[^.]*)", re.DOTALL
)
_NAMELESS = re.compile(
    r"^It looks like you're creating a detached actor in an anonymous namespace\..*namespace=\"(?P<name>[^\"]+)\"",
    re.DOTALL,
)
_RECOVERING = re.compile(r"^\s*Attempting to recover (?P<count>\d+) lost objects? by resubmitting their tasks\b")
#: A line that the core in a driver writes to the driver's own descriptor 2, for whoever reads there.
_OF_CORE = re.compile(
    r"^\[[-\d:, ]+ [A-Z] (?P<pid>\d+) \d+\](?: \([^)]*\))? \w+\.cc:\d+: :info_message: ?(?P<text>.*)$"
)
_COLOR = re.compile(r"\x1b\[[\d;]*m")
_RETRIED = re.compile(r"^\s*Task (?P<name>.+?) failed\b.*?(?P<left>\d+|infinite) (oom )?retries remaining", re.DOTALL)
#: Begins what Ray adds to a notice for whoever looks after the cluster.
_ADVICE = re.compile(
    r"\s*(To see (more|the logs|information)|to see more|To troubleshoot|Refer to|See http|This can happen|"
    r"Some common causes|Consider|Check python-core-worker|Check cluster logs|Top \d+ memory users)"
)


def worker_death(notice: str) -> tuple[int, str, str] | None:
    """Returns (process id, id of the node, why) of a notice of Ray's that a worker died; None if it is another one."""
    found = _DIED.search(notice)
    if found is None:
        return None
    why = found["why"].removeprefix("Worker exits unexpectedly. ").split(". ", 1)[0].rstrip(". ")
    return int(found["pid"]), found["node"], why[:DEATH_CHARS]


def retried(notice: str) -> tuple[str, str] | None:
    """Returns (name of the task, how often at most, in words) of a notice of Ray's that a task is tried again."""
    found = _RETRIED.search(notice[:RETRIED_CHARS])
    if found is None:
        return None
    left = found["left"]
    return found["name"], "once" if left == "1" else "any number of times" if left == "infinite" else f"{left} times"


def node_death(notice: str) -> tuple[str, str] | None:
    """Returns (id of the node, why) of a notice of Ray's that a node is dead."""
    found = _NODE_DIED.search(notice)
    return None if found is None else (found["node"], found["why"].strip()[:DEATH_CHARS])


def nameless(notice: str) -> str | None:
    """Returns the namespace of a notice of Ray's that a detached actor was made in one that has no name."""
    found = _NAMELESS.search(notice)
    return None if found is None else found["name"]


def recovering(notice: str) -> int | None:
    """Returns the number of objects of a notice of Ray's that this program's objects were lost."""
    found = _RECOVERING.search(notice)
    return None if found is None else int(found["count"])


def core_notice(line: str, pid: int) -> str | None:
    """Returns the notice in a line that Ray's core has logged in the process ``pid``; None if it is any other line."""
    found = _OF_CORE.match(_COLOR.sub("", line).rstrip())
    return found["text"] if found is not None and int(found["pid"]) == pid else None


def notice(text: str) -> str:
    """Returns a notice of Ray's without the advice that follows."""
    advice = _ADVICE.search(text)
    kept = text[: advice.start()].rstrip() if advice is not None and advice.start() else text
    return kept if len(kept) <= DEATH_CHARS else f"{kept[:DEATH_CHARS]}…"


#: Is called with a notice and with whether to leave it alone unless it is about a worker of its own. Returns what is to
#: be printed instead, "" for nothing; None: it has left the notice alone.
Say = Callable[[str, bool], "str | None"]


class _Nothing:
    """No stream."""


class _Write:
    """The ``write`` of a stream: what its reader has read goes through ``untold`` first."""

    def __init__(
        self, own: Callable[[str], int | None], reader: threading.Thread, untold: Callable[[str], str]
    ) -> None:
        self._own = own
        self._reader = reader
        self._untold = untold

    def __call__(self, text: str) -> int | None:
        if threading.current_thread() is self._reader:
            text = self._untold(text)
            if not text:
                return 0
        return self._own(text)


class Hearers:
    """Has the notices that a function of Ray's prints go through functions of ours first.

    There is one wrapper around Ray's function for all runtimes of the process, and the last of them takes it off.

    Thread contract: any thread. The functions run on Ray's thread, without a lock.

    Args:
        module: has Ray's function.
        name: its name there.
        printing: is held while Ray's function prints.
    """

    def __init__(self, module: object, name: str, printing: AbstractContextManager[object]) -> None:
        self._module = module
        self._name = name
        self._printing = printing
        #: Ray's function. It stays known: Ray's thread may be on its way through the wrapper.
        self._own: Callable[..., object] = getattr(module, name)
        self._wraps = False
        self._says: list[Say] = []
        self._wrapper = self._shown
        self._stream: object = _Nothing()  # whose ``write`` is ours

    def add(self, say: Say) -> Callable[[], None]:
        """Has notices go through ``say``, before those that were added earlier; returns a function that undoes it."""
        entry = functools.partial(say)  # one of its own for each call
        with self._printing:
            if not self._wraps:
                self._own, self._wraps = getattr(self._module, self._name), True
                setattr(self._module, self._name, self._wrapper)
            self._says.append(entry)

        def undo() -> None:
            with self._printing:
                if entry in self._says:
                    self._says.remove(entry)
                if not self._says:
                    self._leave()
                # Else somebody has put another wrapper around this one, which then only passes on what it gets.
                if not self._says and getattr(self._module, self._name) is self._wrapper:
                    setattr(self._module, self._name, self._own)
                    self._wraps = False

        return undo

    def listen(self, stream: object) -> None:
        """Has notices that Ray's core writes to a descriptor go through the functions, too, while there are any.

        Call it from time to time: for each cell, IPython puts a function of its own in the place of the stream's
        ``write``, and what was there before back after it. So ours goes there only between two cells.

        Args:
            stream: ipykernel's stream of that descriptor, which has a thread that reads what C code writes there. Of
                any other kind of stream nothing is heard.
        """
        reader = getattr(stream, "watch_fd_thread", None)
        if not isinstance(reader, threading.Thread):
            return
        found = vars(stream).get("write")
        if found is None or getattr(found, "__func__", None) is getattr(type(stream), "write", None):
            with self._printing:
                if self._says:
                    self._stream = stream
                    vars(stream)["write"] = _Write(getattr(stream, "write"), reader, self._untold)  # noqa: B009

    def _leave(self) -> None:
        """Takes our function off the stream. In a cell it cannot be reached: then it stays, and passes all on."""
        if isinstance(vars(self._stream).get("write"), _Write):
            del vars(self._stream)["write"]

    def _untold(self, text: str) -> str:
        """Returns what was read from a descriptor without the lines of this process's core that a function tells of."""
        if ":info_message:" not in text:
            return text
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if (said := core_notice(line, os.getpid())) is None or self._heard(said))

    def _shown(self, data: Any, *args: object, **kwargs: object) -> None:
        if self._says and data.get("pid") == "raylet":
            lines = [line for line in map(self._heard, data.get("lines") or ()) if line]
            if not lines:
                return
            data = {**data, "lines": lines}
        with self._printing:
            self._own(data, *args, **kwargs)

    def _heard(self, text: str) -> str:
        """Returns what Ray is to print. The worker that died is known to one runtime; if to none, the latest tells."""
        says = self._says[::-1]
        for say, only_known in [*((say, True) for say in says), *((say, False) for say in says)]:
            try:
                told = say(text, only_known)
            except Exception as error:  # Ray's thread, which tells of all the others, must not end
                trace.swallowed("a notice of Ray's about its cluster", error)
                continue
            if told is not None:
                return told
        return text
