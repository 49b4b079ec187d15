"""The allocator alone: numbers in, numbers out."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raynb.store.allocator import Allocator

PAGE = 4096


def pages(ranges: list[tuple[int, int]]) -> set[int]:
    """The page numbers that (offset, bytes) ranges cover; they must be whole pages, and disjoint."""
    found: set[int] = set()
    for offset, n in ranges:
        assert offset % PAGE == 0
        assert n % PAGE == 0
        assert n > 0
        mine = set(range(offset // PAGE, (offset + n) // PAGE))
        assert not mine & found
        found |= mine
    return found


def touched(offset: int, n: int) -> set[int]:
    return set(range(offset // PAGE, (offset + n - 1) // PAGE + 1))


def rounded(n: int) -> int:
    return -(-n // 64) * 64 or 64


def test_a_fresh_arena_is_cold_and_unused() -> None:
    a = Allocator(1 << 20, PAGE)
    assert (a.size, a.used, a.resident, a.fragmentation(), a.ranges()) == (1 << 20, 0, 0, 0.0, 0)


def test_ranges_are_aligned_and_rounded_up() -> None:
    a = Allocator(1 << 20, PAGE)
    offsets = [a.alloc(n)[0] for n in (1, 63, 64, 65, 0)]  # type: ignore[index]
    assert offsets == [0, 64, 128, 192, 320]
    assert a.used == 64 * 6


def test_cold_pages_are_named_once() -> None:
    a = Allocator(1 << 20, PAGE)
    assert a.alloc(100) == (0, [(0, PAGE)])
    assert a.alloc(100) == (128, [])
    assert a.alloc(PAGE) == (256, [(PAGE, PAGE)])
    assert a.resident == 2 * PAGE


def test_a_freed_range_is_used_again_while_it_is_warm() -> None:
    a = Allocator(1 << 20, PAGE)
    first, _ = a.alloc(100_000) or (-1, [])
    a.alloc(64)
    a.free(first, 100_000)
    assert a.alloc(90_000) == (first, [])


def test_warm_ranges_are_preferred_to_a_cold_one_that_fits_better() -> None:
    a = Allocator(1 << 20, PAGE)
    small, _ = a.alloc(10 * PAGE) or (-1, [])
    a.alloc(64)
    large, _ = a.alloc(20 * PAGE) or (-1, [])
    a.alloc(64)
    a.free(small, 10 * PAGE)
    assert a.trim(0) == [(small, 10 * PAGE)]
    a.free(large, 20 * PAGE)
    assert a.alloc(10 * PAGE) == (large, [])


def test_best_fit() -> None:
    a = Allocator(1 << 20, PAGE)
    taken = []
    for n in (3 * PAGE, 64, 2 * PAGE, 64, 4 * PAGE, 64):
        offset, _ = a.alloc(n) or (-1, [])
        taken.append((offset, n))
    for offset, n in taken[::2]:
        a.free(offset, n)
    assert a.alloc(2 * PAGE) == (taken[2][0], [])


def test_neighbours_coalesce_in_any_order() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0)):
        a = Allocator(64 * 3 + PAGE, PAGE)
        offsets = [(a.alloc(64) or (-1, []))[0] for _ in range(3)]
        for i in order:
            a.free(offsets[i], 64)
        assert a.used == 0
        assert a.fragmentation() == 0.0
        assert (a.alloc(a.size) or (-1, []))[0] == 0


def test_full() -> None:
    a = Allocator(2 * PAGE, PAGE)
    assert a.alloc(2 * PAGE) == (0, [(0, 2 * PAGE)])
    assert a.alloc(1) is None
    assert a.fragmentation() == 0.0
    a.free(0, 2 * PAGE)
    assert a.alloc(2 * PAGE + 1) is None
    assert a.alloc(2 * PAGE) == (0, [])


@pytest.mark.parametrize(("offset", "n"), [(0, 64), (64, 64), (128, 64), (0, 192), (4096, 64)])
def test_freeing_what_is_not_taken(offset: int, n: int) -> None:
    a = Allocator(1 << 20, PAGE)
    a.alloc(128)
    with pytest.raises(ValueError, match=rf"{n} bytes at {offset} are not an allocated range"):
        a.free(offset, n)
    assert a.used == 128


def test_freeing_twice() -> None:
    a = Allocator(1 << 20, PAGE)
    a.alloc(128)
    a.free(0, 128)
    with pytest.raises(ValueError, match="freed twice"):
        a.free(0, 128)


def test_trim_takes_from_the_top_and_keeps_what_was_asked_for() -> None:
    a = Allocator(1 << 20, PAGE)
    a.alloc(100 * PAGE)
    a.free(0, 100 * PAGE)
    assert a.trim(100 * PAGE) == []
    assert a.trim(30 * PAGE) == [(30 * PAGE, 70 * PAGE)]
    assert a.resident == 30 * PAGE
    assert a.alloc(40 * PAGE) == (0, [(30 * PAGE, 10 * PAGE)])


def test_trim_spares_pages_that_are_partly_used() -> None:
    a = Allocator(1 << 20, PAGE)
    a.alloc(64)
    a.alloc(3 * PAGE)
    a.alloc(64)
    a.free(64, 3 * PAGE)
    assert a.trim(0) == [(PAGE, 2 * PAGE)]


def test_too_small_for_a_page() -> None:
    with pytest.raises(ValueError, match="smaller than a page"):
        Allocator(100, PAGE)


class AllocatorMachine(RuleBasedStateMachine):
    """Compared with a model that knows each page and each taken range, after every step."""

    @initialize(size=st.sampled_from([PAGE, 5 * PAGE, 64 * PAGE, 1024 * PAGE]))
    def start(self, size: int) -> None:
        self.a = Allocator(size, PAGE)
        self.taken: dict[int, int] = {}
        self.warm: set[int] = set()

    def free_ranges(self) -> list[tuple[int, int]]:
        at, free = 0, []
        for start in sorted(self.taken):
            if start > at:
                free.append((at, start))
            at = start + rounded(self.taken[start])
        if at < self.a.size:
            free.append((at, self.a.size))
        return free

    @rule(n=st.one_of(st.integers(0, 300), st.integers(0, 8 * PAGE), st.integers(0, 600 * PAGE)))
    def alloc(self, n: int) -> None:
        room = self.free_ranges()
        need = rounded(n)
        fitting = [(a, b) for a, b in room if b - a >= need]
        fully_warm = [(a, b) for a, b in fitting if touched(a, b - a) <= self.warm]
        found = self.a.alloc(n)
        if not fitting:
            assert found is None
            return
        assert found is not None
        offset, cold = found
        chosen = [(a, b) for a, b in fitting if a == offset]
        assert chosen, "a range is taken at the low end of a free one"
        best = min(b - a for a, b in fully_warm or fitting)
        assert chosen[0][1] - chosen[0][0] == best
        assert pages(cold) == touched(offset, need) - self.warm
        self.warm |= touched(offset, need)
        self.taken[offset] = n

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken)))
        self.a.free(offset, self.taken.pop(offset))

    @rule(n=st.integers(0, 20 * PAGE))
    def alloc_and_undo(self, n: int) -> None:
        found = self.a.alloc(n)
        if found is not None:
            offset, cold = found
            self.a.free(offset, n, cold)

    @rule(offset=st.integers(0, 1024 * PAGE), n=st.integers(0, 10 * PAGE))
    def free_wrongly(self, offset: int, n: int) -> None:
        if offset not in self.taken or rounded(self.taken[offset]) != rounded(n):
            with pytest.raises(ValueError):
                self.a.free(offset, n)

    @rule(keep=st.one_of(st.just(0), st.integers(0, 100 * PAGE)))
    def trim(self, keep: int) -> None:
        given = pages(self.a.trim(keep))
        used = set().union(*(touched(o, n or 1) for o, n in self.taken.items())) if self.taken else set()
        assert given <= self.warm - used
        spare = len(self.warm) * PAGE - self.a.used
        self.warm -= given
        left = self.warm - used
        assert len(given) * PAGE <= max(spare - keep, 0) + PAGE - 1, "not more than was asked for"
        assert not left or len(self.warm) * PAGE - self.a.used <= keep, "as much as was asked for"

    @invariant()
    def agrees(self) -> None:
        a = self.a
        assert a.used == sum(map(rounded, self.taken.values()))
        assert a.resident == len(self.warm) * PAGE
        assert a.ranges() == len(self.taken)
        free = [b - a for a, b in self.free_ranges()]
        assert a.fragmentation() == (1 - max(free) / sum(free) if free else 0.0)


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None, database=None
)
