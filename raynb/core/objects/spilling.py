"""Chooses the objects that go to disk when the store is full: the least recently used that nobody reads."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from raynb.core.vocabulary.records import Obj
from raynb.core.vocabulary.transitions import O_READY

if TYPE_CHECKING:
    from raynb.core.machine import Machine


def candidates(m: Machine, need: int) -> list[Obj]:
    """Returns objects that free at least ``need`` bytes together, the longest unused first.

    Empty when even all of them would not be enough for a single byte: everything is being read.
    """
    idle = [
        obj for obj in m.objects.table.values()
        if is_shared(obj) and obj.state == O_READY
        and not obj.views and not _read_by_others(obj)
    ]  # fmt: skip
    idle.sort(key=lambda obj: obj.used)
    chosen: list[Obj] = []
    freed = 0
    for obj in idle:
        if freed >= need:
            break
        chosen.append(obj)
        freed += obj.size
    return chosen


def _read_by_others(obj: Obj) -> bool:
    # A worker that was lent the object may have views of it; the maker of a put holds a ref, which
    # is counted as a lend too, so its puts are spilled only when it has let go.
    return bool(obj.lends)


def full(m: Machine, size: int, used: int, limit: int, why: str, names: Mapping[int, Sequence[str]]) -> str:
    """Returns the text of an error: sizes, who holds them, what to do.

    Args:
        size: bytes that were to be stored.
        used: bytes of all arenas that are taken.
        limit: bytes that may be.
        why: what the disk said.
        names: object id → what the user calls it.
    """
    read = sum(o.size for o in m.objects.table.values() if is_shared(o) and (o.views or o.lends))
    return (
        f"An object of {_mb(size)} fits neither into the object store nor on the spill disk.\n"
        f"The store: {_mb(used)} of {_mb(limit)} used, {_mb(read)} of it being read and so not to be spilled; "
        f"{_mb(m.objects.spilled_bytes)} are on disk.\n"
        f"The disk: {why}\n"
        f"The largest objects:\n{holders(m, names)}\n"
        "Delete refs and arrays that you no longer need (del, raynb.free), make room on the disk, or give more: "
        "raynb.init(object_store_memory=..., object_spilling_directory=...)."
    )


def is_shared(obj: Obj) -> bool:
    """Returns whether the object lies in shared memory."""
    return type(obj.value) is tuple and obj.value[0] == "shm"


def _mb(n: int) -> str:
    return f"{n / 1e6:.1f} MB"


def holders(m: Machine, names: Mapping[int, Sequence[str]], most: int = 5) -> str:
    """Returns a text that names the largest holders of bytes."""
    largest = heapq.nlargest(most, filter(is_shared, m.objects.table.values()), key=lambda o: o.size)
    lines = []
    for obj in largest:
        why = []
        if obj.refs:
            called = names.get(obj.id)
            why.append(", ".join(called[:3]) if called else f"{obj.refs} refs in the driver")
        if obj.views:
            why.append(f"{obj.views} arrays in the driver")
        if obj.lends:
            why.append(", ".join(_worker(m, number) for number in sorted(obj.lends)))
        if obj.args:
            why.append(f"{obj.args} pending tasks")
        if obj.containers:
            why.append(f"{obj.containers} other objects")
        lines.append(f"  {_mb(obj.size)} {m.spelling.object(obj.id)} held by {', '.join(why) or 'nobody'}")
    return "\n".join(lines) or "  (none)"


def _worker(m: Machine, number: int) -> str:
    worker = m.pool.table.get(number)
    if worker is None:
        return f"worker {number}"
    if worker.actor:
        return f"actor {m.actors.table[worker.actor].spec.class_name} (pid {worker.pid})"
    running = f" running {worker.queue[0].spec.options.name}" if worker.queue else ""
    return f"worker pid {worker.pid}{running}"
