"""Starts the embedded engine."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from raynb.base.config import Config
from raynb.base.interrupts import Deferred
from raynb.engine.local.processes.supervisor_process import Supervised

if TYPE_CHECKING:
    from raynb.engine.local.engine import LocalEngine


def launch(config: Config) -> LocalEngine:
    """Returns a started engine.

    The supervisor's interpreter comes up while this one imports the engine: a third of the time to the
    first result.
    """
    supervised = None
    try:
        with Deferred():  # a Ctrl-C must not fall between starting it and knowing it
            supervised = Supervised(secrets.token_hex(16))
        from raynb.engine.local.engine import LocalEngine

        return LocalEngine(config, supervised)
    except BaseException:
        if supervised is not None:
            supervised.stop(1.0)
        raise
