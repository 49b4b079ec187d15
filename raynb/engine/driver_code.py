"""Where code outside of tasks runs: in no worker, no task and no actor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from raynb.base.engine import Context
from raynb.base.rows import Output
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec


class DriverCode:
    """Answers the questions of `Where` for the driver's own code.

    Thread contract: any thread.
    """

    def __init__(self, namespace: str, deliver: Callable[[Output], None]) -> None:
        self._namespace = namespace
        self._deliver = deliver
        self._pid = os.getpid()

    def context(self) -> Context:
        return Context(scope=current_scope(), namespace=self._namespace)

    def actor_here(self) -> ActorSpec | None:
        return None

    def own_handle(self, actor: int) -> NoReturn:
        raise TypeError("the driver's own code runs in no actor")

    def leave_actor(self) -> NoReturn:
        raise TypeError("the driver's own code runs in no actor")

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        self._deliver(Output(kind, 0, current_scope(), 0, self._pid, "", text=text, bundle=bundle))
