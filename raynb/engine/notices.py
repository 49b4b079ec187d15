"""Shortens Ray's notices about its cluster from a page to a sentence, and brings each to the runtime it concerns."""

from __future__ import annotations

import functools
import re
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


def notice(text: str) -> str:
    """Returns a notice of Ray's without the advice that follows."""
    advice = _ADVICE.search(text)
    kept = text[: advice.start()].rstrip() if advice is not None and advice.start() else text
    return kept if len(kept) <= DEATH_CHARS else f"{kept[:DEATH_CHARS]}…"


#: Is called with a notice and with whether to leave it alone unless it is about a worker of its own. Returns what is to
#: be printed instead, "" for nothing; None: it has left the notice alone.
Say = Callable[[str, bool], "str | None"]


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
                # Else somebody has put another wrapper around this one, which then only passes on what it gets.
                if not self._says and getattr(self._module, self._name) is self._wrapper:
                    setattr(self._module, self._name, self._own)
                    self._wraps = False

        return undo

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
