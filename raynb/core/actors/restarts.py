"""Decides whether an actor whose process ended is restarted, and what becomes of the calls that were in it.

Pure decisions: the machine applies them when a worker dies, `InlineEngine` when an actor there asks to end.
"""

from __future__ import annotations

#: What becomes of a call that was in the process when it ended, if the actor is restarted.
CANCEL, AGAIN, UNAVAILABLE = "cancel", "again", "unavailable"


def are_left(max_restarts: int, restarts: int) -> bool:
    """Returns whether an actor may be restarted once more; ``max_restarts`` -1: without end."""
    return max_restarts < 0 or restarts < max_restarts


def fate_of_call(retries: int, cancelled: bool) -> str:
    """Returns `CANCEL`, `AGAIN` or `UNAVAILABLE` for a call that was in the process of an actor which restarts.

    Args:
        retries: how many the call has left; -1: without end.
        cancelled: somebody has cancelled it.
    """
    if cancelled:
        return CANCEL
    return AGAIN if retries else UNAVAILABLE
