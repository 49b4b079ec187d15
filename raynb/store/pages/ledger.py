"""The memory that each process has allocated, in shared memory.

A tiny shared memory holds two numbers for each process: bytes it has allocated, and bytes of pages
that it keeps. Each process writes only its own slot (the driver also those of dead workers), and
everybody reads the sum. A store of eight aligned bytes is one instruction, so no number is torn.

Layout: one flag byte for each block of slots that was ever used, then the slots.
"""

from __future__ import annotations

import heapq

from raynb.store.pages.page import Page

SLOTS = 65_536
_BLOCK_SLOTS = 64  # slots a flag stands for
_FLAGS = SLOTS // _BLOCK_SLOTS


class Slots:
    """Assigns rows of the ledger.

    Thread contract: none; under the engine's lock.
    """

    __slots__ = ("_free", "_next")

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self._free: list[int] = []

    def take(self) -> int:
        """Returns a slot that nobody has.

        Raises:
            ValueError: all are taken, by processes or by what dead ones left.
        """
        if self._free:
            return heapq.heappop(self._free)
        if self._next >= SLOTS:
            raise ValueError(f"all {SLOTS} slots of the ledger are taken: too many processes in one runtime")
        self._next += 1
        return self._next - 1

    def give(self, slot: int) -> None:
        """Releases a slot: its process is dead, nothing of it is left, and its numbers are zero."""
        heapq.heappush(self._free, slot)


class Ledger(Page):
    """The shared counts of allocated memory; `create` it in the driver, `attach` elsewhere.

    Thread contract: one writer per slot (ensured by the store's lock); anybody reads.
    """

    __slots__ = ("_flags", "_numbers")

    NAME = "ledger"
    SIZE = _FLAGS + SLOTS * 2 * 8

    def _lay_out(self, view: memoryview) -> None:
        self._flags = view[:_FLAGS]
        self._numbers = view[_FLAGS:].cast("q")

    def _release(self) -> None:
        self._numbers.release()
        self._flags.release()

    def set(self, slot: int, n: int, resident: int = 0) -> None:
        """Writes a process's numbers: bytes allocated, and bytes of pages it has made exist."""
        if not 0 <= slot < SLOTS:
            raise ValueError(f"slot {slot} is not in 0..{SLOTS - 1}: too many processes in one runtime")
        if n or resident:
            self._flags[slot // _BLOCK_SLOTS] = 1  # before the numbers, so that nobody overlooks them
        self._numbers[2 * slot] = n
        self._numbers[2 * slot + 1] = resident

    def get(self, slot: int) -> int:
        """Returns the bytes that one process has allocated."""
        return self._numbers[2 * slot]

    def resident_of(self, slot: int) -> int:
        """Returns the bytes of pages that one process keeps."""
        return self._numbers[2 * slot + 1]

    def total(self) -> int:
        """Returns the bytes allocated by all processes."""
        return self._sum(0)

    def resident(self) -> int:
        """Returns the bytes of pages kept by all processes: used ones and warm, unused ones."""
        return self._sum(1)

    def _sum(self, column: int) -> int:
        flags = bytes(self._flags)
        total = 0
        block = flags.find(1)
        while block >= 0:
            start = block * 2 * _BLOCK_SLOTS
            total += sum(self._numbers[start + column : start + 2 * _BLOCK_SLOTS : 2])
            block = flags.find(1, block + 1)
        return total
