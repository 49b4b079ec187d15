"""The shared memory that every worker has in common with the driver: one row for each worker on every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raynb.store import Board, Ledger, Slots, UnsentRows


@dataclass(frozen=True, slots=True)
class WorkerPages:
    """Thread contract: under the engine's lock."""

    ledger: Ledger  # bytes in the arenas
    board: Board  # which task runs
    unsent: UnsentRows  # what was done and not sent
    slots: Slots  # which rows are free

    @classmethod
    def create(cls, undo: list[Callable[[], None]]) -> WorkerPages:
        """Makes the pages; appends to ``undo`` what undoes each step."""
        ledger = Ledger.create()
        undo.append(ledger.close)
        board = Board.create()
        undo.append(board.close)
        unsent = UnsentRows()
        undo.append(unsent.close)
        return cls(ledger, board, unsent, Slots())

    def close(self) -> None:
        """Unmaps the pages."""
        for page in (self.ledger, self.board, self.unsent):
            page.close()

    def clear(self, row: int) -> None:
        """Forgets what the former owner of a row has left."""
        self.board.clear(row)
        self.unsent.clear(row)

    def fds(self) -> tuple[int, int, int]:
        """Returns the descriptors that a new worker gets."""
        return self.ledger.fd, self.board.fd, self.unsent.fd
