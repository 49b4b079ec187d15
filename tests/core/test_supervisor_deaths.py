"""B14: deaths of the supervisor far apart are forgotten."""

from __future__ import annotations

from raynb.core.scheduling.worker_health import SupervisorDeaths


def test_deaths_far_apart_are_survived_for_ever() -> None:
    deaths = SupervisorDeaths(3)
    assert not any(deaths.is_last(now * 30.0) for now in range(1000))


def test_many_at_once_are_not_and_the_error_says_how_to_go_on() -> None:
    deaths = SupervisorDeaths(3)
    assert not deaths.is_last(0.0)  # long before
    assert [deaths.is_last(100.0 + second) for second in range(4)] == [False, False, False, True]
    story = deaths.story("")
    assert "4 times within 60 s" in story
    assert "It said: nothing" in story
    assert "`%raynb restart`" in story
    assert "raynb.shutdown() and raynb.init()" in story
