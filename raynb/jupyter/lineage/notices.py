"""Publishes which results are stale, so that a wait for one says so once (`raynb.base.process.stale`).

Thread contract: called under the record's lock, but `say`, which takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raynb.base.process import stale
from raynb.jupyter.output.registry import cell_name

if TYPE_CHECKING:
    from raynb.jupyter.lineage.record import Record

#: Tasks of one run that are published.
MAX_TASKS = 1_000


class StaleNotices:
    """What is published.

    Args:
        record: whose runs are stale, or not.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._told: set[tuple[int, str]] = set()
        self._published: Any = None  # the lineage's verdicts when they were told
        self._verdicts: dict[int, str] = {}

    def clear(self) -> None:
        """Withdraws everything: the runtime has ended."""
        self._told.clear()
        self._verdicts = {}
        stale.known.clear()

    def forget(self) -> None:
        """Forgets runs that the record has forgotten."""
        self._told = {told for told in self._told if told[0] in self.record.lineage.runs}

    def publish(self, nonce: int) -> bool:
        """Publishes what is stale now; returns whether that has changed.

        Args:
            nonce: of the runtime that the runs' tasks are of.
        """
        lineage = self.record.lineage
        reasons = lineage.verdicts()
        if reasons is self._published:
            return False
        texts = {number: self.record.why_run(lineage.runs[number]) for number, why in reasons.items() if why}
        verdicts = {number: text for number, text in texts.items() if text}
        self._published = lineage.verdicts()
        if verdicts == self._verdicts:
            return False
        self._verdicts = verdicts
        stale.known.clear()
        for number, text in verdicts.items():
            run = lineage.runs[number]
            if (number, text) not in self._told:
                names = ", ".join(f"`{name}`" for name in run.outputs) or "The value"
                said = f"{names} of {cell_name(run.scope)} {'are' if len(run.outputs) > 1 else 'is'} stale: {text}."
                stale.known.update({(nonce, task): said for task in run.tasks[:MAX_TASKS]})
        return True

    def said(self, text: str) -> None:
        """Records that a sentence was shown."""
        self._told.update((number, why) for number, why in self._verdicts.items() if text.endswith(f"stale: {why}."))
