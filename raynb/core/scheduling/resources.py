"""Counts the machine's resources and what is taken of them, in whole ten-thousandths so that fractions add up."""

from __future__ import annotations

from raynb.base.config import RESOURCE_UNIT
from raynb.base.spec import CPU, GPU

Amounts = tuple[tuple[str, int], ...]


def to_floats(amounts: dict[str, int] | Amounts) -> dict[str, float]:
    """Returns amounts, given in ten-thousandths, as the numbers that users write."""
    items = amounts.items() if isinstance(amounts, dict) else amounts
    return {k: v / RESOURCE_UNIT for k, v in items}


class Resources:
    """Total and available resources of the machine, in ten-thousandths. Tasks acquire and release amounts of them."""

    def __init__(self, total: dict[str, int]) -> None:
        self.total = dict(total)
        self.available = dict(total)
        # What is left of each GPU, so that tasks get their GPUs by number.
        self.gpus = [RESOURCE_UNIT] * (total.get(GPU, 0) // RESOURCE_UNIT)

    def take_gpus(self, need: Amounts) -> tuple[int, ...]:
        """Returns the numbers of the GPUs that a task of this need gets: whole ones, or a share of one."""
        amount = gpu_amount(need)
        if not amount:
            return ()
        if amount < RESOURCE_UNIT:
            # the fullest that still fits, so that whole ones stay whole
            fitting = [(left, i) for i, left in enumerate(self.gpus) if left >= amount]
            chosen: tuple[int, ...] = (min(fitting)[1],) if fitting else ()
        else:
            whole = [i for i, left in enumerate(self.gpus) if left == RESOURCE_UNIT]
            chosen = tuple(whole[: amount // RESOURCE_UNIT])
        for number in chosen:
            self.gpus[number] -= min(amount, RESOURCE_UNIT)
        return chosen

    def give_gpus(self, need: Amounts, numbers: tuple[int, ...]) -> None:
        """Releases GPUs by their numbers."""
        for number in numbers:
            self.gpus[number] += min(gpu_amount(need), RESOURCE_UNIT)

    def fits(self, need: Amounts) -> bool:
        """Returns whether this need is free now."""
        available = self.available
        for name, amount in need:
            if available.get(name, 0) < amount:
                return False
        return not self.gpus or self._fits_gpus(gpu_amount(need))

    def _fits_gpus(self, amount: int) -> bool:
        """Returns whether single GPUs have enough left: halves of two GPUs make no whole one."""
        if amount < RESOURCE_UNIT:
            return not amount or max(self.gpus) >= amount
        return self.gpus.count(RESOURCE_UNIT) >= amount // RESOURCE_UNIT

    def feasible(self, need: Amounts) -> bool:
        """Returns whether the whole machine would be enough for the need."""
        total = self.total
        for name, amount in need:  # noqa: SIM110 - `all` takes 0.2 µs longer, see `slots`
            if total.get(name, 0) < amount:
                return False
        return True

    def take(self, need: Amounts) -> None:
        """Acquires a need."""
        # May go below zero: a task that comes back from a blocking get runs on at once.
        available = self.available
        for name, amount in need:
            available[name] = available.get(name, 0) - amount

    def give(self, need: Amounts) -> None:
        """Releases a need."""
        available = self.available
        for name, amount in need:
            available[name] = available.get(name, 0) + amount

    def slots(self, need: Amounts) -> int:
        """Returns how many tasks of this need fit now (a large number when it needs nothing)."""
        if self.gpus and not self._fits_gpus(gpu_amount(need)):
            return 0
        most = 1 << 30  # a loop, not `min`: asked twice for each end of a task that a worker waits for
        available = self.available
        for name, amount in need:
            count = available.get(name, 0) // amount
            if count < most:
                most = count
        return most

    def add(self, extra: dict[str, int]) -> None:
        """Adds resources to the machine's total (a placement group's own names)."""
        for name, amount in extra.items():
            self.total[name] = self.total.get(name, 0) + amount
            self.available[name] = self.available.get(name, 0) + amount

    def remove(self, extra: dict[str, int]) -> None:
        """Removes resources from the machine's total."""
        for name, amount in extra.items():
            self.total[name] -= amount
            self.available[name] -= amount
            if not self.total[name]:
                del self.total[name], self.available[name]


def gpu_amount(need: Amounts) -> int:
    """Returns the GPUs in a need, also those from a placement group's bundle."""
    return max((a for n, a in need if n == GPU or n.startswith("GPU_group_")), default=0)


def cpu_part(amounts: Amounts) -> Amounts:
    """Returns what a blocked task gives back: its CPUs (it keeps the rest, as in Ray)."""
    return tuple(a for a in amounts if a[0] == CPU or a[0].startswith("CPU_group_"))
