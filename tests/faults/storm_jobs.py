"""What both storms work with."""

from __future__ import annotations

import time
from typing import Any

import raynb as ray
from raynb.base import engine
from raynb.core import invariants

BIG = bytes(200_000)
SMALL_STORE = 8_000_000


def jobs(**options: Any) -> tuple[Any, Any, Any]:
    """Returns a remote function, an actor with these options, and a generator. They travel by value, being local."""

    class Actor:
        def say(self, x: Any) -> Any:
            return x

    def count(n: int) -> Any:
        yield from range(n)

    actor = (ray.remote(**options) if options else ray.remote)(Actor).remote()
    return ray.remote(lambda x: x), actor, ray.remote(num_returns="streaming")(count)


def check_runtime() -> Any:
    """Looks at everything that must be true between two events; returns the runtime."""
    runtime: Any = engine.current()
    with runtime.loop.lock:
        runtime.loop.drain_logs(time.monotonic())
        invariants.check(runtime.machine)
    return runtime
