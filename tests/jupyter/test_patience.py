"""How long a thread waits for another one that shows output."""

from __future__ import annotations

from raynb.base.process.waits import Bell
from raynb.jupyter.output.patience import IMPATIENCE_SECONDS, PATIENCE_SECONDS, SLICE_SECONDS, Patience, in_slices


def test_who_gets_on_is_waited_for_and_who_does_not_is_waited_for_once() -> None:
    patience = Patience()
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) < 4:  # much output, which takes long
            patience.step()
        return len(waited) == 9

    assert not patience.wait(wait)
    assert waited == [PATIENCE_SECONDS] * 4
    assert not patience.wait(wait)
    assert not patience.wait(wait)
    assert waited[4:] == [IMPATIENCE_SECONDS] * 2
    patience.all_is_shown()
    assert not patience.wait(wait)
    assert not patience.wait(wait)
    assert patience.wait(wait)
    assert waited[6:] == [PATIENCE_SECONDS, IMPATIENCE_SECONDS, IMPATIENCE_SECONDS]


def test_a_wait_is_in_slices_between_which_an_exception_takes_hold() -> None:
    class Counting(Bell):
        def wait(self, seconds: float | None) -> bool:
            slices.append(seconds)
            return len(slices) == 3

    slices: list[float | None] = []
    assert in_slices(Counting(), 60, lambda: False)
    assert slices == [SLICE_SECONDS] * 3


def test_a_wait_ends_with_the_bell_and_with_what_it_belongs_to() -> None:
    bell = Bell()
    assert in_slices(Bell(), 60, lambda: True)
    assert not in_slices(bell, 0, lambda: False)
    bell.set()
    assert in_slices(bell, 0, lambda: False)
