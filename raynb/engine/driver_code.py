"""The context of code outside of tasks: no worker, no task and no actor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from raynb.base.engine import Context
from raynb.base.rows import Output
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec


class DriverCode:
    """Implements `Where` for the driver's own code.

    Thread contract: any thread.
    """

    def __init__(self, namespace: str, deliver: Callable[[Output], None]) -> None:
        self._namespace = namespace
        self._deliver = deliver
        self._pid = os.getpid()

    def context(self) -> Context:
        """Returns the running cell and the namespace."""
        return Context(scope=current_scope(), namespace=self._namespace)

    def actor_here(self) -> ActorSpec | None:
        """Returns None: the driver's own code runs in no actor."""
        return None

    def own_handle(self, actor: int) -> NoReturn:
        """Raises `TypeError`: the driver's own code runs in no actor."""
        raise TypeError("the driver's own code runs in no actor")

    def leave_actor(self) -> NoReturn:
        """Raises `TypeError`: the driver's own code runs in no actor."""
        raise TypeError("the driver's own code runs in no actor")

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Delivers text or a display to the running cell."""
        self._deliver(Output(kind, 0, current_scope(), 0, self._pid, "", text=text, bundle=bundle))
