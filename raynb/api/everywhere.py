"""Functions that run on every worker: imports, seeds, settings. Not in Ray; made for ``%%everywhere``."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable
from typing import Any

from raynb.api.remote_function import RemoteFunction
from raynb.base.engine import current
from raynb.base.interfaces import DriverEngine
from raynb.base.process import surroundings
from raynb.serde import pickling


def run_on_workers(
    function: RemoteFunction, *args: Any, later: bool = True, now: bool = True, only: int = 0,
    engine: DriverEngine | None = None, besides: Iterable[concurrent.futures.Future[object]] | None = None,
) -> list[concurrent.futures.Future[Any]]:
    """Runs a remote function once on every worker that isn't an actor's.

    Args:
        function: the remote function.
        args: its arguments; values, no refs.
        later: run it first on every worker that starts from now on, too.
        now: run it on the workers that are there.
        only: run it on the worker of this number alone.
        engine: whose workers are meant; default: the current engine's, which is started if there is none. What
            prepares the workers of one runtime must name it: it may have ended meanwhile, and another one that
            started for this would have none of the settings that were asked for.
        besides: what an earlier run of the same returned. With ``later``, the workers that have come since run it,
            too; nobody waits for them.

    Returns:
        a future for each worker that runs it now, with what the function returns there.

    Raises:
        TypeError: an argument cannot be pickled.
        NotImplementedError: the engine (a Ray cluster) can't.
        RuntimeGoneError: ``engine`` has been shut down.
    """
    engine = engine if engine is not None else current().driver
    if engine is None:
        raise NotImplementedError("Code inside a task cannot run code on every worker; call it in the driver.")
    options = function._about.prepare(engine, function._given, surroundings.in_force(engine))
    packed = pickling.pack_args(args, {}, function._about.name)
    if packed.deps:
        raise TypeError("run_on_workers takes values; get() the refs first.")
    return engine.run_on_workers(options, packed, later, now, only, besides)
