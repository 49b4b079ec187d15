"""Ids are plain ints inside and Ray-shaped hex strings outside.

An id made anywhere is unique without asking anybody: the maker's process index in the
high bits, a counter below. An object's id is its task's id with the return index in the
low bits, so the maker of an object is known from its name alone::

    task id    = process index << 40 | actor's method << 39 | counter
    object id  = task id << 32 | index        index 0: put, 1..: returns
"""

from __future__ import annotations

import itertools

INDEX_BITS = 32
COUNTER_BITS = 40
ACTOR_BIT = 1 << 39  # of a task id: it is a call of an actor's method
INDEX_MASK = (1 << INDEX_BITS) - 1
MAX_RETURNS = INDEX_MASK

TASK_HEX = 48
OBJECT_HEX = 56
ACTOR_HEX = 32
JOB_HEX = 8
NODE_HEX = 56
JOB = "01000000"  # a runtime is one job


#: The process indices of this process's drivers: 0, and random ones on a cluster, where many drivers
#: make ids. Views leave them out of the names that people read.
homes = {0}


class HexId:
    """An id with Ray's methods: ``.hex()``, ``.binary()``, ``.is_nil()``."""

    __slots__ = ("_hex",)

    def __init__(self, text: str) -> None:
        self._hex = text

    def hex(self) -> str:
        """Returns the id as hex digits."""
        return self._hex

    def binary(self) -> bytes:
        """Returns the id as bytes."""
        return bytes.fromhex(self._hex)

    def is_nil(self) -> bool:
        """Returns whether the id names nothing."""
        return not self._hex.strip("f")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HexId) and other._hex == self._hex

    def __hash__(self) -> int:
        return hash(self._hex)

    def __repr__(self) -> str:
        return f"ID({self._hex})"


class IdSource:
    """Makes the ids of one process.

    Thread contract: from any thread.
    """

    __slots__ = ("_count",)

    def __init__(self, process: int) -> None:
        self._count = itertools.count((process << COUNTER_BITS) + 1)

    def next_task(self, actor: int = 0) -> int:
        """Returns the id of a new task; ``actor``: the actor whose method it calls, 0 for none."""
        return next(self._count) | ACTOR_BIT if actor else next(self._count)

    def next_put(self) -> int:
        """Returns the id of a new put's object."""
        return next(self._count) << INDEX_BITS


def object_id(task_id: int, index: int) -> int:
    """Returns the id of a task's ``index``-th return (from 1)."""
    return task_id << INDEX_BITS | index


def task_of(object_id: int) -> int:
    """Returns the id of the task (or put) that made the object."""
    return object_id >> INDEX_BITS


def index_of(object_id: int) -> int:
    """Returns the return index of the object, 0 for a put."""
    return object_id & INDEX_MASK


def process_of(task_id: int) -> int:
    """Returns the index of the process that made the task id."""
    return task_id >> COUNTER_BITS


def to_hex(number: int, nonce: int, width: int) -> str:
    """Spells an id in Ray's width; ``nonce`` (32 bits) is the runtime's."""
    return f"{nonce & 0xFFFFFFFF:08x}{number:0{width - 8}x}"[-width:]


def from_hex(text: str) -> tuple[int, int]:
    """Returns (nonce, number) of an id spelled by `to_hex`."""
    return int(text[:8], 16), int(text[8:], 16)
