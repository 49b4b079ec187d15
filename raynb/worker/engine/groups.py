"""Placement groups as tasks and actors use them: the driver keeps the groups, workers ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raynb.worker import state
from raynb.worker.engine.requests import Requests

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess


class Groups:
    """The part of `WorkerEngine` about placement groups. Thread contract: any thread."""

    worker: WorkerProcess
    requests: Requests

    @property
    def capture(self) -> int:
        if self.worker.actor is not None:
            return self.worker.actor.capture
        running = state.current()
        return running.options.capture if running is not None else 0

    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        return self.requests.call("reserve_group", bundles)  # type: ignore[no-any-return]

    def group_ready(self, group: int, timeout: float | None) -> bool:
        # Never waits: who wants to wait asks again.
        return self.requests.call("group_ready", group, 0)  # type: ignore[no-any-return]

    def return_group(self, group: int) -> None:
        self.requests.call("return_group", group)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        return self.requests.call("groups_table")  # type: ignore[no-any-return]
