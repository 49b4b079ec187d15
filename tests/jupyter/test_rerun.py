"""``%raynb rerun`` without a kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raynb.jupyter.lineage import rerun
from raynb.lineage.graph import CELL, Run


def test_an_interrupt_before_a_cell_is_submitted_leaves_nothing_running_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scope: int) -> frozenset[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(rerun, "_open_tasks", interrupted)
    notebook: Any = SimpleNamespace(
        again=None, scope=9,
        lineage=SimpleNamespace(running_again=None),
        config=SimpleNamespace(interrupt="leave"),
        cells=SimpleNamespace(running=lambda: SimpleNamespace(batch=True, scope=4)),
    )  # fmt: skip
    run = Run(1, 4, CELL, "cell", "y = 1", recipe=SimpleNamespace(line="", body="y = 1"))
    plan = rerun.RerunPlan([run], {1: set()})
    with pytest.raises(KeyboardInterrupt):
        rerun.run_again(notebook, plan, lambda line, body: None)
    assert notebook.again is None
    assert notebook.lineage.running_again is None
