"""Chooses the range of an arena that an object gets. Pure: numbers in, numbers out.

Best fit with eager coalescing. A page that was touched once is *warm* until it is trimmed; writing
to warm pages is about ten times as fast as to *cold* ones, which the kernel has to find and clear
first. So fully warm ranges are tried first, and an object is put at the low end of its range: the
arena's never-touched tail is its largest range, which best fit uses last.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from raynb.base.buffers import ALIGN
from raynb.store.memory import PAGE

_SHIFT = 48  # a free range as one int, size above start: sorts by size, compares fast
_MASK = (1 << _SHIFT) - 1

Range = tuple[int, int]  # (offset, bytes)


class Allocator:
    """Allocates ranges of ``[0, size)``, each aligned to 64 bytes.

    Thread contract: none; the arena's owner holds its lock.

    Attributes:
        size: bytes that can be handed out in all.
        used: bytes handed out now, exactly (in units of 64).
        resident: bytes of pages that have been touched and not trimmed since.
    """

    __slots__ = ("_cold_ends", "_cold_starts", "_ends", "_mixed", "_page", "_starts", "_taken", "_warm",
                 "resident", "size", "used")  # fmt: skip

    def __init__(self, size: int, page: int = PAGE) -> None:
        if size < page:
            raise ValueError(f"an arena of {size} bytes is smaller than a page ({page})")
        self._page = page
        self.size = size & -page
        self.used = 0
        self.resident = 0
        self._taken: dict[int, int] = {}  # start → bytes
        self._starts: dict[int, int] = {}  # free ranges: start → end
        self._ends: dict[int, int] = {}  # free ranges: end → start
        self._warm: list[int] = []  # free ranges without any cold page, as keys, sorted
        self._mixed: list[int] = []  # the other free ranges
        self._cold_starts = [0]  # disjoint, sorted, whole pages
        self._cold_ends = [self.size]
        self._insert(0, self.size)

    def alloc(self, n: int) -> tuple[int, list[Range]] | None:
        """Takes ``n`` bytes (rounded up to 64).

        Returns:
            The offset and the parts of the range whose pages are cold (whole pages, which may reach
            beyond the range's ends), or None when no free range is large enough. The cold parts
            count as touched from now on.
        """
        n = (n + ALIGN - 1) & -ALIGN or ALIGN
        wanted = n << _SHIFT
        ranges = self._warm
        i = bisect_left(ranges, wanted)
        if i == len(ranges):
            ranges = self._mixed
            i = bisect_left(ranges, wanted)
            if i == len(ranges):
                return None
        start = ranges.pop(i) & _MASK
        end = self._starts.pop(start)
        del self._ends[end]
        stop = start + n
        cold: list[Range] = []
        if ranges is self._mixed:
            cold = self._warm_up(start & -self._page, (stop + self._page - 1) & -self._page)
        if stop != end:
            self._insert(stop, end)
        self._taken[start] = n
        self.used += n
        return start, cold

    def free(self, offset: int, n: int, untouched: Sequence[Range] = ()) -> None:
        """Gives a range back.

        Args:
            untouched: those of its cold parts that were not touched after all, so that they are cold
                again: whole pages that nothing else was allocated in meanwhile.

        Raises:
            ValueError: it isn't a range that is taken.
        """
        n = (n + ALIGN - 1) & -ALIGN or ALIGN
        if self._taken.get(offset) != n:
            raise ValueError(f"{n} bytes at {offset} are not an allocated range: freed twice?")
        del self._taken[offset]
        self.used -= n
        start, end = offset, offset + n
        before = self._ends.pop(start, -1)
        if before >= 0:
            self._remove(before, start)
            del self._starts[before]
            start = before
        after = self._starts.pop(end, -1)
        if after >= 0:
            self._remove(end, after)
            del self._ends[after]
            end = after
        for cold, length in untouched:
            self._cool_down(cold, cold + length)
        self._insert(start, end)

    def trim(self, keep: int) -> list[Range]:
        """Chooses warm pages that nobody uses, until at most ``keep`` bytes of them are left.

        Returns:
            The ranges (whole pages) to give back to the system, the highest first, so that what
            stays warm is where the next objects go. They count as cold from now on.
        """
        given: list[Range] = []
        excess = self.resident - self.used - keep
        if excess <= 0:
            return given
        page = self._page
        for start in sorted(self._starts, reverse=True):
            end = self._starts[start]
            pieces = self._warm_parts((start + page - 1) & -page, end & -page)
            if not pieces:
                continue
            self._remove(start, end)
            for a, b in reversed(pieces):
                if excess <= 0:
                    break
                a = max(a, (b - excess) & -page)
                self._cool_down(a, b)
                given.append((a, b - a))
                excess -= b - a
            self._insert_key(start, end)
            if excess <= 0:
                break
        return given

    def fragmentation(self) -> float:
        """Returns how scattered the free bytes are: 0.0 is one range, towards 1.0 is dust."""
        free = self.size - self.used
        if not free:
            return 0.0
        largest = max((ranges[-1] >> _SHIFT) if ranges else 0 for ranges in (self._warm, self._mixed))
        return 1.0 - largest / free

    def ranges(self) -> int:
        """Returns how many ranges are taken."""
        return len(self._taken)

    # -- free ranges ---------------------------------------------------------------------------
    def _insert(self, start: int, end: int) -> None:
        self._starts[start] = end
        self._ends[end] = start
        self._insert_key(start, end)

    def _insert_key(self, start: int, end: int) -> None:
        insort(self._mixed if self._has_cold(start, end) else self._warm, end - start << _SHIFT | start)

    def _remove(self, start: int, end: int) -> None:
        key = end - start << _SHIFT | start
        ranges = self._mixed if self._has_cold(start, end) else self._warm
        del ranges[bisect_left(ranges, key)]

    # -- warm and cold pages -------------------------------------------------------------------
    def _has_cold(self, start: int, end: int) -> bool:
        starts = self._cold_starts
        if not starts or starts[0] >= end:
            return False
        # Whole pages are cold or warm, so a page that only begins in the range counts in full.
        return self._cold_ends[bisect_left(starts, end) - 1] > start

    def _warm_up(self, start: int, end: int) -> list[Range]:
        """Marks whole pages as touched; returns those that weren't."""
        starts, ends = self._cold_starts, self._cold_ends
        low = bisect_right(ends, start)
        high = bisect_left(starts, end)
        if low >= high:
            return []
        first, last = starts[low], ends[high - 1]
        cold = [(max(a, start), min(b, end)) for a, b in zip(starts[low:high], ends[low:high], strict=True)]
        starts[low:high] = [first] * (first < start) + [end] * (last > end)
        ends[low:high] = [start] * (first < start) + [last] * (last > end)
        self.resident += sum(b - a for a, b in cold)
        return [(a, b - a) for a, b in cold]

    def _cool_down(self, start: int, end: int) -> None:
        """Marks whole pages, all warm, as cold."""
        starts, ends = self._cold_starts, self._cold_ends
        i = bisect_left(starts, start)
        self.resident -= end - start
        if i and ends[i - 1] == start:  # grows the interval before; i then points after it
            i -= 1
            start = starts[i]
            del starts[i], ends[i]
        if i < len(starts) and starts[i] == end:
            end = ends[i]
            del starts[i], ends[i]
        starts.insert(i, start)
        ends.insert(i, end)

    def _warm_parts(self, start: int, end: int) -> list[Range]:
        """Returns the warm parts of a range of whole pages, as (start, end), ascending."""
        parts: list[Range] = []
        starts, ends = self._cold_starts, self._cold_ends
        i = bisect_right(ends, start)
        while start < end:
            cold = starts[i] if i < len(starts) else end
            if cold > start:
                parts.append((start, min(cold, end)))
            if cold >= end:
                break
            start = ends[i]
            i += 1
        return parts
