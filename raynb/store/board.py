"""What each worker does at this moment, and how often it was told to stop something, without a message.

Two numbers a worker in shared memory: the task that it runs (the worker writes it), and how many
interrupts the driver has sent it (the driver writes it). A worker looks at the second one after it
has written the first: either it sees that a cancel is on its way, waits for it and does not begin,
or the cancel came after the beginning. A store of eight aligned bytes is one instruction.
"""

from __future__ import annotations

import os

from raynb.store import backing as backings
from raynb.store.memory import Mapping

SLOTS = 65_536
_SIZE = SLOTS * 2 * 8


class Board:
    """The shared page; `create` it in the driver, `attach` elsewhere. Workers whose numbers differ by
    `SLOTS` share a slot: they never live at the same time.

    Thread contract: one writer a number (the worker's main thread; the driver under its lock).
    """

    __slots__ = ("_numbers", "fd")

    def __init__(self, fd: int) -> None:
        """Maps the page behind ``fd`` and takes the descriptor over."""
        self.fd = fd
        self._numbers = Mapping(fd, _SIZE, writable=True).writable_view().cast("q")

    @classmethod
    def create(cls, backing: backings.Backing | None = None) -> Board:
        """Makes an empty board; 1 MB of address space, of which the touched pages exist."""
        return cls((backing or backings.choose()).create(_SIZE))

    @classmethod
    def attach(cls, fd: int) -> Board:
        """Opens the board that another process created. Takes the descriptor over.

        Raises:
            ValueError: the descriptor isn't a board's.
        """
        size = os.fstat(fd).st_size
        if size != _SIZE:
            raise ValueError(f"descriptor {fd} isn't a board: {size} bytes instead of {_SIZE}")
        return cls(fd)

    def begin(self, worker: int, task: int) -> None:
        """The worker begins with a task."""
        self._numbers[worker % SLOTS * 2] = task

    def running(self, worker: int) -> int:
        """Returns the task that the worker began last; 0: none."""
        return self._numbers[worker % SLOTS * 2]

    def interrupt(self, worker: int) -> None:
        """One more interrupt goes to the worker."""
        self._numbers[worker % SLOTS * 2 + 1] += 1

    def interrupts(self, worker: int) -> int:
        """Returns how many interrupts were sent to the worker."""
        return self._numbers[worker % SLOTS * 2 + 1]

    def clear(self, worker: int) -> None:
        """The worker is gone."""
        self._numbers[worker % SLOTS * 2] = self._numbers[worker % SLOTS * 2 + 1] = 0

    def close(self) -> None:
        """Closes the descriptor and unmaps. Nobody may use the board afterwards."""
        os.close(self.fd)
        self._numbers.release()
