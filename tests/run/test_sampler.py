"""Which thread a sample is of: the system gives the identity of one that has ended to another."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from raynb.run.inspection.sampler import SWITCH_SECONDS, Sampler


class Waiting(threading.Thread):
    """Runs until it is told to end."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        self.over.wait()

    def end(self) -> None:
        self.over.set()
        self.join()


@pytest.mark.skipif(sys.platform != "linux", reason="no clocks of threads")
def test_a_thread_is_not_taken_for_one_that_has_ended() -> None:
    sampler = Sampler()
    first, second = Waiting("first"), Waiting("second")
    one, _ = sampler._look_at(first.ident or 0)
    assert sampler._look_at(first.ident or 0)[0] is one
    first.end()
    deadline = time.monotonic() + 60
    while one.used() is not None:  # the system's part of it ends a moment after Python's
        assert time.monotonic() < deadline
        time.sleep(0.001)
    sampler._threads[second.ident or 0] = one  # as when the system gives its identity to the second
    found, cpu = sampler._look_at(second.ident or 0)
    assert (one.name, found.name, cpu) == ("first", "second", 0.0)
    assert sampler._names == ["first", "second"]
    here, _ = sampler._look_at(threading.get_ident())
    before = time.thread_time()
    while time.thread_time() < before + 0.02:
        pass
    assert (here.used() or 0) >= 0.01  # this thread's own clock
    second.end()


def test_profiles_that_overlap_leave_pythons_switch_interval_as_it_was() -> None:
    before = sys.getswitchinterval()
    first, second = Sampler(), Sampler()
    for sampler in (first, second):
        sampler.start()
        while not sampler._names:  # it has looked once
            time.sleep(0.001)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    first.stop()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    second.stop()
    assert sys.getswitchinterval() == pytest.approx(before)
