"""An engine that only keeps rows: for the tests of the views' Python side."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from raynb.base.ref import OwnRef
from raynb.base.rows import CANCELLED, TASK_ENDED, Output, Snapshot


class FakeEngine:
    """Has the part of `DriverEngine` that the views use; what was asked for is in ``asked``."""

    def __init__(self, picture: Snapshot) -> None:
        self.picture = picture
        self.pending: list[Snapshot] = []
        self.alive = True
        self.failure = ""
        self.nonce = 1
        self.ref_log: deque[int] = deque()
        self.new_ref = OwnRef
        self.asked: list[tuple[Any, ...]] = []
        self.elsewhere: set[int] = set()  # tasks that only another process can cancel
        self.pulls = 0
        self.output: list[Output] = []
        self.on_output: list[Any] = []
        self.address = ""
        self.inspection = None
        self.scaling: Any = None
        self.cluster_info = None

    @property
    def driver(self) -> FakeEngine:
        return self

    def snapshot(self, settled: bool = False) -> Snapshot:
        return self.picture

    def changes(self, since: int) -> Snapshot:
        self.pulls += 1
        if self.pending:
            return self.pending.pop(0)
        return replace(self.picture, since=since, tasks=[], actors=[], objects=[])

    def rows(self, tasks: Any = (), actors: Any = (), objects: Any = ()) -> Snapshot:
        picture = self.picture
        return replace(
            picture,
            tasks=[row for row in picture.tasks if row.id in tasks],
            actors=[row for row in picture.actors if row.id in actors],
            objects=[row for row in picture.objects if row.id in objects],
        )

    def kinds(self, objects: Any) -> dict[int, str]:
        return {}

    def cancel_task(self, task: int, force: bool = False) -> None:
        if task in self.elsewhere:
            raise ValueError("that task was submitted by another task")
        self.asked.append(("cancel_task", task, force))

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        rows = [row for row in self.picture.tasks if row.scope == scope]
        unfinished = [row for row in rows if row.state not in TASK_ENDED]
        for row in unfinished:
            row.state = CANCELLED
        return len(unfinished), len(rows) - len(unfinished)

    def kill(self, actor: int, no_restart: bool) -> None:
        self.asked.append(("kill", actor, no_restart))

    def free(self, refs: Any) -> None:
        self.asked.append(("free", [ref._id for ref in refs]))

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        return [piece for piece in self.output if piece.task == task]

    def story(self, identity: int) -> list[tuple[float, str]]:
        return [(9.0, "submitted"), (9.1, "started")]
