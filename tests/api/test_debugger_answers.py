"""What a debugger's command comes to when its answer takes long."""

from __future__ import annotations

import concurrent.futures
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.api.terminal import breakpoints
from raynb.base.rows import Breakpoint

POINT = Breakpoint(1, 1, 7, 1, "task", "file.py", 3, "task", 0.0)


class Engine:
    """One whose worker answers after so many looks at the task's row; ``rows``: what is known of it meanwhile."""

    def __init__(self, looks: int, rows: list[Any]) -> None:
        self.looks, self.known = looks, rows
        self.answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.inspection = SimpleNamespace(ask=lambda *_: self.answer)

    def rows(self, tasks: list[int]) -> Any:
        self.looks -= 1
        if not self.looks:
            self.answer.set_result(("text", "(Pdb) "))
        return SimpleNamespace(tasks=self.known)


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ([], ("text", "(Pdb) ")),  # what the cluster reports of the task is on its way
        ([SimpleNamespace(ended=0.0)], ("text", "(Pdb) ")),
        ([SimpleNamespace(ended=5.0)], ("", None)),
    ],
)
def test_a_slow_command_is_waited_for_unless_its_task_has_ended(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any], answer: Any
) -> None:
    monkeypatch.setattr(breakpoints, "LOOK_SECONDS", 0)
    engine: Any = Engine(3, rows)
    assert breakpoints.ask(engine, POINT, "line", "!slow()") == answer
