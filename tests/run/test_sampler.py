"""What a sample is of: its thread, though the system gives the identity of one that has ended to another; its code."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

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


WORK = "def work(until):\n    until()\n"


def test_equal_code_of_two_files_is_told_apart_and_threads_of_ours_are_left_out() -> None:
    ours, theirs = Waiting("raynb-control"), Waiting("theirs")
    sampler = Sampler()

    def until_sampled() -> None:
        before = sampler._samples
        while sampler._samples < before + 2:
            time.sleep(0.001)

    sampler.start()
    for file in ("one.py", "two.py"):
        names: dict[str, Callable[[Callable[[], None]], None]] = {}
        exec(compile(WORK, file, "exec"), names)  # Python calls these two equal
        names["work"](until_sampled)
    found = sampler.stop()
    ours.end()
    theirs.end()
    here = [places for name, places, *_ in found["stacks"] if name == threading.current_thread().name]
    at_work = [(places, at) for places in here for at, place in enumerate(places[:-1]) if place[2] == "work"]
    assert {places[at] for places, at in at_work} == {("one.py", 2, "work"), ("two.py", 2, "work")}
    assert {places[at + 1][2] for places, at in at_work} == {"until_sampled"}  # the outermost frame comes first
    threads = {name for name, *_ in found["stacks"]}
    assert "theirs" in threads
    assert not threads & {"raynb-control", "raynb-profile"}
    assert sum(samples for name, _, samples, *_ in found["stacks"] if name == "theirs") == found["samples"]


def test_of_the_frame_below_and_its_callers_nothing_is_sampled() -> None:
    sampler = Sampler(sys._getframe())

    def above() -> None:
        before = sampler._samples
        while sampler._samples < before + 2:
            time.sleep(0.001)

    sampler.start()
    above()
    found = sampler.stop()
    here = [places for name, places, *_ in found["stacks"] if name == threading.current_thread().name]
    assert "above" in {places[0][2] for places in here if places}
    assert not {place[2] for places in here for place in places} & {sys._getframe().f_code.co_name}
