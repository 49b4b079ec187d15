"""What the machine has and what is taken, in whole ten-thousandths so that fractions add up."""

from __future__ import annotations

from raynb.base.config import RESOURCE_UNIT
from raynb.base.spec import CPU

Amounts = tuple[tuple[str, int], ...]


def to_units(resources: dict[str, float]) -> Amounts:
    """Returns resources in ten-thousandths, sorted by name, zeros left out."""
    return tuple(sorted((k, round(v * RESOURCE_UNIT)) for k, v in resources.items() if v))


def to_floats(amounts: dict[str, int] | Amounts) -> dict[str, float]:
    items = amounts.items() if isinstance(amounts, dict) else amounts
    return {k: v / RESOURCE_UNIT for k, v in items}


class Resources:
    def __init__(self, total: dict[str, int]) -> None:
        self.total = dict(total)
        self.available = dict(total)

    def fits(self, need: Amounts) -> bool:
        available = self.available
        for name, amount in need:
            if available.get(name, 0) < amount:
                return False
        return True

    def feasible(self, need: Amounts) -> bool:
        """Returns whether the whole machine would be enough."""
        return all(self.total.get(name, 0) >= amount for name, amount in need)

    def take(self, need: Amounts) -> None:
        # May go below zero: a task that comes back from a blocking get runs on at once.
        available = self.available
        for name, amount in need:
            available[name] = available.get(name, 0) - amount

    def give(self, need: Amounts) -> None:
        available = self.available
        for name, amount in need:
            available[name] = available.get(name, 0) + amount

    def slots(self, need: Amounts) -> int:
        """Returns how many tasks of this need fit now (a large number when it needs nothing)."""
        return min((self.available.get(n, 0) // a for n, a in need), default=1 << 30)

    def add(self, extra: dict[str, int]) -> None:
        for name, amount in extra.items():
            self.total[name] = self.total.get(name, 0) + amount
            self.available[name] = self.available.get(name, 0) + amount

    def remove(self, extra: dict[str, int]) -> None:
        for name, amount in extra.items():
            self.total[name] -= amount
            self.available[name] -= amount
            if not self.total[name]:
                del self.total[name], self.available[name]


def cpu_part(amounts: Amounts) -> Amounts:
    """Returns what a blocked task gives back: its CPUs (it keeps the rest, as in Ray)."""
    return tuple(a for a in amounts if a[0] == CPU or a[0].startswith("CPU_group_"))
