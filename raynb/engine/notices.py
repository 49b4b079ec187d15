"""Shortens Ray's notices about its cluster from a page to a sentence."""

from __future__ import annotations

import re

#: The most characters of a sentence about a death.
DEATH_CHARS = 400
_DIED = re.compile(
    r"worker died or was killed .*Node ID: (?P<node>\w+).*Worker PID: (?P<pid>\d+).*Worker exit detail: (?P<why>.*)",
    re.DOTALL,
)
#: Begins what Ray adds to a notice for whoever looks after the cluster.
_ADVICE = re.compile(r"\s*(To see more|To troubleshoot|Refer to|See http|This can happen|Some common causes|Consider)")


def worker_death(notice: str) -> tuple[int, str, str] | None:
    """Returns (process id, id of the node, why) of a notice of Ray's that a worker died; None if it is another one."""
    found = _DIED.search(notice)
    if found is None:
        return None
    why = found["why"].removeprefix("Worker exits unexpectedly. ").split(". ", 1)[0].rstrip(". ")
    return int(found["pid"]), found["node"], why[:DEATH_CHARS]


def notice(text: str) -> str:
    """Returns a notice of Ray's without the advice that follows."""
    advice = _ADVICE.search(text)
    kept = text[: advice.start()].rstrip() if advice is not None and advice.start() else text
    return kept if len(kept) <= DEATH_CHARS else f"{kept[:DEATH_CHARS]}…"
