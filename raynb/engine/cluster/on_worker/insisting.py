"""Ends nested tasks that were cancelled and go on, with their workers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ray import exceptions as theirs

from raynb.base.process import trace
from raynb.engine.cluster import rays
from raynb.engine.cluster.hub import guarded

#: Task → Ray's ref of it, and what Ray cancels: the same, or its generator.
Cancelled = dict[int, tuple[object, object]]


def insist(tasks: Cancelled, seconds: float, ended: Callable[[int], None]) -> None:
    """Ends after ``seconds`` the workers of those tasks that have not ended.

    One that sleeps or is in native code does not notice Ray's interrupt. Only the process that has submitted a task can
    have its worker ended.

    Args:
        tasks: were submitted by this process, and cancelled.
        seconds: which they have to notice it.
        ended: called with each task whose worker is ended, on a thread of its own.
    """
    timer = threading.Timer(seconds, guarded, ("ending tasks that were cancelled", _end, tasks, ended))
    timer.name, timer.daemon = "raynb-insist", True
    try:
        timer.start()
    except RuntimeError as error:  # the process may have no more threads
        trace.swallowed("waiting for tasks that were cancelled", error)


def _end(tasks: Cancelled, ended: Callable[[int], None]) -> None:
    if not rays.is_connected():
        return
    natives = [native for native, _ in tasks.values()]
    # With no time to wait Ray does not warn in an async actor.
    over = set(rays.wait(natives, num_returns=len(natives), timeout=0, fetch_local=False)[0])
    for task, (native, cancelled) in tasks.items():
        if native not in over:
            try:
                rays.cancel(cancelled, force=True, recursive=True)
            except (ValueError, theirs.RayError):  # a call of an actor, which Ray does not end so
                continue
            ended(task)


__all__ = ["Cancelled", "insist"]
