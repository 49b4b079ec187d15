"""raynb in code that plain Ray runs on a worker: a trial of Tune, a function of Ray Data's, a task of `ray.remote`."""

from __future__ import annotations

from raynb.base.interfaces import Engine
from raynb.engine.cluster import bridge, rays

#: (what the worker runs, the engine that was found for it): the next of Ray's tasks asks again.
_found: tuple[str, Engine] | None = None


def announce(nonce: int) -> None:
    """Has code that plain Ray runs for this job find the runtime with this nonce."""
    bridge.keep(_key(), str(nonce).encode())


def withdraw(nonce: int) -> None:
    """Undoes `announce`, unless a later runtime has come in its place. Another one of this program's takes it."""
    if bridge.kept(_key()) != str(nonce).encode():
        return
    others = [other for other in bridge.drivers if other != nonce]
    if others:
        announce(others[-1])
    else:
        bridge.forget(_key())


def engine_here() -> Engine | None:
    """Returns the engine that submits to the cluster from here, for the runtime of this job's program; None if it has
    none, as where a program uses plain Ray only."""
    global _found
    task = str(rays.context().get_task_id() or "")
    if _found is not None and task and _found[0] == task:
        return _found[1]
    told = bridge.kept(_key())
    if told is None:
        return None
    from raynb.engine.cluster.on_worker.workers import engine_by_nonce  # the driver needs none of it

    engine: Engine = engine_by_nonce(int(told))
    _found = task, engine
    return engine


def _key() -> str:
    return f"job:{rays.context().get_job_id()}"
