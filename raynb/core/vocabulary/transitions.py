"""The transition tables: which state may follow which. The machine raises `ImpossibleState` on any other transition.

The diagrams in docs/states.md are generated from these tables.
"""

from __future__ import annotations

from raynb.base.rows import (
    ACTOR,
    ALIVE,
    BLOCKED,
    BUSY,
    CANCELLED,
    DEAD,
    DEPENDENCIES_UNREADY,
    FAILED,
    FINISHED,
    IDLE,
    PENDING_ARGS_AVAIL,
    PENDING_CREATION,
    PENDING_NODE_ASSIGNMENT,
    RESTARTING,
    RUNNING,
    STARTING,
    SUBMITTED_TO_WORKER,
)


class ImpossibleState(RuntimeError):
    """A transition that no table allows: a bug of raynb. The message holds the story of the id."""


#: A task: waits for its arguments, is queued, is sent to a worker (perhaps behind others), runs.
TASK: dict[str, frozenset[str]] = {
    # straight to a worker: an actor's call whose arguments are there
    PENDING_ARGS_AVAIL: frozenset((PENDING_NODE_ASSIGNMENT, SUBMITTED_TO_WORKER, RUNNING, FAILED, CANCELLED)),
    PENDING_NODE_ASSIGNMENT: frozenset((SUBMITTED_TO_WORKER, RUNNING, FAILED, CANCELLED)),
    # back to queued: handed back unstarted, or its worker died before it began
    SUBMITTED_TO_WORKER: frozenset((RUNNING, PENDING_NODE_ASSIGNMENT, FINISHED, FAILED, CANCELLED)),
    # back to queued: a retry; back to sent: an actor's call that waits behind others
    RUNNING: frozenset((FINISHED, FAILED, CANCELLED, PENDING_NODE_ASSIGNMENT)),
    # run again for a lost object
    FINISHED: frozenset((PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT)),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

ACTORS: dict[str, frozenset[str]] = {
    DEPENDENCIES_UNREADY: frozenset((PENDING_CREATION, DEAD)),
    PENDING_CREATION: frozenset((ALIVE, RESTARTING, DEAD)),
    ALIVE: frozenset((RESTARTING, DEAD)),
    RESTARTING: frozenset((ALIVE, RESTARTING, DEAD)),
    DEAD: frozenset(),
}

WORKER: dict[str, frozenset[str]] = {
    STARTING: frozenset((IDLE, DEAD)),
    IDLE: frozenset((BUSY, ACTOR, DEAD)),
    BUSY: frozenset((IDLE, BLOCKED, ACTOR, DEAD)),
    BLOCKED: frozenset((BUSY, IDLE, DEAD)),
    ACTOR: frozenset((DEAD, IDLE)),
    DEAD: frozenset(),
}

# An object's states are its places: pending until made, then somewhere, perhaps lost, freed at last.
O_PENDING = "pending"
O_READY = "ready"
O_LOST = "lost"
O_FREED = "freed"

OBJECT: dict[str, frozenset[str]] = {
    O_PENDING: frozenset((O_READY, O_FREED)),
    O_READY: frozenset((O_READY, O_LOST, O_FREED)),  # ready to ready: spilled, restored
    O_LOST: frozenset((O_PENDING, O_READY, O_FREED)),
    O_FREED: frozenset(),
}

TABLES = {"task": TASK, "actor": ACTORS, "worker": WORKER, "object": OBJECT}
