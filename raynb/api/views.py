"""Returns what a runtime has and did: `cluster_resources`, `nodes`, `timeline`."""

from __future__ import annotations

import json
from typing import Any

from raynb.base.engine import current
from raynb.base.rows import Snapshot


def cluster_resources() -> dict[str, float]:
    """Returns everything that this runtime may use (``ray.cluster_resources``).

    Example:
        >>> ray.cluster_resources()["CPU"] >= 1
        True
    """
    return current().cluster()[0]


def available_resources() -> dict[str, float]:
    """Returns what is free now; what is at zero is left out (``ray.available_resources``).

    Example:
        >>> ray.available_resources().get("CPU", 0) <= ray.cluster_resources()["CPU"]
        True
    """
    return current().cluster()[1]


def nodes() -> list[dict[str, Any]]:
    """Returns the one node, or a cluster's (``ray.nodes``).

    Example:
        >>> len(ray.nodes())
        1
    """
    return current().nodes()


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Returns who ran what when as a Chrome/Perfetto trace, or writes it to a file (``ray.timeline``).

    Args:
        filename: where to write it, as JSON; None: return the events. Their times are microseconds.

    Example:
        >>> done = ray.get(ray.remote(lambda: 1).remote())
        >>> len(ray.timeline()) > 0
        True
    """
    events = trace(current().snapshot(settled=True))
    if filename is None:
        return events
    with open(filename, "w") as file:
        json.dump(events, file)
    return None


def trace(shot: Snapshot) -> list[dict[str, Any]]:
    """Returns the trace events of a snapshot: a lane a worker, a slice a phase. Times in microseconds."""
    events: list[dict[str, Any]] = []
    for task in shot.tasks:
        if not task.worker or not task.started:
            continue
        ended = task.ended or shot.now
        phases = (
            (task.name, task.started, ended),
            ("task:deserialize_arguments", task.started, task.fetched),
            ("task:execute", task.fetched, task.ran),
            ("task:store_outputs", task.ran, ended),
        )
        for name, begin, end in phases:
            if begin and end >= begin:
                events.append({
                    "cat": "task" if name == task.name else name, "name": name, "ph": "X", "pid": "127.0.0.1",
                    "tid": f"worker:{task.worker}", "ts": (shot.wall + begin) * 1e6, "dur": (end - begin) * 1e6,
                    "args": {"task": task.name, "attempt": task.attempt, "state": task.state},
                })  # fmt: skip
    return events
