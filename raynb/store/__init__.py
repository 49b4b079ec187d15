"""Shared memory, allocation, pins, read-only views, and the disk tier.

Start reading at `store.Store`, the facade that every process holds. Below it, from the bottom:
`memory` (the operating system's calls), `allocator` (which range; pure), `backing` (where an
arena's pages live), `arena` (one process's memory, and a reader's mapping of it), `ledger` (how
much all processes have taken), `disk` (spilled objects in files). Beside it `board` (who runs what)
and `unsent` (the last words of workers).
"""

from __future__ import annotations

from raynb.store.disk import DiskTier, GuestDiskTier
from raynb.store.pages.board import Board
from raynb.store.pages.ledger import Ledger, Slots
from raynb.store.pages.unsent import Unsent, UnsentRows
from raynb.store.store import NoRoom, Store, StoreStats, UnknownArena

__all__ = [
    "Board", "DiskTier", "GuestDiskTier", "Ledger", "NoRoom", "Slots", "Store", "StoreStats", "UnknownArena",
    "Unsent", "UnsentRows",
]  # fmt: skip
