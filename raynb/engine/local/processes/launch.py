"""Starts the embedded engine."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from raynb.base.config import Config
from raynb.base.interrupts import Deferred
from raynb.base.process.limits import remedy
from raynb.engine import standard_streams
from raynb.engine.local.processes.supervisor_process import Supervised
from raynb.exceptions import RayError, RaySystemError

if TYPE_CHECKING:
    from raynb.engine.local.engine import LocalEngine


def launch(config: Config) -> LocalEngine:
    """Returns a started engine.

    The supervisor's interpreter comes up while this one imports the engine: a third of the time to the
    first result.

    Raises:
        RaySystemError: the system refused memory, files or a process; the text says what to do.
        OutOfDiskError: there is no folder to spill to.
    """
    supervised = None
    try:
        standard_streams.fill()
        with Deferred():  # a Ctrl-C must not fall between starting it and knowing it
            supervised = Supervised(secrets.token_hex(16))
        from raynb.engine.local.engine import LocalEngine

        return LocalEngine(config, supervised)
    except BaseException as error:
        if supervised is not None:
            supervised.stop(1.0)
        if isinstance(error, OSError) and not isinstance(error, RayError):
            raise RaySystemError(f"the runtime cannot be started: {remedy(error)}") from error
        raise
