"""The task that each worker runs, and how many interrupts it was sent, in shared memory.

Two numbers a worker in shared memory: the task that it runs (the worker writes it), and how many
interrupts the driver has sent it (the driver writes it). A worker looks at the second one after it
has written the first: either it sees that a cancel is on its way, waits for it and does not begin,
or the cancel came after the beginning. A store of eight aligned bytes is one instruction.
"""

from __future__ import annotations

from raynb.store.pages.ledger import SLOTS
from raynb.store.pages.page import Page


class Board(Page):
    """The shared page; `create` it in the driver, `attach` elsewhere. A worker is known by its row, the
    slot that it has in the ledger: worker numbers have no end, rows are used again.

    Thread contract: one writer a number (the worker's main thread; the driver under its lock).
    """

    __slots__ = ("_numbers",)

    NAME = "board"
    SIZE = SLOTS * 2 * 8

    def _lay_out(self, view: memoryview) -> None:
        self._numbers = view.cast("q")

    def _release(self) -> None:
        self._numbers.release()

    def begin(self, row: int, task: int) -> None:
        """Sets the task that the worker begins."""
        self._numbers[2 * row] = task

    def running(self, row: int) -> int:
        """Returns the task that the worker began last; 0: none."""
        return self._numbers[2 * row]

    def interrupt(self, row: int) -> None:
        """Counts one more interrupt of the worker."""
        self._numbers[2 * row + 1] += 1

    def interrupts(self, row: int) -> int:
        """Returns how many interrupts were sent to the worker."""
        return self._numbers[2 * row + 1]

    def clear(self, row: int) -> None:
        """Clears the row of a worker that is gone, for the next one."""
        self._numbers[2 * row] = self._numbers[2 * row + 1] = 0
