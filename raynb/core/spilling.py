"""Which objects go to disk when the store is full: the least recently used that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.core.records import Obj
from raynb.core.tables import O_READY

if TYPE_CHECKING:
    from raynb.core.machine import Machine


def candidates(m: Machine, need: int) -> list[Obj]:
    """Returns objects that free at least ``need`` bytes together, the longest unused first.

    Empty when even all of them would not be enough for a single byte: everything is being read.
    """
    idle = [
        obj for obj in m.objects.table.values()
        if type(obj.value) is tuple and obj.value[0] == "shm" and obj.state == O_READY
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


def holders(m: Machine, most: int = 5) -> str:
    """Says who holds the most bytes: for `ObjectStoreFullError`."""
    largest = sorted(
        (o for o in m.objects.table.values() if type(o.value) is tuple and o.value[0] == "shm"),
        key=lambda o: -o.size,
    )[:most]  # fmt: skip
    lines = []
    for obj in largest:
        why = []
        if obj.refs:
            why.append(f"{obj.refs} refs in the driver")
        if obj.views:
            why.append(f"{obj.views} arrays in the driver")
        if obj.lends:
            why.append(f"workers {sorted(obj.lends)}")
        if obj.args:
            why.append(f"{obj.args} pending tasks")
        if obj.containers:
            why.append(f"{obj.containers} other objects")
        lines.append(f"  {obj.size / 1e6:.1f} MB {m.hex_object(obj.id)} held by {', '.join(why) or 'nobody'}")
    return "\n".join(lines)
