"""Publishes which results are stale, so that a wait for one says so once (`raynb.base.process.stale`).

Thread contract: called under the record's lock, but `say`, which takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.base.process import stale
from raynb.jupyter.output.registry import cell_name
from raynb.lineage.graph import NotebookLineage, Run

#: Tasks of one run that are published.
MAX_TASKS = 1_000


class StaleNotices:
    """Keeps which results are published as stale.

    Args:
        lineage: whose runs are stale, or not.
        why: returns why a run is stale, or "".
    """

    def __init__(self, lineage: NotebookLineage, why: Callable[[Run], str]) -> None:
        self._lineage = lineage
        self._why = why
        self._shown: set[tuple[int, str]] = set()
        self._published: Any = None  # the lineage's verdicts when they were told
        self._verdicts: dict[int, str] = {}

    def clear(self) -> None:
        """Withdraws everything: the runtime has ended."""
        self._shown.clear()
        self._verdicts = {}
        stale.known.clear()

    def forget(self) -> None:
        """Forgets runs that the record has forgotten."""
        self._shown = {shown for shown in self._shown if shown[0] in self._lineage.runs}

    def publish(self, nonce: int) -> bool:
        """Publishes what is stale now; returns whether that has changed.

        Args:
            nonce: of the runtime that the runs' tasks are of.
        """
        lineage = self._lineage
        reasons = lineage.verdicts()
        if reasons is self._published:
            return False
        texts = {number: self._why(lineage.runs[number]) for number, why in reasons.items() if why}
        verdicts = {number: text for number, text in texts.items() if text}
        self._published = lineage.verdicts()
        if verdicts == self._verdicts:
            return False
        self._verdicts = verdicts
        stale.known.clear()
        for number, text in verdicts.items():
            run = lineage.runs[number]
            if (number, text) not in self._shown:
                names = ", ".join(f"`{name}`" for name in run.outputs) or "The value"
                said = f"{names} of {cell_name(run.scope)} {'are' if len(run.outputs) > 1 else 'is'} stale: {text}."
                stale.known.update({(nonce, task): said for task in run.tasks[:MAX_TASKS]})
        return True

    def said(self, text: str) -> None:
        """Records that a sentence was shown."""
        self._shown.update((number, why) for number, why in self._verdicts.items() if text.endswith(f"stale: {why}."))
